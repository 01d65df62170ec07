# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What moves, joins or cuts axes."""

from typing import Any, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite.relations import COUNT, SAME, SHARED, UNKNOWN, Reduced, Rows, ShapeOf
from epl.rewrite.rules.registry import constant, constant_axes, rank_of, rules
from epl.rewrite.rules.shapes import joined_shape, part_of_shape


@rules("Transpose", "ConjugateTranspose")
def _transposed(op: Any, inputs: List[Any]) -> Sequence[Any]:
    order = tf.get_static_value(op.inputs[1])
    if not isinstance(inputs[0], Rows):
        return [UNKNOWN]
    if order is None:
        return [_reversed_axes(op, inputs[0])]
    return [Rows(list(order).index(inputs[0].axis))]


def _reversed_axes(op: Any, rows: Any) -> Any:
    """`tf.transpose` without an order reverses the axes, by an expression."""
    rank = rank_of(op.inputs[0])
    return Rows(1 - rows.axis) if rank == 2 and op.inputs[1].op.type == "Sub" else UNKNOWN


@rules("ExpandDims")
def _expanded(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, axis = inputs[0], tf.get_static_value(op.inputs[1])
    if isinstance(rows, Reduced):
        return [rows]
    rank = rank_of(op.inputs[0])
    if not isinstance(rows, Rows) or axis is None or rank is None:
        return [UNKNOWN]
    place = int(axis) if axis >= 0 else int(axis) + rank + 1
    return [Rows(rows.axis + (place <= rows.axis))]


@rules("Squeeze")
def _squeezed(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, rank = inputs[0], rank_of(op.inputs[0])
    if isinstance(rows, Reduced):
        return [rows]
    dims = list(op.get_attr("squeeze_dims"))
    if not isinstance(rows, Rows) or rank is None:
        return [UNKNOWN]
    if not dims:
        shape = op.inputs[0].shape.as_list()
        dims = [axis for axis, size in enumerate(shape) if size == 1]
        if None in shape[:rows.axis] + shape[rows.axis + 1:]:
            return [UNKNOWN]
    gone = [d % rank for d in dims]
    return [UNKNOWN if rows.axis in gone else Rows(rows.axis - sum(d < rows.axis for d in gone))]


@rules("Pack")
def _packed(op: Any, inputs: List[Any]) -> Sequence[Any]:
    axis, rank = op.get_attr("axis"), rank_of(op.inputs[0])
    rows = {r for r in inputs if isinstance(r, Rows)}
    if len(rows) == 1 and rank is not None:
        first = rows.pop()
        if all(r == first for r in inputs):
            return [Rows(first.axis + (axis % (rank + 1) <= first.axis))]
        return [UNKNOWN]
    growing = [number for number, r in enumerate(inputs) if r == COUNT]
    if rank == 0 and len(growing) == 1 and all(r in (SHARED, SAME, COUNT) for r in inputs):
        return [ShapeOf(growing[0])]
    return [SAME if all(r in (SHARED, SAME) for r in inputs) else UNKNOWN]


@rules("Unpack")
def _unpacked(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, rank = inputs[0], rank_of(op.inputs[0])
    if isinstance(rows, ShapeOf):
        return [COUNT if n == rows.axis else SAME for n in range(len(op.outputs))]
    if not isinstance(rows, Rows) or rank is None:
        return [UNKNOWN]
    axis = op.get_attr("axis") % rank
    return [UNKNOWN if axis == rows.axis else Rows(rows.axis - (axis < rows.axis))]


@rules("ConcatV2")
def _concatenated(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rank = rank_of(op.inputs[0])
    axes = constant_axes(op.inputs[-1], rank)
    parts = inputs[:-1]
    if rank == 1 and any(isinstance(r, ShapeOf) or r == COUNT for r in parts):
        return [joined_shape(op, parts)]
    rows = {r for r in parts if isinstance(r, Rows)}
    if len(rows) != 1 or axes is None or not all(isinstance(r, Rows) for r in parts):
        return [SAME if all(r in (SHARED, SAME) for r in parts) else UNKNOWN]
    first = rows.pop()
    return [first if first.axis not in axes else UNKNOWN]


@rules("Split", "SplitV")
def _split(op: Any, inputs: List[Any]) -> Sequence[Any]:
    place = 1 if op.type == "Split" else 0
    rows, tensor = inputs[place], op.inputs[place]
    axes = constant_axes(op.inputs[0 if op.type == "Split" else 2], rank_of(tensor))
    if not isinstance(rows, Rows) or axes is None or rows.axis in axes:
        return [UNKNOWN]
    return [rows]


@rules("StridedSlice", "Slice")
def _sliced(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first = inputs[0]
    if isinstance(first, ShapeOf):
        return [part_of_shape(op, first)]
    if not isinstance(first, Rows):
        return [SAME if all(r in (SHARED, SAME) for r in inputs) else UNKNOWN]
    if op.type == "Slice":
        begin, size = [constant(t) for t in op.inputs[1:3]]
        whole = begin is not None and size is not None and begin[first.axis] == 0 \
            and size[first.axis] == -1
        return [first if whole else UNKNOWN]
    place = _dimension(op, first.axis)
    return [UNKNOWN if place is None else Rows(place)]


def _dimension(op: Any, axis: int) -> Optional[int]:
    """Where an axis that a StridedSlice takes as a whole stands afterwards; None if it is cut."""
    masks = {name: op.get_attr(name) for name in (
        "begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")}
    if masks["ellipsis_mask"]:
        return axis if masks["ellipsis_mask"] == 1 and not masks["new_axis_mask"] and (
            axis + op.inputs[1].shape.as_list()[0] - 1 < (rank_of(op.inputs[0]) or 0)) else None
    count = op.inputs[1].shape.as_list()[0]
    strides = tf.get_static_value(op.inputs[3])
    if count is None or strides is None:
        return None
    before = after = 0
    for entry in range(count):
        bit = 1 << entry
        if masks["new_axis_mask"] & bit:
            after += 1
            continue
        if before == axis:
            whole = masks["begin_mask"] & bit and masks["end_mask"] & bit and strides[entry] == 1 \
                and not masks["shrink_axis_mask"] & bit
            return after if whole else None
        before += 1
        after += not masks["shrink_axis_mask"] & bit
    return after + axis - before


@rules("Tile", "Pad", "PadV2", "ReverseV2")
def _along_other_axes(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Rows stay rows if nothing is done along their axis; what is alike may be repeated."""
    rows, rank = inputs[0], rank_of(op.inputs[0])
    value = tf.get_static_value(op.inputs[1], partial=op.type == "Tile")
    if op.type == "Tile" and rows in (SHARED, SAME) and isinstance(inputs[1], ShapeOf) and rank:
        one = compat.static_shape(op.inputs[0])[inputs[1].axis] == 1
        return [Rows(inputs[1].axis) if one else UNKNOWN]
    if not isinstance(rows, Rows) or value is None:
        return [UNKNOWN]
    if op.type == "ReverseV2":
        untouched = rows.axis not in [int(v) % rank_of(op.inputs[0]) for v in value]
    else:
        untouched = value[rows.axis] == 1 if op.type == "Tile" else not any(value[rows.axis])
    return [rows if untouched else UNKNOWN]


@rules("ReverseSequence")
def _reversed_to_their_ends(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Each row in reverse, up to its own end, as bidirectional networks do."""
    rows, ends = inputs
    if not isinstance(rows, Rows) or rows.axis == op.get_attr("seq_dim"):
        return [UNKNOWN]
    along = rows.axis == op.get_attr("batch_dim")
    return [rows if (ends == Rows(0) if along else ends in (SHARED, SAME)) else UNKNOWN]
