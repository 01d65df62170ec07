# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What waited for a write from the batch waits no longer; what the script gets does.

    with tf.control_dependencies(update_ops):      the clones compute the gradients without the
        gradients = tf.gradients(loss, weights)    updates, which follow once, from all of them

The gradients that the script gets wait for what stands outside of all loops and branches: nothing
outside may wait for what is inside, which in a branch that is not taken never happens. Where a
branch itself waits for a write of its own, this is put beside the write:

    predicate --> Switch --> (the branch) --> Identity, after the write --> Merge --> may be awaited
                        +--> (the other one) ----------------------------->
"""

from typing import Any, Dict, List, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.groups import GradientGroup
from epl.rewrite.partition import StepPartition


class Deferred:
    """What was taken apart in one graph.

    Attributes:
      waited: operation that computes a loss -> what it waited for, from outside of branches.
      ends: a write in a branch -> what runs when it has run, or is not to run.
      ops: what was waited for, and what was added for these ends.
    """

    def __init__(self) -> None:
        self.waited: Dict[Any, List[Any]] = {}
        self.ends: Dict[Any, Any] = {}
        self.ops: Set[Any] = set()


def defer_updates(graph: Any, partition: StepPartition, family: List[GradientGroup],
                  state: GraphState) -> None:
    """Let nothing that the clones compute wait for an update.

    Args:
      graph: the script's graph.
      partition: what the family's steps consist of.
      family: groups of one loss.
      state: the graph's record.

    Raises:
      NotImplementedError: a write in a branch whose predicate is not known.
    """
    before: List[Any] = []
    waited = state.record(Deferred).waited
    for op in (op for op in partition.ops if op not in partition.deferred):
        cut = [c for c in op.control_inputs if c in partition.deferred]
        if cut:
            updates = [update for c in cut for update in _outside(graph, c, partition, state)]
            others = {other for c in cut for other in _others(c, partition)
                      if compat.control_flow_context(other) in (
                          None, compat.control_flow_context(op)) and op not in partition.loop}
            editor.wait_no_longer(op, partition.deferred)
            editor.wait_for(op, sorted(others, key=compat.op_id))
            before.extend(updates)
            waited.setdefault(op, []).extend(updates)
        else:  # another loss may have had it wait no longer
            before.extend(waited.get(op, ()))
    unique = sorted(set(before), key=compat.op_id)
    state.record(Deferred).ops.update(unique)
    if unique:
        for op in (op for group in family for op in group.returned_ops):
            editor.wait_for(op, unique)


def _outside(graph: Any, op: Any, partition: StepPartition, state: GraphState) -> List[Any]:
    """What stands outside of all loops and branches for `op`, which is deferred and waited for."""
    if op.type == "NoOp":
        return [update for c in op.control_inputs if c in partition.deferred
                for update in _outside(graph, c, partition, state)]
    if op not in partition.loop and op not in partition.conditional:
        return [op]
    behind = [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    waited = [b for b in behind if b in partition.deferred]
    if op_traits.written_variable(op) is not None or not waited:
        return [_end(graph, op, state)]
    return [update for b in waited for update in _outside(graph, b, partition, state)]


def _others(op: Any, partition: StepPartition) -> Set[Any]:
    """What else a group waits for that is deferred as a whole, as some of it is."""
    if op.type != "NoOp":
        return set()
    found: Set[Any] = set()
    for c in op.control_inputs:
        found |= _others(c, partition) if c in partition.deferred else {c}
    return found


def _end(graph: Any, write: Any, state: GraphState) -> Any:
    """What runs when `write`, in a branch, has run or is not to run."""
    deferred = state.record(Deferred)
    if write in deferred.ends:
        return deferred.ends[write]
    end, context = write, compat.control_flow_context(write)
    while context is not None:
        predicate = getattr(context, "pred", None)
        if predicate is None:
            break
        with compat.inserted(graph, "epl/deferred", context.outer_context):
            sides = tf.raw_ops.Switch(data=tf.constant(True), pred=predicate)
            taken = tf.identity(sides[context.branch])
            editor.wait_for(taken.op, [end])
            merged = tf.raw_ops.Merge(inputs=[sides[1 - context.branch], taken])
        deferred.ops.update([sides[0].op, taken.op, merged[0].op])
        end, context = merged[0].op, context.outer_context
    if end is write or context is not None:
        raise NotImplementedError(
            "operation '{}' ({}){} writes a variable from the batch, inside of a branch or a loop "
            "that waits for it: with several micro-batches or replicas there is no such value "
            "before all of them have run; write it outside, as an entry of "
            "tf.GraphKeys.UPDATE_OPS".format(write.name, write.type, compat.made_at(write)))
    deferred.ends[write] = end
    return end
