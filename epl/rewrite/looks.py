# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `looks`: summaries of gradients for a thread that runs them beside the training.

    gradient here -> identity -> norm -> HistogramSummary -> MergeSummary      in a training step
        |         (aggregated)
        +----------------------> norm' -> HistogramSummary' -> MergeSummary'   in a look

`tf.train.Supervisor` (`slim.learning.train`) runs its summaries on a timer, in a thread of each
worker. That can be no step of all workers. What it gets is what everything is outside of a step:
the value of this worker's own batch.
"""

from typing import Any, Dict

from epl import compat
from epl.ir.graph_state import GraphState
from epl.rewrite import loops, op_traits
from epl.rewrite.groups import groups_of, parts
from epl.rewrite.walk import ancestors, descendants


class Looks:
    """Name of a summary of gradients -> what a thread beside the training gets for it."""

    def __init__(self) -> None:
        self.values: Dict[str, Any] = {}


def look_at_summaries(graph: Any, state: GraphState) -> None:
    """Build what a look returns for the summaries that read gradients, and that is missing yet."""
    looks = state.record(Looks)
    own = {returned: raw for group in groups_of(state) for gradient in group.gradients
           for returned, raw in zip(parts(gradient.returned), parts(gradient.raw))}
    behind = descendants(tensor.op for tensor in own)
    wanted = [op for op in graph.get_operations() if op in behind and op_traits.is_summary(op)
              and op.outputs[0].name not in looks.values]
    if not wanted:
        return
    between = ancestors(wanted, {tensor.op for tensor in own}) & behind
    unfit = descendants(op for op in between if _is_unfit(op)) & between
    copies: Dict[Any, Any] = dict(own)
    with compat.inserted(graph, "epl/looks"):
        for op in loops.topological(loops.successors(between)):
            if op not in unfit and not any(tensor in own for tensor in op.outputs):
                inputs = [copies.get(tensor, tensor) for tensor in op.inputs]
                copies.update(zip(op.outputs, compat.copy_with_inputs(op, inputs).outputs))
    looks.values.update({op.outputs[0].name: copies[op.outputs[0]]
                         for op in wanted if op not in unfit})


def _is_unfit(op: Any) -> bool:
    """True for what a look must not do, or cannot: write, and what control flow is made of."""
    return op_traits.takes_state(op) or compat.control_flow_context(op) is not None
