# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step writes, or reads behind the gradients, is that of the whole batch."""

from typing import Any

from epl.rewrite.passes.base import GRAPH, Pass, divides
from epl.rewrite.rewriting import Rewriting
from epl.rewrite.written import write_whole_batch


def _run(rewriting: Rewriting, unit: Any) -> None:
    write_whole_batch(rewriting.graph, rewriting.state)


PASS = Pass(
    "written", "lets a step write what the whole batch gives",
    GRAPH, _run, needs=("gradients", "leaving", "whole batch"), wanted=divides)
