# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients are those of the loss of the whole batch; it is noted what parts may differ by."""

from epl.rewrite import losses, unequal, whole_loss, written
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting


def _run(rewriting: Rewriting, family: Family) -> None:
    partition, parts = rewriting.partition(family), len(rewriting.clones)
    axes = written.axes_of([partition], rewriting.state, mixed=True, like=losses.gradients_of_rows(
        rewriting.state.provenance.calls))
    for group in family:
        group.measures = unequal.measures(group, partition, axes, parts, rewriting.num_workers,
                                          rewriting.state.provenance.is_gradient)
    of_rows = whole_loss.make_whole(
        rewriting.graph, family, rewriting.state, partition, axes, parts * rewriting.num_workers,
        parts, unequal.open_rows(family, partition, parts, rewriting.num_workers))
    for group in family:
        group.measures[:0] = of_rows


def _wanted(rewriting: Rewriting, family: Family) -> bool:
    return rewriting.divides and rewriting.plan.reduce_method == "mean"


PASS = Pass(
    "whole_loss", "lets sums count for all parts, and statistics be the whole batch's",
    FAMILY, _run, needs=("leaving",), wanted=_wanted)
