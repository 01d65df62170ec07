# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `readers`: what the script writes from the loss, it writes from the merged loss.

    loss ----> f ----> write                as the script built it
    mean ----> f' ---> write                what it becomes

A learning rate that follows the loss, a moving average of the loss: on one device the loss is that
of the whole global batch, so here it is the mean over all micro-batches, replicas and workers. A
run that writes so is a step of its group, even if it runs nothing else of it.
"""

from typing import Any, Dict, Iterable, Set

from epl import compat
from epl.ir.graph_state import GradientGroup, GraphState, parts
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import kinds
from epl.rewrite.merge import Merged, merged_loss
from epl.rewrite.walk import ancestors, data_ancestors, data_descendants


def write_merged_losses(graph: Any, state: GraphState, num_workers: int,
                        plan: ParallelPlan) -> None:
    """Make writes of global variables that read a differentiated loss read its merged value.

    Raises:
      NotImplementedError: such a write, or what it reads, is inside `tf.cond` or `tf.while_loop`.
    """
    variables = {compat.variable_key(v) for v in compat.global_variables(graph)}
    computing = _computing(state.groups)
    done: Set[str] = set()
    for group in state.groups:
        clones = len(group.clones.clones) if group.clones is not None else 1
        for loss in group.ys if num_workers * clones > 1 else []:
            if loss.shape.ndims == 0 and loss.dtype.is_floating and loss.name not in done:
                done.add(loss.name)
                others = computing | _merging(loss, state.groups)
                following = data_descendants(loss.consumers(), others) - others
                writes = {op for op in following - state.averaged_updates
                          if _writes(op, variables)}
                if writes:
                    between = following & data_ancestors(writes, {loss.op})
                    _rewire(graph, group, loss, between, writes, num_workers, plan)
                    state.note_change(writes)


def _computing(groups: Iterable[GradientGroup]) -> Set[Any]:
    """The operations of the script that compute losses and gradients."""
    return ancestors(t.op for group in groups for t in group.ys + [
        part for gradient in group.gradients for part in parts(gradient.raw)])


def _merging(loss: Any, groups: Iterable[GradientGroup]) -> Set[Any]:
    """What was built to merge `loss`."""
    found: Set[Any] = set()
    for group in groups:
        ends = {loss.op}
        if group.clones is not None:
            ends.update(group.clones.tensor(loss, clone).op for clone in group.clones.clones)
        merged = [m for name, m in group.merged.items() if name in (loss.name, _key(loss))]
        found |= ancestors((m.value.op for m in merged if m.value is not loss), ends)
    return found


def _writes(op: Any, variables: Set[Any]) -> bool:
    return kinds.takes_state(op) and any(
        kinds.is_handle(t) and kinds.handle_origin(t) in variables for t in op.inputs)


def _key(loss: Any) -> str:
    """Under what name a group keeps the value that is written; no tensor is called so."""
    return loss.name + " written"


def _rewire(graph: Any, group: GradientGroup, loss: Any, between: Set[Any], writes: Set[Any],
            num_workers: int, plan: ParallelPlan) -> None:
    """Make `writes` read copies of what is `between`, which read the merged loss."""
    ordered = sorted(between, key=lambda op: op._id)
    for op in ordered:
        if compat.control_flow_context(op) is not None:
            raise NotImplementedError(
                "operation '{}' takes the loss {} inside tf.cond or tf.while_loop, and variables "
                "are written from it: there it is the loss of one micro-batch; use the loss "
                "outside, for instance with tf.where".format(op.name, loss.name))
    if _key(loss) not in group.merged:
        group.merged[_key(loss)] = merged_loss(group, loss, num_workers, plan)
    twins: Dict[str, Any] = {loss.name: group.merged[_key(loss)].value}
    for op in ordered:
        if op in writes:
            for tensor in list(op.inputs):
                compat.replace_input(op, tensor, twins.get(tensor.name, tensor))
        elif any(t.name in twins for t in op.inputs):
            copy = _copy(graph, group, op, twins)
            twins.update({old.name: new for old, new in zip(op.outputs, copy.outputs)})
    for name, value in twins.items():
        if name != loss.name:
            group.merged[name] = Merged(value, ())


def _copy(graph: Any, group: GradientGroup, op: Any, twins: Dict[str, Any]) -> Any:
    with compat.inserted(graph, group.name + "/written"):
        copy = compat.copy_with_inputs(op, [twins.get(t.name, t) for t in op.inputs])
    copy._add_control_inputs(list(op.control_inputs))
    return copy
