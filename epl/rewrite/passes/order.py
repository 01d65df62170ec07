# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every device runs its actions in the order of the plan."""

from epl.rewrite.order import order_actions
from epl.rewrite.passes import partition
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting
from epl.rewrite.verify import verify_order


def _run(rewriting: Rewriting, family: Family) -> None:
    first = family[0]
    order = first.order or order_actions(
        rewriting.graph, first.known_partition, first.known_clones, rewriting.plan,
        rewriting.cluster.worker_index, first.name)
    for group in family:
        group.order = order


def _wanted(rewriting: Rewriting, family: Family) -> bool:
    return len(rewriting.clones) > 1 and partition.is_known(rewriting, family)


def _verify(rewriting: Rewriting) -> None:
    for group in rewriting.new:
        verify_order(group)


PASS = Pass(
    "order", "lets every device run its actions in the order of the plan",
    FAMILY, _run, needs=("partition", "clones"), makes=("order",), wanted=_wanted, verify=_verify)
