# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a Reshape leaves of rows."""

from typing import Any, Iterable, List, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl.rewrite.relations import SAME, SHARED, UNKNOWN, Reduced, Rows, ShapeOf
from epl.rewrite.rules.registry import rules


@rules("Reshape")
def _reshaped(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Rows stay along the first axis if all that follows it is as large in the whole batch."""
    rows, shape = inputs[0], op.outputs[0].shape
    if isinstance(rows, Reduced):
        return [rows if inputs[1] in (SHARED, SAME) else UNKNOWN]
    if not isinstance(rows, Rows) or shape.ndims in (None, 0):
        return [UNKNOWN]
    if rows.axis != 0:
        return [rows if _keeps_place(op.inputs[0].shape, shape, rows.axis) else UNKNOWN]
    if _leads(op.inputs[1], inputs[1]):
        return [Rows(0)]
    return [Rows(0) if _keeps_apart(op.inputs[0].shape, shape) else UNKNOWN]


def joins_rows(op: Any, inputs: List[Any], sizes: Iterable[int]) -> bool:
    """True for a Reshape that puts [rows x time, ...] together again, [rows, time, ...].

    Args:
      op: the operation.
      inputs: what it takes.
      sizes: numbers of rows that parts of the batch are known to have.
    """
    if op.type != "Reshape" or inputs[0] != Rows(0) or op.outputs[0].shape.ndims in (None, 0):
        return False
    shape = op.outputs[0].shape.as_list()
    return None not in shape and any(size > 0 and shape[0] % size == 0 for size in sizes)


def _keeps_apart(before: Any, after: Any) -> bool:
    """True if what follows the first axis is no larger than before: a row becomes whole rows.

    Where it is larger, rows are put together. In [2, -1] those would be others in the whole batch.
    """
    if before.ndims is None or None in before.as_list()[1:] + after.as_list()[1:]:
        return False
    old, new = (int(np.prod(shape.as_list()[1:])) for shape in (before, after))
    return new > 0 and old % new == 0


def _keeps_place(before: Any, after: Any, axis: int) -> bool:
    """True if what stands before the rows is as before, and what follows them as large."""
    if before.ndims is None or after.ndims <= axis:
        return False
    old, new = before.as_list(), after.as_list()
    known = None not in old[:axis] + old[axis + 1:] + new[:axis] + new[axis + 1:]
    return known and old[:axis] == new[:axis] and \
        np.prod(old[axis + 1:]) == np.prod(new[axis + 1:])


def _leads(shape: Any, relation: Any) -> bool:
    """True for a shape [-1 or what grows with the rows, what does not...]."""
    if relation in (SHARED, SAME):
        value = tf.get_static_value(shape, partial=True)
        if value is None and shape.op.type in ("ConcatV2", "Pack"):
            value = np.reshape(tf.get_static_value(shape.op.inputs[0]), [-1])
        return value is not None and len(value) > 0 and value[0] == -1
    return relation == ShapeOf(0)
