# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A gradient of every clone becomes one gradient of this worker."""

from typing import Any, Callable, Optional

from epl import compat
from epl.rewrite import sparse
from epl.rewrite.accumulate import accumulate
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import GradientGroup, parts
from epl.rewrite.order import ActionEnd
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, LocalGradient, Rewriting
from epl.rewrite.verify import verify_aggregation


def _run(rewriting: Rewriting, family: Family) -> None:
    for group in family:
        rewriting.local[group.name] = [
            LocalGradient(pieces, list(pieces)) for pieces in (
                sparse.pieces(gradient.raw) for gradient in group.gradients)]
        if group.clones is not None:
            _accumulate(rewriting, group)


def _accumulate(rewriting: Rewriting, group: GradientGroup) -> None:
    with compat.inserted(rewriting.graph, group.name + "/accumulate"):
        for gradient, found in zip(group.gradients, rewriting.local[group.name]):
            found.local[:] = [
                accumulate(piece, group.known_clones, rewriting.plan,
                           rewriting.device_of(gradient.variable), _ends(group, gradient.raw))
                for piece in found.pieces]


def _ends(group: GradientGroup, raw: Any) -> Callable[[CloneId], Optional[ActionEnd]]:
    """The end of the backward action that a gradient comes from, by clone."""
    stage = group.known_partition.stage.get(parts(raw)[0].op)
    ends = group.order.ends if group.order is not None and stage is not None else {}
    return lambda clone: ends.get((clone, stage))  # type: ignore[arg-type]


def _verify(rewriting: Rewriting) -> None:
    for group in rewriting.new:
        verify_aggregation(group)


PASS = Pass(
    "accumulate", "adds up the gradients of the clones as they come, and averages them",
    FAMILY, _run, needs=("clones", "order"), makes=("local gradients",), verify=_verify)
