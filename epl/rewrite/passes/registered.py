# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values that the script registered, and losses of other families, are merged."""

from typing import Any

from epl import compat
from epl.rewrite import registered, written
from epl.rewrite.groups import GradientGroup, Merged, groups_of
from epl.rewrite.loss_record import averaged_as, exchanged_for, is_unequal, weight_of
from epl.rewrite.merge import OfWorker, merged_loss, merged_weight
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    state = rewriting.state
    for group in groups_of(state):
        axes = written.view_of(state).axes if is_unequal(group.ys[0], state) else None
        registered.merge_registered(group, state, rewriting.num_workers, axes)
    if len(rewriting.clones) > 1:
        _merge_other_losses(rewriting)


def _merge_other_losses(rewriting: Rewriting) -> None:
    state = rewriting.state
    for group in groups_of(state):
        for loss in registered.other_losses(group, state):
            if loss.name not in group.merged:
                group.merged[loss.name] = Merged(_of_worker(rewriting, group, loss),
                                                 exchanged_for(loss, state))


def _of_worker(rewriting: Rewriting, group: GradientGroup, loss: Any) -> Any:
    """A loss of another family, of the rows of this worker."""
    whole, weight = averaged_as(loss, rewriting.state), weight_of(loss, rewriting.state)
    value = merged_loss(group, whole, rewriting.plan, weight)
    if weight is None:
        return value
    with compat.inserted(rewriting.graph, group.name + "/merged"):
        return OfWorker(value, merged_weight(group, weight, rewriting.plan)).value


PASS = Pass(
    "registered", "merges registered values, and losses of other families",
    GRAPH, _run, needs=("gradients",))
