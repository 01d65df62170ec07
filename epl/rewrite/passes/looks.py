# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Summaries of this worker's own gradients, for a thread that writes them beside the training."""

from typing import Any

from epl.rewrite.looks import look_at_summaries
from epl.rewrite.passes.base import GRAPH, Pass, several_workers
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    look_at_summaries(rewriting.graph, rewriting.state)


PASS = Pass(
    "looks", "gives threads beside the training summaries of their own",
    GRAPH, _run, needs=("gradients",), wanted=several_workers)
