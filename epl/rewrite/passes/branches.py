# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Branches that TensorFlow itself may compute or differentiate wrongly are warned of."""

from epl.rewrite.branches import tell_of_sums, warn_of_other_rows
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting


def _run(rewriting: Rewriting, family: Family) -> None:
    tell_of_sums(family[0].ys, rewriting.devices.several)
    if rewriting.divides:
        warn_of_other_rows(family[0].ys)


PASS = Pass(
    "branches", "warns of branches that TensorFlow may lose the value or scale the gradients of",
    FAMILY, _run)
