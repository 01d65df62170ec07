# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The passes of the rewrite, in their order: one file each.

    PASSES     what a rewrite carries out, one after the other; a list, which a script may extend

Passes over families that stand together are carried out for one family after the other.
"""

from typing import List

from epl.rewrite.passes import (
    accumulate,
    aggregate,
    automatic,
    branches,
    clones,
    completed,
    deferred,
    drawn,
    files,
    halves,
    leaving,
    looks,
    loss_scale,
    losses,
    offload,
    order,
    partition,
    place,
    recompute,
    registered,
    seeds,
    snapshots,
    statistics,
    update_groups,
    whole_loss,
    written,
    zero,
)
from epl.rewrite.passes.base import FAMILY, GRAPH, Pass

__all__ = ["FAMILY", "GRAPH", "PASSES", "Pass", "insert"]

PASSES: List[Pass] = [files.PASS, automatic.PASS, loss_scale.PASS, zero.PLAN, leaving.PASS] + [
    each.PASS for each in (
        losses, branches, seeds, whole_loss, recompute, halves, partition, place, deferred, clones,
        order, accumulate, aggregate,
        completed, statistics, registered, looks, written, snapshots, drawn,
        zero, update_groups, offload,
    )]


def insert(added: Pass, before: str) -> None:
    """Put a pass into the list, before the one called `before`.

    Call it on every worker, before the first training step. `docs/architecture.md` has the list.

    Args:
      added: the pass.
      before: the name of one in the list.

    Raises:
      ValueError: no such pass, a name that is taken, or needs that no pass before it makes.

    Examples:
      >>> from epl.ir import editor
      >>> from epl.rewrite import passes
      >>> def count(rewriting, family):
      ...     editor.say(rewriting.graph, "gradient(s)", len(family))
      >>> passes.insert(passes.Pass("count", "says how many gradients there are", passes.FAMILY,
      ...                           count), before="partition")
      >>> names = [each.name for each in passes.PASSES]
      >>> names[names.index("partition") - 1]
      'count'
    """
    names = [each.name for each in PASSES]
    if before not in names or added.name in names:
        raise ValueError("pass {!r} before {!r}: the name has to be new, and the other one of {}"
                         .format(added.name, before, ", ".join(names)))
    position = names.index(before)
    made = {fact for each in PASSES[:position] for fact in each.makes}
    missing = [fact for fact in added.needs if fact not in made]
    if missing:
        raise ValueError("pass {!r} needs {}, which no pass before {!r} makes".format(
            added.name, ", ".join(missing), before))
    PASSES.insert(position, added)
