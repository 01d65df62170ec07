# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What depends on a batch is copied, once per further micro-batch, replica and slice."""

from epl.rewrite.clones import CloneMap
from epl.rewrite.passes import partition
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting
from epl.rewrite.verify import verify_clones


def _run(rewriting: Rewriting, family: Family) -> None:
    clones = family[0].clones or CloneMap(
        rewriting.graph, family[0].name, rewriting.clones, rewriting.first_seed,
        rewriting.sources.tensor)
    for group in family:
        group.clones = clones
    if len(rewriting.clones) > 1:
        rewriting.copy(family, family[0].known_partition)


def _verify(rewriting: Rewriting) -> None:
    for group in rewriting.new:
        verify_clones(group)


PASS = Pass(
    "clones", "copies what depends on a batch, forward and backward together",
    FAMILY, _run,
    needs=("partition", "places"), makes=("clones",), wanted=partition.is_known, verify=_verify)
