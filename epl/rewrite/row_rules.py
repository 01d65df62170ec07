# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each kind of operation makes of rows of the batch (see `relations`)."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
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
from epl.rewrite.shortcuts import is_shortcut

_Rule = Callable[[Any, List[Any]], Sequence[Any]]
RULES: Dict[str, _Rule] = {}

# What passes on whatever it gets first.
_PASS = ("Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics",
         "EnsureShape", "Enter", "Exit", "NextIteration", "RefIdentity", "Print",
         "PlaceholderWithDefault")

ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "Angle", "Asin", "Asinh", "Atan", "Atan2",
    "Atanh", "BiasAddV1", "Bitcast", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Ceil", "ClipByValue",
    "Complex", "ComplexAbs", "Conj", "Cos", "Cosh", "Digamma", "Div", "DivNoNan", "Elu", "Equal",
    "Erf", "Erfc", "Exp", "Expm1", "Floor", "FloorDiv", "FloorMod", "Greater", "GreaterEqual",
    "Imag", "Inv", "Invert", "IsFinite", "IsInf", "IsNan", "LeakyRelu", "LeftShift", "Less",
    "LessEqual", "Lgamma", "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr",
    "Maximum", "Minimum", "Mod", "Mul", "MulNoNan", "Neg", "NextAfter", "NotEqual", "OnesLike",
    "Pow", "Real", "RealDiv", "Reciprocal", "Relu", "Relu6", "RightShift", "Rint", "Round", "Rsqrt",
    "SelectV2", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Square",
    "SquaredDifference", "Sub", "Tan", "Tanh", "TruncateDiv", "TruncateMod", "Xdivy", "Xlogy",
    "ZerosLike", "AsString", "StringLower", "StringUpper", "StringStrip", "StringLength",
    "StringToNumber", "StringToHashBucketFast", "StringToHashBucket", "StringToHashBucketStrong",
    "StringJoin", "RegexReplace", "RegexFullMatch", "StaticRegexReplace", "Bucketize",
    "LookupTableFind", "LookupTableFindV2")

# What works on each of the rows that lie along the first axis of its first input.
_ROW_BY_ROW = (
    "AvgPool", "AvgPool3D", "BiasAdd", "Conv2D", "Conv3D", "DepthToSpace", "DepthwiseConv2dNative",
    "Dilation2D", "ExtractImagePatches", "LRN", "MaxPool", "MaxPool3D", "MaxPoolV2", "MirrorPad",
    "ResizeArea", "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor",
    "SpaceToDepth", "SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits",
    "InTopK", "InTopKV2", "Select", "DecodeRaw", "DecodeCSV", "ImageProjectiveTransformV2",
    "AdjustContrast", "AdjustContrastv2", "AdjustHue", "AdjustSaturation", "HSVToRGB", "RGBToHSV")

_SUMS = {"Add": np.add, "AddV2": np.add, "Sub": np.subtract}

_REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod",
               "All": "all", "Any": "any"}

# What works along the last axis, or along one that it is told.
_WIDE = ("Softmax", "LogSoftmax", "Cumsum", "Cumprod", "TopK", "TopKV2")


def rules(*types: str) -> Callable[[_Rule], _Rule]:
    """A decorator: the rule for operations of these types."""
    def register(function: _Rule) -> _Rule:
        for name in types:
            RULES[name] = function
        return function
    return register


def _rank(tensor: Any) -> Any:
    return tensor.shape.ndims


def drawn(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Random numbers: rows if they are drawn in the shape of rows."""
    shape = inputs[0] if inputs else UNKNOWN
    return [Rows(shape.axis) if isinstance(shape, ShapeOf) else UNKNOWN]


@rules(*_PASS)
def _passed(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [inputs[0]]


@rules("Cast")
def _cast(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """The sum of rounded values is not the rounded sum."""
    first, source, result = inputs[0], op.inputs[0].dtype, op.outputs[0].dtype
    if not isinstance(first, Reduced):
        return [first]
    if source == tf.bool:
        return [Reduced("max" if first.how == "any" else "min")]
    rounds = result == tf.bool or (source.is_floating and not result.is_floating)
    return [UNKNOWN if rounds else first]


@rules("Switch", "RefSwitch")
def _switched(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """If the batch decides, even what is shared is there for some clones and not for others."""
    decided = inputs[1] not in (SHARED, SAME) and not is_shortcut(op.inputs[1])
    return [UNKNOWN if decided and inputs[0] in (SHARED, SAME) else inputs[0]]


@rules("IdentityN", "ShapeN")
def _each(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if op.type == "IdentityN":
        return inputs
    return [_shape_of(relation) for relation in inputs]


@rules(*ELEMENTWISE)
def _elementwise(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Broadcast against each other; axes are counted from the right."""
    rows = [(relation, tensor) for relation, tensor in zip(inputs, op.inputs)
            if isinstance(relation, Rows)]
    if not rows:
        if all(relation in (SHARED, SAME) for relation in inputs):
            return [SAME]
        return [COUNT if _is_multiple(op, inputs) else UNKNOWN]
    if op.type in ("AddN",) or len(op.inputs) == 1:
        return [rows[0][0] if len({r for r, _ in rows}) == 1 else UNKNOWN]
    ranks = [_rank(t) for t in op.inputs]
    if any(rank is None for rank in ranks):
        return [rows[0][0] if len({r for r, _ in rows}) == 1 and len(rows) == len(inputs)
                else UNKNOWN]
    most = max(ranks)
    axes = {relation.axis + most - _rank(tensor) for relation, tensor in rows}
    return [Rows(axes.pop()) if len(axes) == 1 else UNKNOWN]


def _is_multiple(op: Any, inputs: List[Any]) -> bool:
    """True for a number of rows times another number that all clones have."""
    return (op.type == "Mul" and op.outputs[0].dtype.is_integer
            and COUNT in inputs and all(r in (COUNT, SHARED, SAME) for r in inputs)
            and inputs.count(COUNT) == 1)


@rules(*_ROW_BY_ROW)
def _row_by_row(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if op.type == "Select" and len({_rank(t) for t in op.inputs}) == 1:
        return _elementwise(op, inputs)
    first = next((r for r in inputs if isinstance(r, Rows)), inputs[0])
    if op.type != "Select":
        first = inputs[0]
    if not isinstance(first, Rows) or first.axis != 0:
        return [UNKNOWN]
    others = [r for r in inputs if isinstance(r, Rows)]
    return [first if all(r.axis == 0 for r in others) else UNKNOWN]


@rules("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Its statistics are averaged, as docs/semantics.md says."""
    return [inputs[0]] + [Reduced("mean")] * (len(op.outputs) - 1)


@rules("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def _transposed_convolution(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [inputs[2] if inputs[2] == Rows(0) else UNKNOWN]


@rules(*_WIDE)
def _wide(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first, rank = inputs[0], _rank(op.inputs[0])
    if not isinstance(first, Rows) or rank is None:
        return [UNKNOWN]
    axes = [rank - 1]
    if op.type.startswith("Cum"):
        axes = _constant_axes(op.inputs[1], rank) or [first.axis]
    return [first if first.axis not in axes else UNKNOWN]


@rules(*_REDUCTIONS)
def _reduced(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first, how = inputs[0], _REDUCTIONS[op.type]
    rank = _rank(op.inputs[0])
    axes = _constant_axes(op.inputs[1], rank)
    if isinstance(first, Rows):
        if axes is None or rank is None:
            return [UNKNOWN]
        if first.axis in axes:
            return [Reduced(how)]
        gone = 0 if op.get_attr("keep_dims") else sum(axis < first.axis for axis in axes)
        return [Rows(first.axis - gone)]
    if isinstance(first, Reduced) and first.how == how and how != "prod":
        return [first]
    if isinstance(first, ShapeOf) and how == "prod" and axes == [0]:
        return [COUNT]  # times what all clones have
    return [SAME if first in (SHARED, SAME) else UNKNOWN]


@rules("L2Loss")
def _half_square(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [Reduced("sum") if isinstance(inputs[0], Rows) else UNKNOWN]


@rules("ArgMax", "ArgMin")
def _largest(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first, rank = inputs[0], _rank(op.inputs[0])
    axes = _constant_axes(op.inputs[1], rank)
    if not isinstance(first, Rows) or axes is None or first.axis in axes:
        return [UNKNOWN]
    return [Rows(first.axis - sum(axis < first.axis for axis in axes))]


@rules("UnsortedSegmentSum")
def _sum_by_number(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [Reduced("sum") if inputs[:2] == [Rows(0), Rows(0)] and inputs[2] in (SHARED, SAME)
            else UNKNOWN]


@rules("MatMul", "SparseMatMul")
def _matrix_product(op: Any, inputs: List[Any]) -> Sequence[Any]:
    places = []
    for relation, name in zip(inputs, ("transpose_a", "transpose_b")):
        turned = op.get_attr(name)
        places.append(relation.axis ^ int(turned) if isinstance(relation, Rows) else None)
    if places == [0, None]:
        return [Rows(0)]
    if places == [None, 1]:
        return [Rows(1)]
    return [Reduced("sum") if places == [1, 0] else UNKNOWN]


@rules("BatchMatMul", "BatchMatMulV2")
def _matrix_products(op: Any, inputs: List[Any]) -> Sequence[Any]:
    ranks = [_rank(t) for t in op.inputs]
    if None in ranks or not any(isinstance(r, Rows) for r in inputs):
        return [UNKNOWN]
    most = max(ranks)
    axes = {r.axis + most - rank for r, rank in zip(inputs, ranks) if isinstance(r, Rows)}
    axis = axes.pop()
    return [Rows(axis) if not axes and axis < most - 2 else UNKNOWN]


@rules("Einsum")
def _by_equation(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Rows have one letter; if it is left out of the result, their products are added up."""
    terms, _, result = op.get_attr("equation").decode().partition("->")
    operands = terms.split(",")
    letters = {operand[r.axis:r.axis + 1] for operand, r in zip(operands, inputs)
               if isinstance(r, Rows)}
    others = [r for r in inputs if not isinstance(r, Rows)]
    if len(letters) != 1 or "." in terms + result or any(r not in (SHARED, SAME) for r in others) \
            or any(len(set(operand)) < len(operand) for operand in operands):
        return [UNKNOWN]
    letter = letters.pop()
    if any(letter in operand for operand, r in zip(operands, inputs) if not isinstance(r, Rows)):
        return [UNKNOWN]
    return [Rows(result.index(letter)) if letter in result else Reduced("sum")]


@rules("Gather", "GatherV2", "ResourceGather")
def _gathered(op: Any, inputs: List[Any]) -> Sequence[Any]:
    params, indices = inputs[:2]
    if isinstance(params, ShapeOf):
        return [_chosen_sizes(op, params)]
    axis = 0
    if op.type == "GatherV2":
        value = tf.get_static_value(op.inputs[2])
        if value is None or (op.op_def.attr and _attribute(op, "batch_dims", 0)):
            return [UNKNOWN]
        axis = int(value)
    alike = params in (SHARED, SAME, UNKNOWN) or isinstance(params, Reduced)
    if isinstance(indices, Rows) and alike and axis >= 0:
        return [Rows(axis + indices.axis)]
    if isinstance(params, Rows) and indices in (SHARED, SAME) and axis > params.axis:
        return [params]
    return [UNKNOWN]


def _chosen_sizes(op: Any, shape: Any) -> Any:
    """Sizes that a constant chooses from the shape of rows, as `tf.tensordot` does."""
    chosen, rank = tf.get_static_value(op.inputs[1]), op.inputs[0].shape.num_elements()
    if chosen is None or rank is None:
        return UNKNOWN
    if chosen.ndim == 0:
        return COUNT if int(chosen) % rank == shape.axis else SAME
    places = [place for place, axis in enumerate(chosen.ravel()) if axis % rank == shape.axis]
    if len(places) > 1 or chosen.ndim > 1:
        return UNKNOWN
    return ShapeOf(places[0]) if places else SAME


@rules("GatherNd", "ResourceGatherNd")
def _gathered_by_position(op: Any, inputs: List[Any]) -> Sequence[Any]:
    params, indices = inputs
    rank = _rank(op.inputs[1])
    if params == Rows(0) and indices == POSITIONS and _begins_with_own_number(op.inputs[1].op):
        return [Rows(0)]
    if isinstance(indices, Rows) and params in (SHARED, SAME) and rank is not None \
            and indices.axis < rank - 1:
        return [indices]
    return [UNKNOWN]


def _begins_with_own_number(op: Any) -> bool:
    """True for indices [rows, n] of which the first in each row is the row's number."""
    if op.type not in ("Pack", "ConcatV2"):
        return False
    axis = op.get_attr("axis") if op.type == "Pack" else tf.get_static_value(op.inputs[-1])
    first = op.inputs[0].op
    while first.type in ("Cast", "ExpandDims", "Identity", "Reshape"):
        first = first.inputs[0].op
    return axis in (1, -1) and _rank(op.outputs[0]) == 2 and first.type == "Range" and [
        tf.get_static_value(first.inputs[place]) for place in (0, 2)] == [0, 1]


@rules("OneHot")
def _one_hot(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, axis = inputs[0], op.get_attr("axis")
    if not isinstance(rows, Rows):
        return [UNKNOWN]
    return [rows if axis == -1 or axis > rows.axis else Rows(rows.axis + 1)]


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
    rank = _rank(op.inputs[0])
    return Rows(1 - rows.axis) if rank == 2 and op.inputs[1].op.type == "Sub" else UNKNOWN


@rules("ExpandDims")
def _expanded(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, axis = inputs[0], tf.get_static_value(op.inputs[1])
    if isinstance(rows, Reduced):
        return [rows]
    rank = _rank(op.inputs[0])
    if not isinstance(rows, Rows) or axis is None or rank is None:
        return [UNKNOWN]
    place = int(axis) if axis >= 0 else int(axis) + rank + 1
    return [Rows(rows.axis + (place <= rows.axis))]


@rules("Squeeze")
def _squeezed(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, rank = inputs[0], _rank(op.inputs[0])
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


@rules("Pack")
def _packed(op: Any, inputs: List[Any]) -> Sequence[Any]:
    axis, rank = op.get_attr("axis"), _rank(op.inputs[0])
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
    rows, rank = inputs[0], _rank(op.inputs[0])
    if isinstance(rows, ShapeOf):
        return [COUNT if n == rows.axis else SAME for n in range(len(op.outputs))]
    if not isinstance(rows, Rows) or rank is None:
        return [UNKNOWN]
    axis = op.get_attr("axis") % rank
    return [UNKNOWN if axis == rows.axis else Rows(rows.axis - (axis < rows.axis))]


@rules("ConcatV2")
def _concatenated(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rank = _rank(op.inputs[0])
    axes = _constant_axes(op.inputs[-1], rank)
    parts = inputs[:-1]
    if rank == 1 and any(isinstance(r, ShapeOf) or r == COUNT for r in parts):
        return [_joined_shape(op, parts)]
    rows = {r for r in parts if isinstance(r, Rows)}
    if len(rows) != 1 or axes is None or not all(isinstance(r, Rows) for r in parts):
        return [SAME if all(r in (SHARED, SAME) for r in parts) else UNKNOWN]
    first = rows.pop()
    return [first if first.axis not in axes else UNKNOWN]


def _joined_shape(op: Any, parts: List[Any]) -> Any:
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


@rules("Split", "SplitV")
def _split(op: Any, inputs: List[Any]) -> Sequence[Any]:
    place = 1 if op.type == "Split" else 0
    rows, tensor = inputs[place], op.inputs[place]
    axes = _constant_axes(op.inputs[0 if op.type == "Split" else 2], _rank(tensor))
    if not isinstance(rows, Rows) or axes is None or rows.axis in axes:
        return [UNKNOWN]
    return [rows]


@rules("StridedSlice", "Slice")
def _sliced(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first = inputs[0]
    if isinstance(first, ShapeOf):
        return [_part_of_shape(op, first)]
    if not isinstance(first, Rows):
        return [SAME if all(r in (SHARED, SAME) for r in inputs) else UNKNOWN]
    if op.type == "Slice":
        begin, size = [_constant(t) for t in op.inputs[1:3]]
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
            axis + op.inputs[1].shape.as_list()[0] - 1 < (_rank(op.inputs[0]) or 0)) else None
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


def _part_of_shape(op: Any, shape: Any) -> Any:
    if op.type == "Slice":
        start, size = [_constant(t) for t in op.inputs[1:3]]
        if start is None or size is None:
            return UNKNOWN
        inside = start[0] <= shape.axis and (size[0] == -1 or shape.axis < start[0] + size[0])
        return ShapeOf(shape.axis - int(start[0])) if inside else SAME
    begin, end, stride = [_constant(t) for t in op.inputs[1:4]]
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
    return [_shape_of(inputs[0])]


def _shape_of(relation: Any) -> Any:
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
        return [_shape_of(relation)]
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


@rules("Tile", "Pad", "PadV2", "ReverseV2")
def _along_other_axes(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Rows stay rows if nothing is done along their axis; what is alike may be repeated."""
    rows, rank = inputs[0], _rank(op.inputs[0])
    value = tf.get_static_value(op.inputs[1], partial=op.type == "Tile")
    if op.type == "Tile" and rows in (SHARED, SAME) and isinstance(inputs[1], ShapeOf) and rank:
        one = compat.static_shape(op.inputs[0])[inputs[1].axis] == 1
        return [Rows(inputs[1].axis) if one else UNKNOWN]
    if not isinstance(rows, Rows) or value is None:
        return [UNKNOWN]
    if op.type == "ReverseV2":
        untouched = rows.axis not in [int(v) % _rank(op.inputs[0]) for v in value]
    else:
        untouched = value[rows.axis] == 1 if op.type == "Tile" else not any(value[rows.axis])
    return [rows if untouched else UNKNOWN]


def _constant_axes(tensor: Any, rank: Optional[int]) -> Optional[List[int]]:
    """The axes that a constant names, counted from 0; None if it is no constant."""
    value = tf.get_static_value(tensor)
    if value is None or rank is None:
        return None
    return [int(axis) % rank for axis in (value.ravel() if hasattr(value, "ravel") else [value])]


def _constant(tensor: Any) -> Any:
    """The value of a constant, or of a sum or difference of constants; None of anything else."""
    value, op = tf.get_static_value(tensor), tensor.op
    if value is not None:
        return value
    inputs = [_constant(t) for t in op.inputs] if op.type in _SUMS or op.type == "Pack" else [None]
    if any(i is None for i in inputs):
        return None
    return np.stack(inputs) if op.type == "Pack" else _SUMS[op.type](*inputs)


def _attribute(op: Any, name: str, default: Any) -> Any:
    try:
        return op.get_attr(name)
    except ValueError:
        return default
