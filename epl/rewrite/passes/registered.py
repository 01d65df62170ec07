# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values that the script registered, and losses of other families, are merged."""

from typing import Any

from epl.rewrite import registered
from epl.rewrite.groups import Merged, groups_of
from epl.rewrite.loss_record import averaged_as, exchanged_for
from epl.rewrite.merge import merged_loss
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    for group in groups_of(rewriting.state):
        registered.merge_registered(group, rewriting.state, rewriting.num_workers)
    if len(rewriting.clones) > 1:
        _merge_other_losses(rewriting)


def _merge_other_losses(rewriting: Rewriting) -> None:
    state = rewriting.state
    for group in groups_of(state):
        for loss in registered.other_losses(group, state):
            if loss.name not in group.merged:
                whole = averaged_as(loss, state)
                group.merged[loss.name] = Merged(merged_loss(group, whole, rewriting.plan),
                                                 exchanged_for(loss, state))


PASS = Pass(
    "registered", "merges registered values, and losses of other families",
    GRAPH, _run, needs=("gradients",))
