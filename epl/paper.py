# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A script that is planned, not trained: `epl-launch --plan 4x8`.

    script --> epl.init: so many workers and devices, none of which is there
           --> its graph, as for these
           --> the first run of a graph with variables: the plan is printed, and that is all
"""

import atexit
import os
import sys
from typing import Any, Callable, Optional

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.errors import ConfigError
from epl.shared.check import PLAN_VARIABLE, layout_of


def asked() -> Optional[Cluster]:
    """The cluster that the script is planned for; None: it is run.

    Raises:
      ConfigError: the variable does not say how many workers and devices.
    """
    text = os.environ.get(PLAN_VARIABLE, "")
    if not text:
        return None
    layout = layout_of(text)
    if layout is None:
        raise ConfigError("{} = {!r}: write workers x devices of each, such as 4x8 or 4x8:gpu"
                          .format(PLAN_VARIABLE, text))
    return Cluster.described_by({
        "EPL_NUM_WORKERS": str(layout[0]), "EPL_WORKER_INDEX": "0",
        "EPL_GPU_PER_WORKER": str(layout[1]), "EPL_DEVICE_TYPE": layout[2]})


class Paper:
    """Stands where a check does (`Worker.check`), and lets nothing be trained."""

    def __init__(self, explain: Callable[..., Any]):
        self._explain = explain
        atexit.register(self._at_exit, os.getpid())
        self._told = False

    def before_rewrite(self, graph: Any) -> None:
        """The rewrite is about to change `graph`: its plan is printed, and the script ends."""
        self._told = True
        with graph.as_default():
            self._explain(layouts=True)
        raise SystemExit(0)

    def after_rewrite(self, graph: Any) -> None:
        """Never comes."""

    def unplanned(self, graph: Any) -> None:
        """`graph` is run as it is, if it has nothing to train."""
        if graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES):
            self.before_rewrite(graph)

    def _at_exit(self, process: int) -> None:
        failed = hasattr(sys, "last_value")  # and Python has said why
        if not self._told and not failed and os.getpid() == process:
            print("no plan: the script ended before a session ran a graph with variables to train",
                  flush=True)
