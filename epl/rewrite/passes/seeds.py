# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Random operations draw differently in every clone on every worker."""

from epl.rewrite.passes.base import FAMILY, Pass, divides
from epl.rewrite.rewriting import Family, Rewriting, raw_of
from epl.rewrite.seeds import Varied, check_seeds, vary_seeds


def _run(rewriting: Rewriting, family: Family) -> None:
    outputs = family[0].ys + raw_of(family)
    check_seeds(outputs)
    vary_seeds(outputs, rewriting.first_seed, rewriting.state.record(Varied).ops)


PASS = Pass(
    "seeds", "gives random operations seeds of this worker's own",
    FAMILY, _run, wanted=divides)
