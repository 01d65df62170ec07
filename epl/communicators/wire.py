# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How element types travel that the communicator does not carry.

    type              a sum travels as          rows that are gathered travel as
    bfloat16          float32                   uint16, the same bits
    complex64, 128    two reals per number      two reals per number
    short integers    int32 or int64            (carried as they are)
    uint32, uint64    int64                     int32, int64, the same bits

What comes back has the type it had: a sum of short integers wraps around as it does in their type.
"""

from typing import Any

import tensorflow.compat.v1 as tf

_SUMMED_AS = {
    tf.bfloat16: tf.float32, tf.uint8: tf.int32, tf.int8: tf.int32, tf.uint16: tf.int32,
    tf.int16: tf.int32, tf.uint32: tf.int64, tf.uint64: tf.int64}
_SAME_BITS = {tf.bfloat16: tf.uint16, tf.uint32: tf.int32, tf.uint64: tf.int64}
_SUMMED = frozenset([tf.int32, tf.int64, tf.float16, tf.float32, tf.float64])
_GATHERED = _SUMMED | frozenset([tf.uint8, tf.int8, tf.uint16, tf.int16, tf.bool])


def as_reals(tensor: Any) -> Any:
    """A complex tensor with its real and imaginary parts in a last dimension; others unchanged."""
    if not tensor.dtype.is_complex:
        return tensor
    return tf.bitcast(tensor, tensor.dtype.real_dtype)


def from_reals(value: Any, dtype: Any) -> Any:
    """What `as_reals` was given, of type `dtype`."""
    return tf.bitcast(value, dtype) if dtype.is_complex else value


def to_sum(tensor: Any) -> Any:
    """What travels for `tensor` when it is added up over the workers.

    Raises:
      TypeError: values of this type cannot be added up.
    """
    tensor = as_reals(tensor)
    _check(tensor, tensor.dtype in _SUMMED_AS or tensor.dtype in _SUMMED, "added up")
    return tf.cast(tensor, _SUMMED_AS.get(tensor.dtype, tensor.dtype))


def from_sum(value: Any, dtype: Any) -> Any:
    """The sum of tensors of type `dtype`, from that of what travelled for them."""
    return from_reals(value, dtype) if dtype.is_complex else tf.cast(value, dtype)


def to_gather(tensor: Any) -> Any:
    """What travels for `tensor` when rows are gathered from the workers.

    Raises:
      TypeError: values of this type cannot travel.
    """
    tensor = as_reals(tensor)
    _check(tensor, tensor.dtype in _SAME_BITS or tensor.dtype in _GATHERED, "gathered")
    if tensor.dtype not in _SAME_BITS:
        return tensor
    return tf.bitcast(tensor, _SAME_BITS[tensor.dtype])


def from_gather(value: Any, dtype: Any) -> Any:
    """Gathered rows of type `dtype`, from what travelled for them."""
    return value if value.dtype == dtype else tf.bitcast(value, dtype)


def _check(tensor: Any, carried: bool, verb: str) -> None:
    if not carried:
        raise TypeError(
            "{} has type {}: such values cannot be {} over several workers; cast it to a number "
            "type that can, or take it out of what is merged".format(
                tensor.name, tensor.dtype.base_dtype.name, verb))
