# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Branches that TensorFlow itself may differentiate wrongly are warned of."""

from epl.rewrite.branches import warn_of_other_rows
from epl.rewrite.passes.base import FAMILY, Pass, divides
from epl.rewrite.rewriting import Family, Rewriting


def _run(rewriting: Rewriting, family: Family) -> None:
    warn_of_other_rows(family[0].ys)


PASS = Pass(
    "branches", "warns of branches whose gradients TensorFlow may scale wrongly",
    FAMILY, _run, wanted=divides)
