# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values that the script registered, and losses of other families, are merged."""

from typing import Any

from epl.rewrite import registered, whole_loss
from epl.rewrite.merge import Merged, merged_loss
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    for group in rewriting.state.groups:
        registered.merge_registered(group, rewriting.state, rewriting.num_workers)
    if len(rewriting.clones) > 1:
        _merge_other_losses(rewriting)


def _merge_other_losses(rewriting: Rewriting) -> None:
    state = rewriting.state
    for group in state.groups:
        for loss in registered.other_losses(group, state):
            if loss.name not in group.merged:
                whole = state.whole_losses.get(loss.name, loss)
                group.merged[loss.name] = Merged(merged_loss(group, whole, rewriting.plan),
                                                 whole_loss.collectives_of(loss, state))


PASS = Pass(
    "registered", "merges registered values, and losses of other families",
    GRAPH, _run, needs=("gradients",))
