# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""An update does not overtake what the step computes for another loss."""

from typing import Any

from epl.rewrite.passes.base import GRAPH, Pass, divides
from epl.rewrite.rewriting import Rewriting
from epl.rewrite.snapshots import keep_read


def _run(rewriting: Rewriting, unit: Any) -> None:
    keep_read(rewriting.graph, rewriting.state)


PASS = Pass(
    "snapshots", "keeps what clones of one loss read of variables that another trains",
    GRAPH, _run, needs=("gradients", "leaving"), wanted=divides)
