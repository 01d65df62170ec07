# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What was registered, or is written, after a family was rewritten is copied as well."""

from typing import Any

from epl.rewrite.groups import groups_of
from epl.rewrite.passes import clones, deferred, order, partition, place
from epl.rewrite.passes.base import GRAPH, Pass, divides
from epl.rewrite.rewriting import Rewriting, families


def _run(rewriting: Rewriting, unit: Any) -> None:
    for family in families(groups_of(rewriting.state)):
        others, found = rewriting.others(family), family[0].partition
        known = rewriting.script().added.union(found.ops if found is not None else ())
        if any(tensor.op not in known for tensor in others):
            for each in (partition, place, deferred, clones, order):
                each.PASS.carry_out(rewriting, family)


PASS = Pass(
    "completed", "copies what was registered, or is written, after its family was rewritten",
    GRAPH, _run, needs=("gradients",), wanted=divides)
