# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is computed from gradients, and differentiated, is linear in them."""

from epl.rewrite.losses import check_losses
from epl.rewrite.passes.base import FAMILY, Pass, divides
from epl.rewrite.rewriting import Family, Rewriting


def _run(rewriting: Rewriting, family: Family) -> None:
    check_losses(family, rewriting.state, rewriting.plan)


PASS = Pass(
    "losses", "refuses losses of gradients that no division of the batch leaves as they are",
    FAMILY, _run, wanted=divides)
