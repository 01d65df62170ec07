# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is drawn behind the gradients is the chief's draw on all workers."""

from typing import Any

from epl.rewrite.drawn import share_draws
from epl.rewrite.passes.base import GRAPH, Pass, several_workers
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    share_draws(rewriting.graph, rewriting.state)


PASS = Pass(
    "drawn", "sends the chief's draws to all workers",
    GRAPH, _run, needs=("gradients", "leaving"), wanted=several_workers)
