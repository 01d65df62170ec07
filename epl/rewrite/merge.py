# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One value of those of several clones, or of several workers.

    clones     v v v v --join or reduce--> value of this worker --exchange--> value of the job

What is exchanged is exchanged in every step of the group that it belongs to, on all workers,
whoever fetches it: a hook that fetches a metric on the chief alone hangs nobody.
"""

from typing import Any, Dict, List, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.context import Context
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import joined
from epl.rewrite.accumulate import scale
from epl.rewrite.aggregate import ReduceOptions, reduce_dense
from epl.rewrite.groups import GradientGroup, Merged
from epl.rewrite.relations import Mergeable, Reduced, Rows

# What reduces the values of clones, stacked along a new first axis.
_STACKED = {"max": tf.reduce_max, "min": tf.reduce_min, "prod": tf.reduce_prod,
            "all": tf.reduce_all, "any": tf.reduce_any}


def of_clones(values: Sequence[Any], relation: Mergeable) -> Any:
    """The value of this worker's rows, from those of its clones, in their order.

    Args:
      values: a tensor per clone.
      relation: `Rows`, along whose axis they are joined, or `Reduced`. Numbers without an axis are
        joined to a vector.
    """
    if isinstance(relation, Rows):
        values = [tf.expand_dims(v, 0) if v.shape.ndims == 0 else v for v in values]
        if len(values) == 1:
            return values[0]
        together = tf.concat(values, relation.axis)
        joined.note(together.op, values[0])
        return together
    if len(values) == 1:
        return values[0]
    if relation.how in _STACKED:
        return _STACKED[relation.how](tf.stack(values), 0)
    total = tf.add_n(values)
    return total / tf.cast(len(values), total.dtype) if relation.how == "mean" else total


def of_workers(values: Sequence[Any], relations: Sequence[Mergeable], names: Sequence[str],
               context: Context) -> List[Merged]:
    """The values of the whole job, from those of this worker.

    Means and sums travel together, each kind in one exchange for each element type.

    Args:
      values: tensors, of the same shapes on all workers; those of rows may differ in the number.
      relations: `Rows` or `Reduced`, of each.
      names: of each, unique in the graph.
      context: what connects them.
    """
    found: Dict[int, Merged] = {}
    for how in ("mean", "sum"):
        members = [n for n, r in enumerate(relations) if r == Reduced(how)]
        if members:
            collectives: List[Collective] = []
            options = ReduceOptions(context.connection, context.workers, how == "mean", 1)
            reduced = reduce_dense([values[n] for n in members], "{}/{}".format(
                names[members[0]], how), options, collectives)
            for number, value in zip(members, reduced):
                found[number] = Merged(value, tuple(collectives))
    for number, (value, relation, name) in enumerate(zip(values, relations, names)):
        if number not in found:
            found[number] = _gathered(value, relation, name, context)
    return [found[number] for number in range(len(values))]


def _gathered(value: Any, relation: Mergeable, name: str, context: Context) -> Merged:
    """Rows of all workers, joined in their order; or what those values reduce to."""
    first = _turned(value, relation.axis) if isinstance(relation, Rows) \
        else tf.expand_dims(value, 0)
    kind = first.dtype
    first = tf.cast(first, tf.uint8) if kind == tf.bool else first
    every, collective = context.connection.all_gather(first, name, context.workers)
    joined.note(collective.op, value)
    every = tf.cast(every, kind)
    result = _turned(every, relation.axis) if isinstance(relation, Rows) \
        else _STACKED[relation.how](every, 0)
    return Merged(result, (collective,))


def _turned(tensor: Any, axis: int) -> Any:
    """`tensor` with its first axis and another one exchanged."""
    if axis == 0:
        return tensor
    order = list(range(tensor.shape.ndims))
    order[0], order[axis] = axis, 0
    return tf.transpose(tensor, order)


def merged_loss(group: GradientGroup, loss: Any, plan: ParallelPlan) -> Any:
    """A loss over this worker's clones: its mean or its sum, as its gradients are aggregated.

    Args:
      loss: of one clone, so that the mean (or sum) is that of the whole batch.
    """
    copied = group.copied
    if copied is None:
        return loss
    clones = copied.clones
    name = "{}/merged/{}".format(group.name, loss.name.replace(":", "_"))
    with compat.inserted(loss.graph, name):
        total = tf.add_n([copied.tensor(loss, clone) for clone in clones])
        return total * tf.constant(scale(plan, len(clones)), total.dtype)
