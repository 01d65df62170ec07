# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `merge`: values of registered tensors, merged over micro-batches, replicas and workers.

The merging collectives run with every training step of the group that they belong to, on all
workers, whoever fetches the value: a hook that fetches a metric on the chief alone hangs nobody.
A loss that is differentiated comes back merged over this worker's clones if nothing else is said.
"""

from typing import Any, Iterable, List, NamedTuple, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators import horovod_backend
from epl.ir.graph_keys import GraphKeys
from epl.ir.graph_state import Collective, GradientGroup, GraphState
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import kinds, loops
from epl.rewrite.accumulate import scale
from epl.rewrite.aggregate import divided, record
from epl.rewrite.walk import ancestors

# How each collection merges, and whether over all workers.
_KEYS = {
    GraphKeys.GLOBAL_CONCAT_OBJECTS: ("concat", True),
    GraphKeys.GLOBAL_MEAN_OBJECTS: ("mean", True),
    GraphKeys.GLOBAL_SUM_OBJECTS: ("sum", True),
    GraphKeys.LOCAL_CONCAT_OBJECTS: ("concat", False),
    GraphKeys.LOCAL_MEAN_OBJECTS: ("mean", False),
    GraphKeys.LOCAL_SUM_OBJECTS: ("sum", False),
}
_LOSS = "loss"


class Merged(NamedTuple):
    """A tensor's merged value.

    Attributes:
      value: the merged tensor.
      collectives: what a step runs for it.
    """

    value: Any
    collectives: Tuple[Collective, ...]


def sources_of(tensors: Iterable[Any], state: GraphState) -> Set[Any]:
    """The operations that bring data from outside into the computation of `tensors`.

    Gradients that the script got count as what they were computed from.
    """
    owners = {op: group for group in state.groups if group.rewritten
              for op in group.returned_ops}
    behind = ancestors((t.op for t in tensors), owners)
    found = {op for op in behind if kinds.brings_data(op)}
    following = loops.successors(behind)
    fed: Set[Any] = set()  # what works on the data
    pending = [user for op in found for user in following[op]]
    while pending:
        op = pending.pop()
        if op not in fed:
            fed.add(op)
            pending.extend(following[op])
    found -= fed
    return found.union(*[owners[op].sources for op in behind if op in owners])


def wanted(group: GradientGroup, state: GraphState) -> List[Tuple[Any, str]]:
    """(tensor, collection key) of what a step of `group` merges.

    These are the registered tensors that such a step can compute without further feeds or data, and
    the loss.
    """
    found = [(tensor, key) for key in sorted(_KEYS) for tensor in state.registered.get(key, [])
             if sources_of([tensor], state) <= group.sources]
    names = {tensor.name for tensor, _ in found}
    for loss in group.ys + [y for other in state.groups if other is not group for y in other.ys]:
        if loss.shape.ndims == 0 and loss.dtype.is_floating and loss.name not in names \
                and (loss in group.ys or sources_of([loss], state) <= group.sources):
            found.append((loss, _LOSS))
            names.add(loss.name)
    return found


def merge_registered(group: GradientGroup, state: GraphState, num_workers: int,
                     plan: ParallelPlan) -> None:
    """Build the merged values that a step of `group` returns and that are missing yet.

    Raises:
      NotImplementedError: a registered tensor inside control flow.
      ValueError: the mean of whole numbers is asked for.
    """
    for tensor, key in wanted(group, state):
        if tensor.name not in group.merged:
            merged = _merged(group, tensor, key, num_workers, plan)
            if merged.value is not tensor:
                group.merged[tensor.name] = merged


def merged_loss(group: GradientGroup, loss: Any, num_workers: int, plan: ParallelPlan) -> Merged:
    """The loss of the global batch: merged over clones and workers, as the gradients are."""
    local = _merged(group, loss, _LOSS, num_workers, plan).value
    if num_workers == 1:
        return Merged(local, ())
    name = "{}/merged/{}/written".format(group.name, loss.name.replace(":", "_"))
    with compat.inserted(loss.graph, name):
        return _reduced(local, name, plan.reduce_method == "mean", num_workers, 1)


def _merged(group: GradientGroup, tensor: Any, key: str, num_workers: int,
            plan: ParallelPlan) -> Merged:
    how, everywhere = _KEYS.get(key, (key, False))
    everywhere = everywhere and num_workers > 1
    clones = group.clones.clones if group.clones is not None else [None]
    if len(clones) == 1 and not everywhere:
        return Merged(tensor, ())
    _check(tensor, how)
    name = "{}/merged/{}".format(group.name, tensor.name.replace(":", "_"))
    with compat.inserted(tensor.graph, name):
        values = [tensor if clone is None else group.clones.tensor(tensor, clone)
                  for clone in clones]
        if how == "concat":
            return _joined(values, name, everywhere)
        total = tf.add_n(values) if len(values) > 1 else values[0]
        if how == _LOSS:
            return Merged(total * tf.constant(scale(plan, len(values)), total.dtype), ())
        return _reduced(total, name, how == "mean", num_workers if everywhere else 1, len(values))


def _check(tensor: Any, how: str) -> None:
    if compat.control_flow_context(tensor.op) is not None:
        raise NotImplementedError(
            "{} is inside tf.cond or tf.while_loop: its value cannot be merged over workers or "
            "micro-batches; register a tensor that is computed outside".format(tensor.name))
    if how == "mean" and not (tensor.dtype.is_floating or tensor.dtype.is_complex):
        raise ValueError("{} has type {}: the mean of whole numbers is none; register tf.cast({}, "
                         "tf.float32) instead".format(tensor.name, tensor.dtype.name, tensor.name))


def _joined(values: List[Any], name: str, everywhere: bool) -> Merged:
    values = [tf.expand_dims(v, 0) if v.shape.ndims == 0 else v for v in values]
    local = tf.concat(values, 0) if len(values) > 1 else values[0]
    if not everywhere:
        return Merged(local, ())
    collectives: List[Collective] = []
    value = horovod_backend.all_gather(local, name)
    record(value, "all_gather", name, local, collectives)
    return Merged(value, tuple(collectives))


def _reduced(local: Any, name: str, average: bool, num_workers: int, num_clones: int) -> Merged:
    value, collectives = local, []  # type: Any, List[Collective]
    if num_workers > 1:
        value = horovod_backend.all_reduce(local, name, average=False)
        record(value, "all_reduce", name, local, collectives)
    if average:
        value = divided(value, num_workers * num_clones)
    return Merged(value, tuple(collectives))
