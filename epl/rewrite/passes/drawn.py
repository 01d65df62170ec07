# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is drawn behind the gradients is the chief's draw on all workers."""

from typing import Any

from epl.rewrite.drawn import share_draws
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    share_draws(rewriting.graph, rewriting.state)


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    return rewriting.num_workers > 1


PASS = Pass(
    "drawn", "sends the chief's draws to all workers",
    GRAPH, _run, needs=("gradients", "leaving"), wanted=_wanted)
