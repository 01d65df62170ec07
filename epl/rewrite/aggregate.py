# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `aggregate`: reduce gradients over workers, fused by the bucket plan.

    g0 g1 g2 --flatten, concatenate--> bucket --(fp16)--> all_reduce --> split, reshape --> g0 g1 g2

Sparse gradients travel as their rows and indices, gathered from all workers; where all workers have
the same rows, as dense ones.
"""

from typing import Any, Iterable, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl.communicators import wire
from epl.communicators.base import MEAN, SUM, Collective, Communicator, Group
from epl.plan import buckets as plan
from epl.plan.buckets import TensorSpec, plan_buckets
from epl.rewrite import op_traits

# The smallest finite value that overflows a 16-bit float is above this.
_FP16_MAX = 65504.0


class ReduceOptions(NamedTuple):
    """How to reduce.

    Attributes:
      communicator: what connects the workers.
      group: those that take part.
      average: mean over the workers, else sum.
      max_splits: fused groups at most.
      fp16_scale: factor before the cast to 16 bits; None: gradients travel as they are.
    """

    communicator: Communicator
    group: Group
    average: bool = True
    max_splits: int = 5
    fp16_scale: Optional[int] = None

    def among(self, groups: Iterable[Group]) -> "ReduceOptions":
        """As these, over the one of `groups` that this worker is in."""
        own = next(g for g in groups if self.communicator.rank in g.ranks)
        return self._replace(group=own)


def reduce_gradients(gradients: Sequence[Any], prefix: str, options: ReduceOptions,
                     collectives: List[Collective], losses: Sequence[Any] = (),
                     apart: Optional[List[Collective]] = None) -> Any:
    """Aggregate gradients over the workers, and losses on the way.

    Args:
      gradients: dense tensors or `tf.IndexedSlices`.
      prefix: start of the names under which the workers meet.
      options: how.
      collectives: the collectives made are appended here.
      losses: numbers that travel with the dense gradients, and are reduced like them.
      apart: the collectives of losses that cannot are appended here.

    Returns:
      (the aggregated gradients: the same kinds, shapes and dtypes, in the same order; the losses).
    """
    result = list(gradients)
    rows = {i: g for i, g in enumerate(gradients) if isinstance(g, tf.IndexedSlices)}
    same = {i: g for i, g in rows.items() if op_traits.same_rows(g)}
    dense = [i for i in range(len(gradients)) if i not in rows or i in same]
    tensors = [same[i].values if i in same else gradients[i] for i in dense]
    reduced = reduce_dense(tensors, prefix + "dense", options, collectives, losses, apart)
    for index, tensor in zip(dense, reduced):
        result[index] = tensor if index not in same else tf.IndexedSlices(
            tensor, same[index].indices, same[index].dense_shape)
    for index, gradient in rows.items():
        if index not in same:
            name = "{}sparse_{}".format(prefix, index)
            result[index] = _gather_sparse(gradient, name, options, collectives)
    return result, reduced[len(dense):]


def reduce_dense(tensors: Sequence[Any], prefix: str, options: ReduceOptions,
                 collectives: List[Collective], beside: Sequence[Any] = (),
                 apart: Optional[List[Collective]] = None) -> List[Any]:
    """Reduce dense tensors in fused buckets. Arguments and result as `reduce_gradients`.

    Args:
      beside: further tensors, which travel in the last bucket of their type.
      apart: the collectives of those that find none, or one that is rounded to 16 bits.
    """
    specs = [TensorSpec(t.dtype.base_dtype.name, t.shape.num_elements()
                        if t.shape.is_fully_defined() else -1, t.device) for t in tensors]
    buckets = [list(bucket) for bucket in plan_buckets(
        specs, options.max_splits, plan.SMALLEST)]
    every = list(tensors) + list(beside)
    exact = options._replace(fp16_scale=None)
    for index in range(len(tensors), len(every)):
        rounded = 0 if options.fp16_scale is None else len(tensors)
        _last_of_type(buckets, every, index, rounded).append(index)
    result = list(every)
    for number, bucket in enumerate(buckets):
        members = [every[index] for index in bucket]
        with tf.device(members[0].device or None):
            flat = tf.concat([tf.reshape(t, [-1]) for t in members], axis=0) \
                if len(members) > 1 else members[0]
            name = "{}_{}".format(prefix, number)
            if bucket[0] < len(tensors) or apart is None:
                reduced = reduce_one(flat, name, options, collectives)
            else:
                reduced = reduce_one(flat, name, exact, apart)
            for index, tensor in zip(bucket, _unfused(reduced, members)):
                result[index] = tensor
    return result


def _last_of_type(buckets: List[List[int]], tensors: Sequence[Any], index: int,
                  rounded: int) -> List[int]:
    """The bucket that a further tensor travels in; a new one if none will do.

    Args:
      buckets: of numbers of `tensors`.
      tensors: all that travel.
      index: of the further one.
      rounded: so many of the first are rounded to 16 bits, and so is what travels with them.
    """
    kind = tensors[index].dtype.base_dtype
    for bucket in reversed(buckets):
        if tensors[bucket[0]].dtype.base_dtype == kind and bucket[0] >= rounded:
            return bucket
    buckets.append([])
    return buckets[-1]


def _unfused(flat: Any, members: Sequence[Any]) -> List[Any]:
    if len(members) == 1:
        return [flat]
    shapes = [t.shape.as_list() if t.shape.is_fully_defined() else tf.shape(t) for t in members]
    sizes = [t.shape.num_elements() if t.shape.is_fully_defined() else tf.size(t) for t in members]
    parts = tf.split(flat, sizes if all(isinstance(s, int) for s in sizes) else tf.stack(sizes))
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes)]


def reduce_one(tensor: Any, name: str, options: ReduceOptions,
               collectives: List[Collective]) -> Any:
    """`tensor` reduced over the workers, as `options` say.

    Args:
      tensor: of the same shape on all.
      name: the name under which they meet.
      options: how.
      collectives: the collective made is appended here.
    """
    if options.fp16_scale is None or tensor.dtype.size <= 2:
        reduced, collective = options.communicator.all_reduce(
            tensor, name, options.group, MEAN if options.average else SUM)
        collectives.append(collective)
        return reduced
    dtype, tensor = tensor.dtype.base_dtype, wire.as_reals(tensor)
    # Divided by the number of workers before the cast, so that the sum cannot overflow either.
    scale = options.fp16_scale / float(options.group.size)
    scaled = tensor * tf.cast(scale, tensor.dtype)
    fits = tf.reduce_all(tf.logical_or(tf.abs(scaled) <= _FP16_MAX,
                                       tf.logical_not(tf.is_finite(scaled))))
    check = tf.Assert(fits, [
        "communication.fp16: a gradient times communication.fp16_scale = {} exceeds the largest "
        "16-bit float; lower the scale, or turn communication.fp16 off. Largest value:".format(
            options.fp16_scale), tf.reduce_max(tf.abs(scaled))])
    with tf.control_dependencies([check]):
        half = tf.cast(scaled, tf.float16)
    reduced, collective = options.communicator.all_reduce(half, name, options.group, SUM)
    collectives.append(collective)
    back = (1.0 if options.average else options.group.size) / float(options.fp16_scale)
    return wire.from_reals(tf.cast(reduced, tensor.dtype) * tf.cast(back, tensor.dtype), dtype)


def _gather_sparse(slices: Any, name: str, options: ReduceOptions,
                   collectives: List[Collective]) -> Any:
    communicator, group = options.communicator, options.group
    values, of_values = communicator.all_gather(slices.values, name + "_values", group)
    indices, of_indices = communicator.all_gather(slices.indices, name + "_indices", group)
    collectives.extend([of_values, of_indices])
    if options.average:
        values = divided(values, options.group.size)
    return tf.IndexedSlices(values, indices, slices.dense_shape)


def divided(tensor: Any, number: int) -> Any:
    """`tensor` / `number`; TensorFlow 1.15 cannot divide in bfloat16."""
    wide = tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor
    return tf.cast(wide / tf.cast(number, wide.dtype), tensor.dtype)
