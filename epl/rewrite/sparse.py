# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sparse gradients of a table that is looked up both for the batch and for all rows alike.

TensorFlow joins the rows of all lookups of a table into one gradient. On one device each row of a
lookup by `tf.range`, say, stands there once; in every clone it stands there again. What comes from
such a lookup is therefore taken apart from the rest, and added up instead of joined.
"""

from typing import Any, List

import tensorflow.compat.v1 as tf

from epl.rewrite import kinds


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
    return found if len({kinds.same_rows(piece) for piece in found}) > 1 else [gradient]


def shared_rows(gradient: Any) -> List[Any]:
    """Those parts of a gradient whose rows all clones and workers share; their indices, [rows]."""
    return [piece.indices for piece in pieces(gradient) if kinds.same_rows(piece)]


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
    op = kinds.without_any_rows(tensor).op
    if op.type == "ConcatV2" and tf.get_static_value(op.inputs[-1]) == 0:
        return list(op.inputs[:-1])
    return [tensor]
