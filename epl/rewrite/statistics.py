# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `statistics`: what UPDATE_OPS assign is averaged over micro-batches, replicas and workers.

Batch normalisation normalises with the statistics of each clone's own batch, and keeps moving
averages of them. Those are linear in the statistics: averaging what each clone would assign keeps
the variables equal on all workers, and equal to moving averages of the mean statistics.
"""

from typing import Any, List, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.graph_state import GradientGroup, GraphState
from epl.rewrite.aggregate import ReduceOptions, reduce_dense
from epl.rewrite.walk import ancestors

_ASSIGNMENTS = frozenset([
    "Assign", "AssignAdd", "AssignSub",
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"])
_PASS_THROUGH = frozenset(["Identity", "NoOp", "ReadVariableOp"])


def owned_updates(graph: Any, state: GraphState) -> List[Tuple[Any, GradientGroup]]:
    """The assignments that are not averaged yet, each with the group that owns it.

    That is the group whose losses have most in common with the value. Assignments inside control
    flow have an owner too, but cannot be averaged over clones.
    """
    assigns = [op for op in _assignments(graph) if op not in state.averaged_updates]
    if len(state.groups) <= 1:
        return [(op, group) for op in assigns for group in state.groups]
    behind = [(group, ancestors(y.op for y in group.ys)) for group in state.groups]
    found = []
    for op in assigns:
        value = ancestors([op.inputs[1].op])
        owner = max(behind, key=lambda pair: len(value & pair[1]))[0]
        found.append((op, owner))
    return found


def average_updates(graph: Any, state: GraphState, options: ReduceOptions) -> None:
    """Average the value of every float assignment in UPDATE_OPS that is not averaged already.

    Raises:
      NotImplementedError: an entry of UPDATE_OPS that lives in another graph (a function), or in
        control flow with several clones.
    """
    owned = owned_updates(graph, state)
    assigns = [op for op, _ in owned]
    if not assigns:
        return
    for op, group in owned:
        _average_over_clones(graph, op, group, state)
    state.averaged_updates.update(assigns)
    if options.num_workers == 1:
        return
    in_context = [op for op in assigns if compat.control_flow_context(op) is not None]
    top = [op for op in assigns if op not in in_context]
    groups = [[op] for op in in_context]
    # One fused exchange waits for all values; that must not wait for one of the assignments.
    fusible = not (ancestors(op.inputs[1].op for op in top) & set(top))
    groups += [top] if fusible and top else [[op] for op in top]
    for members in groups:
        _average_over_workers(graph, state, members, options)


def _average_over_clones(graph: Any, op: Any, group: GradientGroup, state: GraphState) -> None:
    clones = group.clones
    if clones is None or len(clones.clones) == 1:
        return
    value = op.inputs[1]
    if compat.control_flow_context(op) is not None:
        raise NotImplementedError(
            "'{}' in tf.GraphKeys.UPDATE_OPS is inside tf.cond or tf.while_loop: what it assigns "
            "cannot be averaged over micro-batches and replicas; build the layer with a Python "
            "bool for `training`".format(op.name))
    with compat.inserted(graph, "{}/statistics".format(group.name)), \
            tf.device(op.device or None):
        total = tf.add_n([clones.tensor(value, clone) for clone in clones.clones])
        mean = total / tf.cast(len(clones.clones), total.dtype)
    compat.replace_input(op, value, mean)
    state.note_change([op])


def _average_over_workers(graph: Any, state: GraphState, assigns: List[Any],
                          options: ReduceOptions) -> None:
    number = len(state.statistics)
    scope = "epl/statistics_{}".format(number)
    values = [op.inputs[1] for op in assigns]
    with compat.inserted(graph, scope, compat.control_flow_context(assigns[0])):
        averaged = reduce_dense(
            values, scope, ReduceOptions(options.num_workers, average=True, max_splits=1),
            state.statistics)
    for op, old, new in zip(assigns, values, averaged):
        compat.replace_input(op, old, new)
        state.note_change([op])


def _assignments(graph: Any) -> List[Any]:
    """The float assignments that UPDATE_OPS stand for, in order of creation."""
    found = set()
    for entry in graph.get_collection(tf.GraphKeys.UPDATE_OPS):
        pending = [entry if isinstance(entry, tf.Operation) else entry.op]
        if pending[0].graph is not graph:
            raise NotImplementedError(
                "UPDATE_OPS holds '{}', which lives inside a function; EPL averages updates of "
                "top-level operations only: build the layer with v1 control flow".format(
                    pending[0].name))
        while pending:
            op = pending.pop()
            if op.type in _ASSIGNMENTS:
                if op.inputs[1].dtype.is_floating:
                    found.add(op)
            elif op.type in _PASS_THROUGH:
                pending.extend(list(op.control_inputs) + [t.op for t in op.inputs])
    return sorted(found, key=lambda op: op._id)
