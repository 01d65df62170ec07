# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sparse gradients whose rows are more than the rows of the batch, one after the other.

TensorFlow joins the rows of all lookups of a table into one gradient. They are taken apart by kind:

    looked up by                    of all clones they are
    ids of the batch                joined
    the same for all (`tf.range`)   added up, one by one
    the batch's `tf.unique` (as by  joined, and those of the same id added up: unique in a clone's
    `embedding_lookup_sparse`)      part of the batch, they are not so in the whole batch

and joined again, so that each row stands there as often as on one device: its norm depends on it.
"""

from typing import Any, List, Tuple

import tensorflow.compat.v1 as tf

from epl.rewrite import op_traits

# Operations that give rows once each, and the number of the output that says which.
_UNIQUE = {"Unique": 0, "UniqueV2": 0, "UniqueWithCounts": 0, "UniqueWithCountsV2": 0,
           "SparseSegmentMeanGradV2": 1, "SparseSegmentSqrtNGradV2": 1, "SparseSegmentSumGradV2": 1}
_KEEP_UNIQUE = frozenset(["Cast", "Identity", "PlaceholderWithDefault", "Reshape"])


def pieces(gradient: Any) -> List[Any]:
    """The parts of a gradient that are aggregated on their own, in their order.

    A dense gradient has one, and so has a sparse one whose lookups are all of one kind.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return [gradient]
    values, indices = _lookups(gradient.values), _lookups(gradient.indices)
    if len(values) != len(indices):
        return [gradient]
    found = [tf.IndexedSlices(v, i, gradient.dense_shape) for v, i in zip(values, indices)]
    return found if len({_kind(piece) for piece in found}) > 1 else [gradient]


def _kind(gradient: Any) -> Tuple[bool, bool]:
    return op_traits.same_rows(gradient), is_unique(gradient)


def is_unique(gradient: Any) -> bool:
    """True if it is a sparse gradient with each row once, by the way in which it is looked up."""
    if not isinstance(gradient, tf.IndexedSlices):
        return False
    tensor = gradient.indices
    while tensor.op.type in _KEEP_UNIQUE:
        tensor = tensor.op.inputs[0]
    if tensor.op.type == "DynamicPartition":  # a table in several parts
        tensor = tensor.op.inputs[0]
        while tensor.op.type in _KEEP_UNIQUE or tensor.op.type == "FloorDiv":
            tensor = tensor.op.inputs[0]
    return _UNIQUE.get(tensor.op.type) == tensor.value_index


def shared_rows(gradient: Any) -> List[Any]:
    """Those parts of a gradient whose rows all clones and workers share; their indices, [rows]."""
    return [piece.indices for piece in pieces(gradient) if op_traits.same_rows(piece)]


def once(piece: Any, aggregated: Any) -> Any:
    """`aggregated`, of clones or workers, with each row once if the clones' `piece` has it so."""
    if aggregated is piece or not is_unique(piece) or op_traits.same_rows(piece):
        return aggregated
    with tf.device(aggregated.values.device or None):
        rows, places = tf.unique(aggregated.indices)
        values = tf.math.unsorted_segment_sum(aggregated.values, places, tf.size(rows))
        return tf.IndexedSlices(values, rows, aggregated.dense_shape)


def joined(parts: List[Any]) -> Any:
    """One gradient again, of what `pieces` gave."""
    if len(parts) == 1:
        return parts[0]
    with tf.device(parts[0].values.device or None):
        return tf.IndexedSlices(tf.concat([part.values for part in parts], 0),
                                tf.concat([part.indices for part in parts], 0),
                                parts[0].dense_shape)


def _lookups(tensor: Any) -> List[Any]:
    """What TensorFlow joined to `tensor`; behind the placeholder that hides its number of rows."""
    op = op_traits.without_any_rows(tensor).op
    if op.type == "ConcatV2" and tf.get_static_value(op.inputs[-1]) == 0:
        return list(op.inputs[:-1])
    return [tensor]
