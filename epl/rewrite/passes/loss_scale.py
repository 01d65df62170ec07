# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What trains follows from scaled gradients, and can be skipped (amp.loss_scale)."""

from typing import Any

from epl.rewrite.loss_scale import LossScales, check_applied
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    check_applied(rewriting.graph, rewriting.state)


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    scales = rewriting.state.find(LossScales)
    return scales is not None and bool(scales.calls)


PASS = Pass(
    "loss_scale", "sees that steps of gradients that are not finite can be skipped "
    "(amp.loss_scale)", GRAPH, _run, wanted=_wanted)
