# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One value of those of several clones, or of several workers.

    clones     v v v v --join or reduce--> value of this worker --exchange--> value of the job

What is exchanged is exchanged in every step of the group that it belongs to, on all workers,
whoever fetches it: a hook that fetches a metric on the chief alone hangs nobody.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.context import Context
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import joined
from epl.rewrite.accumulate import scale
from epl.rewrite.aggregate import ReduceOptions, reduce_dense
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.groups import GradientGroup, Merged
from epl.rewrite.relations import Mergeable, Reduced, Rows
from epl.rewrite.weights import Weight, times, weight_of_mean

# What reduces the values of clones, stacked along a new first axis.
_STACKED = {"max": tf.reduce_max, "min": tf.reduce_min, "prod": tf.reduce_prod,
            "all": tf.reduce_all, "any": tf.reduce_any}


class OfWorker(NamedTuple):
    """What this worker's clones have of a value.

    Attributes:
      sum: their values, joined or reduced; where they are weighed, the mean of value x weight.
      weight: the mean of the weights; None: all count alike.
    """

    sum: Any
    weight: Any = None

    @property
    def value(self) -> Any:
        """The value of this worker's rows."""
        return self.sum if self.weight is None else times(self.sum, 1.0 / self.weight)


def of_clones(values: Sequence[Any], relation: Mergeable,
              weights: Optional[Sequence[Any]] = None) -> OfWorker:
    """The value of this worker's rows, from those of its clones, in their order.

    Args:
      values: a tensor per clone.
      relation: `Rows`, along whose axis they are joined, or `Reduced`. Numbers without an axis are
        joined to a vector.
      weights: how much each clone counts in a mean; None: all alike.
    """
    if weights is None:
        return OfWorker(_of_clones(values, relation))
    return OfWorker(_of_clones([times(v, w) for v, w in zip(values, weights)], relation),
                    _of_clones(weights, relation))


def _of_clones(values: Sequence[Any], relation: Mergeable) -> Any:
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


def of_workers(values: Sequence[OfWorker], relations: Sequence[Mergeable], names: Sequence[str],
               context: Context) -> List[Merged]:
    """The values of the whole job, from those of this worker.

    Means and sums travel together, each kind in one exchange for each element type.

    Args:
      values: of the same shapes on all workers; those of rows may differ in the number.
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
            weights = {v.weight.name: v.weight for v in (values[n] for n in members)
                       if v.weight is not None}
            reduced = reduce_dense(
                [values[n].sum for n in members] + list(weights.values()),
                "{}/{}".format(names[members[0]], how), options, collectives)
            whole = dict(zip(weights, reduced[len(members):]))
            for number, value in zip(members, reduced):
                weight = values[number].weight
                found[number] = Merged(OfWorker(value, None if weight is None else whole[
                    weight.name]).value, tuple(collectives))
    for number, (value, relation, name) in enumerate(zip(values, relations, names)):
        if number not in found:
            found[number] = _gathered(value.sum, relation, name, context)
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


def merged_loss(group: GradientGroup, loss: Any, plan: ParallelPlan,
                weight: Optional[Weight] = None) -> Any:
    """A loss over this worker's clones: its mean or its sum, as its gradients are aggregated.

    Where clones are weighed it is the mean of loss x weight, as that of their gradients is.

    Args:
      group: of which a step gives it.
      loss: of one clone, so that the mean (or sum) is that of the whole batch.
      plan: says "mean" or "sum".
      weight: how much a clone counts in a mean; None: all alike.
    """
    if group.copied is None and weight is None:
        return loss
    weights = None if weight is None else clone_weights(group, weight)
    name = "{}/merged/{}".format(group.name, loss.name.replace(":", "_"))
    with compat.inserted(loss.graph, name):
        values = of_each(group, loss)
        if weights is not None:
            values = [times(value, weight) for value, weight in zip(values, weights)]
        return _aggregated(values, plan)


def merged_weight(group: GradientGroup, weight: Weight, plan: ParallelPlan) -> Any:
    """What `merged_loss` and gradients of this worker are to be divided by."""
    weights = clone_weights(group, weight)
    with compat.inserted(weights[0].graph, group.name + "/weights"):
        return _aggregated(weights, plan)


def _aggregated(values: Sequence[Any], plan: ParallelPlan) -> Any:
    total = tf.add_n(values)
    return total * tf.constant(scale(plan, len(values)), total.dtype)


def of_each(group: GradientGroup, tensor: Any) -> List[Any]:
    """`tensor` of each clone of this worker."""
    clones = group.clones
    return [tensor] if clones is None else [
        clones.tensor(tensor, clone) for clone in clones.clones]


def weights_of_mean(group: GradientGroup, tensor: Any, axes: BatchAxes) -> Optional[List[Any]]:
    """How much each clone of this worker counts in the mean `tensor`; None: all alike."""
    weight = weight_of_mean(tensor, axes)
    return None if weight is None else clone_weights(group, weight)


def clone_weights(group: GradientGroup, weight: Weight) -> List[Any]:
    """How much each clone of this worker counts."""
    if weight not in group.weights:
        with compat.inserted(weight.rows.tensor.graph, group.name + "/weights"):
            group.weights[weight] = [weight.of(t) for t in of_each(group, weight.rows.tensor)]
    return group.weights[weight]
