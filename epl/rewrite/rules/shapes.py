# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What counts rows, and is made in such numbers."""

from typing import Any, List, Sequence

from epl.rewrite.relations import (
    COUNT,
    POSITIONS,
    SAME,
    SHARED,
    UNKNOWN,
    Reduced,
    Row,
    Rows,
    ShapeOf,
)
from epl.rewrite.rules.registry import constant, rules


def joined_shape(op: Any, parts: List[Any]) -> Any:
    """[shape of rows, further sizes] is a shape again."""
    before = 0
    found = None
    for relation, tensor in zip(parts, op.inputs):
        if isinstance(relation, ShapeOf) and found is None:
            found = ShapeOf(before + relation.axis)
        elif relation == COUNT and found is None:
            found = ShapeOf(before)
        elif relation not in (SHARED, SAME):
            return UNKNOWN
        size = tensor.shape.num_elements() if tensor.shape.is_fully_defined() else None
        if size is None and found is None:
            return UNKNOWN
        before += size or 0
    return found


def part_of_shape(op: Any, shape: Any) -> Any:
    if op.type == "Slice":
        start, size = [constant(t) for t in op.inputs[1:3]]
        if start is None or size is None:
            return UNKNOWN
        inside = start[0] <= shape.axis and (size[0] == -1 or shape.axis < start[0] + size[0])
        return ShapeOf(shape.axis - int(start[0])) if inside else SAME
    begin, end, stride = [constant(t) for t in op.inputs[1:4]]
    if begin is None or end is None or stride is None or len(begin) != 1 or stride[0] != 1:
        return UNKNOWN
    if op.get_attr("shrink_axis_mask") == 1 and begin[0] >= 0:
        return COUNT if begin[0] == shape.axis else SAME
    start = 0 if op.get_attr("begin_mask") else int(begin[0])
    if start < 0 or (not op.get_attr("end_mask") and end[0] < 0):
        rank = op.inputs[0].shape.as_list()[0]
        if rank is None:
            return UNKNOWN
        start, stop = start % rank, rank if op.get_attr("end_mask") else int(end[0]) % rank
    else:
        stop = 1 << 30 if op.get_attr("end_mask") else int(end[0])
    return ShapeOf(shape.axis - start) if start <= shape.axis < stop else SAME


@rules("Shape")
def _shape(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [shape_of(inputs[0])]


def shape_of(relation: Any) -> Any:
    if isinstance(relation, Rows):
        return ShapeOf(relation.axis)
    return SAME if relation in (SHARED, SAME) or isinstance(relation, Reduced) else UNKNOWN


@rules("Size")
def _size(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if isinstance(inputs[0], Rows):
        return [COUNT]
    return [SAME if inputs[0] in (SHARED, SAME) or isinstance(inputs[0], Reduced) else UNKNOWN]


def of_static_shape(kind: str, relation: Any) -> Sequence[Any]:
    """What a constant is that stands for an operation on a tensor (see `ir.static_shapes`)."""
    if isinstance(relation, Row):
        return [relation]
    if kind == "Shape":
        return [shape_of(relation)]
    if kind == "ZerosLike" and isinstance(relation, Rows):
        return [relation]
    return _size(None, [relation])


@rules("Range")
def _counted(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if any(r == COUNT for r in inputs):
        return [POSITIONS]
    return [SAME if all(r in (SHARED, SAME) for r in inputs) else UNKNOWN]


@rules("Const", "Rank")
def _number_of_axes(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [SAME]


@rules("Fill", "BroadcastTo")
def _filled(op: Any, inputs: List[Any]) -> Sequence[Any]:
    shape, value = inputs if op.type == "Fill" else reversed(inputs)
    if isinstance(shape, ShapeOf) and value in (SHARED, SAME):
        return [Rows(shape.axis)]
    return [SAME if shape in (SHARED, SAME) and value in (SHARED, SAME) else UNKNOWN]
