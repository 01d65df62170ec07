# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reduce gradients so that each worker gets the rows that it needs (zero.level = v1).

    rows of worker 0     rows of worker 1
    a0  c0  padding   |  b  c1               --reduce_scatter-->  worker 0: a0 c0   worker 1: b c1

Variables that are divided by rows, and those that one worker has, travel apart: so both are even.
"""

from typing import Any, List, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl.communicators.base import MEAN, SUM, Collective
from epl.ir.ownership import Rows
from epl.plan import buckets as plan
from epl.plan.buckets import TensorSpec, plan_buckets
from epl.rewrite.aggregate import ReduceOptions, reduce_one


class Scattered(NamedTuple):
    """A gradient of which each worker gets some rows.

    Attributes:
      tensor: this worker's own, of static shape.
      rows: of each worker.
    """

    tensor: Any
    rows: Sequence[Rows]

    @property
    def per_row(self) -> int:
        """Elements of a row."""
        return int(self.tensor.shape.num_elements()) // int(self.tensor.shape[0])


def scatter(gradients: Sequence[Scattered], prefix: str, options: ReduceOptions,
            collectives: List[Collective]) -> List[Any]:
    """This worker's rows of gradients, reduced over the workers.

    Args:
      gradients: all of them.
      prefix: start of the names under which the workers meet.
      options: how.
      collectives: the collectives made are appended here.

    Returns:
      For each its rows here; their number does not show.
    """
    result: List[Any] = [None] * len(gradients)
    for number, bucket in enumerate(_buckets(gradients, options)):
        name = "{}_{}".format(prefix, number)
        own = _own([gradients[index] for index in bucket], name, options, collectives)
        for index, value in zip(bucket, own):
            result[index] = value
    return result


def _buckets(gradients: Sequence[Scattered], options: ReduceOptions) -> List[Tuple[int, ...]]:
    found: List[Tuple[int, ...]] = []
    divided = [sum(1 for each in gradient.rows if each.number) > 1 for gradient in gradients]
    for kind, splits in ((True, max(1, options.max_splits - 1)), (False, 1)):
        some = [index for index in range(len(gradients)) if divided[index] is kind]
        specs = [TensorSpec(gradients[i].tensor.dtype.base_dtype.name,
                            gradients[i].tensor.shape.num_elements()) for i in some]
        found.extend(tuple(some[i] for i in bucket)
                     for bucket in plan_buckets(specs, splits, plan.SMALLEST))
    return found


def _own(bucket: Sequence[Scattered], name: str, options: ReduceOptions,
         collectives: List[Collective]) -> List[Any]:
    rank, dtype = options.communicator.rank, bucket[0].tensor.dtype.base_dtype
    sizes: List[List[int]] = [[g.rows[r].number * g.per_row for g in bucket]
                              for r in range(options.group.size)]
    each = max(1, max(sum(own) for own in sizes))
    pieces: List[Any] = []
    for member, own in enumerate(sizes):
        pieces.extend(_flat(g, g.rows[member]) for g in bucket if g.rows[member].number)
        if sum(own) < each:
            pieces.append(tf.zeros([each - sum(own)], dtype))
    whole = tf.concat(pieces, 0)
    if options.fp16_scale is None:
        mine, collective = options.communicator.reduce_scatter(
            whole, name, options.group, MEAN if options.average else SUM)
        collectives.append(collective)
    else:
        mine = reduce_one(whole, name, options, collectives)[rank * each:(rank + 1) * each]
    parts = tf.split(mine, sizes[rank] + [each - sum(sizes[rank])])
    return [_shaped(part, g, g.rows[rank].number) for part, g in zip(parts, bucket)]


def _flat(gradient: Scattered, rows: Rows) -> Any:
    return tf.reshape(gradient.tensor[rows.first:rows.first + rows.number], [-1])


def _shaped(part: Any, gradient: Scattered, number: int) -> Any:
    shape = [number] + gradient.tensor.shape.as_list()[1:]
    return tf.placeholder_with_default(
        tf.reshape(part, shape), [None] * len(shape), "any_rows")
