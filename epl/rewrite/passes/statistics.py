# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Statistics that gradients read are those of the whole batch."""

from typing import Any

from epl.rewrite import whole_loss, written
from epl.rewrite.passes.base import GRAPH, Pass, divides
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    state = rewriting.state
    written.prepare(rewriting.graph, state, rewriting.num_workers)
    view = written.view_of(state)
    whole_loss.of_whole_batch(state, view._replace(
        axes=written.axes_of([view], state, exact=True)))


PASS = Pass(
    "statistics", "exchanges the numbers of the data that gradients read",
    GRAPH, _run, needs=("gradients", "leaving"), makes=("whole batch",), wanted=divides)
