# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `written`: what a step writes, and what is read behind the gradients, is of the whole batch.

What is behind the gradients runs in steps alone: it is made to read the whole batch. What writes
from the batch beside them may run alone, too (a metric, in an evaluation): a step runs a copy of it
instead. A copy is also what waits for such a write.
"""

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor, feeds, static_shapes
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.deferred import Deferred
from epl.rewrite.groups import GradientGroup, Merged, groups_of
from epl.rewrite.leaving import Leaving, is_decided, owner
from epl.rewrite.walk import data_ancestors, data_descendants
from epl.rewrite.whole import View, WholeBatch


class _OfWorker:
    """What this worker computes of its whole batch.

    Attributes:
      by_group: name of a group -> in the group's steps.
      together: names of groups -> in steps of all of these, by the clones of the first.
    """

    def __init__(self) -> None:
        self.by_group: Dict[str, WholeBatch] = {}
        self.together: Dict[Tuple[str, ...], WholeBatch] = {}


def asked(family: List[GradientGroup], state: GraphState) -> List[Any]:
    """The tensors of the batch that are written, or read behind the gradients, for a family."""
    leaving = state.known(Leaving)
    found = {tensor.name: tensor for op in _users(leaving)
             for tensor in list(op.inputs) + _counted(op) if tensor.op not in leaving.deferred and (
                 tensor.op in leaving.of_batch or is_decided(tensor.op, leaving.of_batch))}
    return [found[name] for name in sorted(found) if owner([found[name]], state) in family]


def prepare(graph: Any, state: GraphState, num_workers: int) -> None:
    """Let the graph's record say what the job computes of the whole batch."""
    if state.find(WholeBatch) is None:
        state.keep(WholeBatch(graph, state, "epl/whole", lambda t: owner([t], state), num_workers))
    leaving = state.known(Leaving)
    state.keep(leaving._replace(deferred=leaving.deferred.union(
        state.record(Deferred).ops,
        *[group.partition.deferred for group in groups_of(state) if group.partition is not None])))


def write_whole_batch(graph: Any, state: GraphState) -> None:
    """Make steps write, and read behind the gradients, what the whole batch gives.

    Raises:
      NotImplementedError: something of which EPL cannot tell what it is for the whole batch.
    """
    leaving = state.known(Leaving)
    read = _read_once(state)
    view = view_of(state)
    copied = {op for op, group in leaving.writes.items() if group is not None}
    for op in _behind_gradients(state):
        before = [tensor.op for tensor in op.inputs] + list(op.control_inputs)
        copied.update(b for b in before if b in leaving.deferred)
    first = state.known(WholeBatch).build(
        [tensor for _, tensor, group in read if group is None],
        sorted(copied, key=compat.op_id), view)
    for _, tensor, group in read:
        if group is not None:
            first += local_of(graph, state, group).build([tensor], [], view)
    if first:
        for op in (op for group in groups_of(state) for op in group.returned_ops):
            editor.wait_for(op, first)
    _redirect(state, read)


def local_of(graph: Any, state: GraphState, group: GradientGroup) -> WholeBatch:
    """The values of this worker's whole batch in steps of a group."""
    made = state.record(_OfWorker).by_group
    if group.name not in made:
        made[group.name] = WholeBatch(graph, state, group.name + "/whole", lambda tensor: group, 1)
    return made[group.name]


def local_together(graph: Any, state: GraphState, groups: Sequence[GradientGroup],
                   merged: Mapping[str, Merged]) -> WholeBatch:
    """The values of this worker's whole batch in a step of several groups.

    Args:
      graph, state: the script's graph and its record.
      groups: whose losses the step knows; the clones of the first compute.
      merged: what the step merges, of all of them.
    """
    made, names = state.record(_OfWorker).together, tuple(group.name for group in groups)
    if names not in made:
        made[names] = WholeBatch(graph, state, "{}/whole_of_{}".format(names[0], len(made)),
                                 lambda tensor: groups[0], 1, merged)
    return made[names]


def computed_once(state: GraphState, op: Any) -> Any:
    """The script's operation that `op` computes from the rows of all clones; maybe None."""
    job = state.find(WholeBatch)
    of_worker = state.record(_OfWorker)
    every = ([] if job is None else [job]) + list(of_worker.by_group.values()) + list(
        of_worker.together.values())
    return next((original for whole in every for original in [whole.original(op)]
                 if original is not None), None)


def _read_once(state: GraphState) -> List[Any]:
    """(operation, tensor of the batch that it reads, group) behind the gradients.

    The group is None if a variable is written from it: then it is the whole job's. What is merely
    fetched is this worker's.
    """
    leaving = state.known(Leaving)
    once = sorted(leaving.once, key=compat.op_id)
    written = _taken_in(op for op in once if op_traits.written_variable(op) is not None)
    found = []
    for op in once:
        for tensor in list(op.inputs) + _counted(op):
            if tensor.op in leaving.of_batch and tensor.op not in leaving.deferred:
                group = owner([tensor], state)
                if group is not None:
                    found.append((op, tensor, None if op in written else group))
    return found


def _taken_in(writes: Iterable[Any]) -> Set[Any]:
    """What is computed for `writes`, or counted."""
    found: Set[Any] = set()
    pending = list(writes)
    while pending:
        new = data_ancestors(pending) - found
        found |= new
        pending = [tensor.op for op in new for tensor in _counted(op)]
    return found


def _counted(op: Any) -> List[Any]:
    """The tensor that the constant `op` counts the rows of, if it does."""
    stands_for = static_shapes.behind(op)
    return [] if stands_for is None else [stands_for.tensor]


def view_of(state: GraphState) -> View:
    """What is known of the operations that the groups of a graph compute."""
    leaving = state.known(Leaving)
    view = View(set(), set(), set(), {}, None,  # type: ignore[arg-type]
                leaving.deferred, leaving.of_batch)
    for group in groups_of(state):
        if group.partition is not None:
            view.batch_dependent.update(group.partition.batch_dependent)
            view.sources.update(group.partition.sources)
            view.conditional.update(group.partition.conditional)
            view.loop.update(group.partition.loop)
    return view._replace(axes=axes_of([view], state))


def axes_of(known: Sequence[Any], state: GraphState, exact: bool = False, mixed: bool = False,
            like: Optional[Mapping[str, Any]] = None) -> BatchAxes:
    """How tensors of a graph relate to the whole batch.

    Args:
      known: views or partitions of what depends on it.
      state: the graph's record.
      exact, mixed, like: as in `BatchAxes`.
    """
    batch_dependent = set().union(*[k.batch_dependent for k in known])
    sources = set().union(*[k.sources for k in known])
    sparse = {tensor.op for group in groups_of(state)[:1] for parts in feeds.fed_sparse(
        group.ys[0].graph) for tensor in parts}
    return BatchAxes(
        lambda op: op in batch_dependent or op in sources,
        lambda op: _axis_of_rows(op) if op in sources - sparse else None,
        state.provenance.is_backward, exact, mixed, sources, like)


def _axis_of_rows(source: Any) -> Any:
    """The axis along which a source brings rows in."""
    return feeds.axis_of_rows(source.outputs[0]) if source.type in feeds.PLACEHOLDERS else 0


def _users(leaving: Leaving) -> List[Any]:
    """The operations that read the whole batch, in the order of creation."""
    return sorted(leaving.once | leaving.deferred, key=compat.op_id)


def _behind_gradients(state: GraphState) -> Set[Any]:
    return state.known(Leaving).once.union(*[group.returned_ops for group in groups_of(state)])


def _redirect(state: GraphState, read: List[Any]) -> None:
    """Let what is behind the gradients read and wait for what stands for the whole batch."""
    leaving, job = state.known(Leaving), state.known(WholeBatch)
    redirected = set()
    for op, tensor, group in read:
        whole = job if group is None else state.record(_OfWorker).by_group[group.name]
        value = whole.tensor(tensor)
        if value is tensor:
            continue
        if tensor in _counted(op):
            _count(op, value)
        else:
            editor.replace_input(op, tensor, _of_open_shape(value, tensor))
            redirected.add(op)
    _count_behind(leaving.once, redirected)
    for op in _behind_gradients(state):
        for tensor in list(op.inputs):
            if tensor.op in leaving.deferred:
                editor.replace_input(op, tensor, job.tensor(tensor))
        waited = {source for source in op.control_inputs if source in leaving.deferred}
        if waited:
            editor.wait_no_longer(op, waited)
            editor.wait_for(op, sorted((job.operation(source) for source in waited),
                                       key=compat.op_id))


def _count_behind(once: Set[Any], redirected: Set[Any]) -> None:
    """What counts rows behind the gradients counts those that are there now."""
    followed = data_descendants(redirected) & once
    for op in sorted(once, key=compat.op_id) if followed else ():
        for tensor in _counted(op):
            if tensor.op in followed:
                with compat.inserted(op.graph, op.name + "_of_all"):
                    value = tf.placeholder_with_default(tensor, [None] * tensor.shape.ndims)
                followed |= data_descendants(op.outputs[0].consumers()) & once
                _count(op, value)


def _count(constant: Any, value: Any) -> None:
    """Let the readers of a `constant` that counts rows read what it is of `value`."""
    users = constant.outputs[0].consumers()
    count = _computed(constant, value)
    for user in users:
        editor.replace_input(user, constant.outputs[0], count)


def _computed(constant: Any, value: Any) -> Any:
    """What the `constant`, which waits for a step, is of the whole batch."""
    kind = static_shapes.behind(constant).type  # type: ignore[union-attr]
    made = {"Shape": tf.shape, "Size": tf.size, "ZerosLike": tf.zeros_like}[kind]
    options = {} if kind == "ZerosLike" else {"out_type": constant.outputs[0].dtype}
    with compat.inserted(constant.graph, constant.name + "_of_all"):
        count = made(value, **options)
        editor.wait_for(count.op, list(constant.control_inputs))
    return _of_open_shape(count, constant.outputs[0])


def _of_open_shape(value: Any, tensor: Any) -> Any:
    """`value` as what can be read in the place of `tensor`, which may be of a smaller size."""
    if tensor.shape.is_compatible_with(value.shape):
        return value
    with compat.inserted(tensor.graph, tensor.op.name + "_of_all"):
        return tf.placeholder_with_default(value, [
            size if size == now else None
            for size, now in zip(tensor.shape.as_list(), value.shape.as_list())])
