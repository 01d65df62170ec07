# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `statistics`: what UPDATE_OPS assign is averaged over workers.

Batch normalisation normalises with the statistics of each worker's own batch, and keeps moving
averages of them. Those are linear in the statistics: averaging what each worker assigns keeps the
variables equal on all workers, and equal to moving averages of the mean statistics.
"""

from typing import Any, List

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.graph_state import GraphState
from epl.rewrite.aggregate import ReduceOptions, reduce_dense
from epl.rewrite.walk import ancestors

_ASSIGNMENTS = frozenset([
    "Assign", "AssignAdd", "AssignSub",
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"])
_PASS_THROUGH = frozenset(["Identity", "NoOp", "ReadVariableOp"])


def average_updates(graph: Any, state: GraphState, options: ReduceOptions) -> None:
    """Average the value of every float assignment in UPDATE_OPS that is not averaged already.

    Raises:
      NotImplementedError: an entry of UPDATE_OPS that lives in another graph (a function).
    """
    assigns = [op for op in _assignments(graph) if op not in state.averaged_updates]
    if not assigns:
        return
    state.averaged_updates.update(assigns)
    in_context = [op for op in assigns if compat.control_flow_context(op) is not None]
    top = [op for op in assigns if op not in in_context]
    groups = [[op] for op in in_context]
    # One fused exchange waits for all values; that must not wait for one of the assignments.
    fusible = not (ancestors(op.inputs[1].op for op in top) & set(top))
    groups += [top] if fusible and top else [[op] for op in top]
    for group in groups:
        _average_group(graph, state, group, options)


def _average_group(graph: Any, state: GraphState, assigns: List[Any],
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
