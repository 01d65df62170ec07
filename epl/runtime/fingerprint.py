# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Before the first collective: do all workers run the same program?

What has to be equal is written down line by line and compared; a difference ends the job with the
first differing line and the workers on each side, instead of a hang or a wrong sum.
"""

import hashlib
import platform
from typing import Any, Dict, List

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.errors import ConfigError
from epl.ir.environment import context_of, plan_for
from epl.ir.graph_state import GraphState, state_of
from epl.ir.ownership import ownership_of
from epl.rewrite import sparse
from epl.rewrite.groups import collectives_of, groups_of
from epl.rewrite.planning.automatic import Automatic
from epl.rewrite.planning.chosen import Chosen
from epl.rewrite.walk import ancestors
from epl.rewrite.zero import Zero
from epl.runtime import control_plane, graphs
from epl.version import __version__

_SHARED_ROWS = ("rows of {}, looked up without data that was fed or read (feed what is to differ): "
                "{}")


class _Compared:
    """How many collectives of a graph the workers have compared."""

    def __init__(self) -> None:
        self.collectives = 0


def is_verified(state: GraphState) -> bool:
    """True if the graph's collectives, as they are now, were compared already."""
    return state.record(_Compared).collectives == len(_all_collectives(state))


def compare(graph: Any) -> None:
    """Compare this worker's program with the others'; every worker has to call this.

    Raises:
      ConfigError: they differ, or it cannot be told which of a worker's graphs belongs to which of
        another's; the same error on every worker.
    """
    state = state_of(graph)
    lines = _lines(graph, state)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    plane = control_plane.of(context_of(graph))
    if len(set(plane.all_gather_object(digest))) > 1:
        raise ConfigError(first_difference(plane.all_gather_object(lines)))
    graphs.agree(graph, digest)
    state.record(_Compared).collectives = len(_all_collectives(state))


def first_difference(programs: List[List[str]]) -> str:
    """The error text for programs that differ.

    Args:
      programs: one list of lines per worker.

    Returns:
      The first line that differs, and which workers have which version of it.
    """
    length = max(len(lines) for lines in programs)
    for number in range(length):
        sides: Dict[str, List[int]] = {}
        for worker, lines in enumerate(programs):
            text = lines[number] if number < len(lines) else "(nothing)"
            sides.setdefault(text, []).append(worker)
        if len(sides) > 1:
            rows = ["worker(s) {}: {}".format(", ".join(map(str, workers)), text)
                    for text, workers in sides.items()]
            return ("the workers do not run the same program; the first difference:\n  {}\nStart "
                    "all with the same script, arguments and environment".format("\n  ".join(rows)))
    raise ValueError("the programs do not differ")


def _lines(graph: Any, state: GraphState) -> List[str]:
    plan, config = plan_for(graph), context_of(graph).config
    lines = ["epl {}".format(__version__), "tensorflow {}".format(tf.__version__),
             "python {}".format(platform.python_version())]
    lines += ["config {} = {!r}".format(key, value)
              for key, value in config.as_dict().items()]
    lines += ["times: {}".format(found.clock.source)
              for found in (state.find(Chosen), state.find(Automatic)) if found is not None]
    lines += ["plan {}".format(line) for line in (plan.describe() if plan else "").splitlines()]
    lines += ["variable {} {} {}, {}".format(v.name, v.dtype.base_dtype.name, v.shape,
                                             ownership_of(graph).describe(compat.variable_key(v)))
              for v in compat.global_variables(graph)]
    lines += [_SHARED_ROWS.format(compat.variable_key(gradient.variable).name, _digest(indices.op))
              for group in groups_of(state) for gradient in group.gradients
              for indices in sparse.shared_rows(gradient.raw)]
    lines += ["collective {}".format(c.describe()) for c in _all_collectives(state)]
    return lines


def _digest(op: Any) -> str:
    """Of all that `op` computes its value from, constants included, wherever it does."""
    behind = hashlib.sha256()
    for node in sorted(ancestors([op]), key=compat.op_id):
        definition = node.node_def
        definition.device = ""  # where replicas lie on several workers it says on which
        behind.update(definition.SerializeToString(deterministic=True))
    return behind.hexdigest()[:16]


def _all_collectives(state: GraphState) -> List[Collective]:
    merged = [c for group in groups_of(state) for every in (group.merged, group.on_demand)
              for name in sorted(every) for c in every[name].collectives]
    return collectives_of(state) + merged + state.record(Zero).collectives
