# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What computes values row by row."""

from typing import Any, List, Sequence

import tensorflow.compat.v1 as tf

from epl.ir import feeds
from epl.rewrite.relations import (
    COUNT,
    FORM,
    LISTED,
    SAME,
    SHARED,
    UNKNOWN,
    Reduced,
    Rows,
    ShapeOf,
)
from epl.rewrite.rules.registry import constant_axes, rank_of, rules
from epl.rewrite.rules.shapes import shape_of
from epl.rewrite.shortcuts import is_shortcut

# What passes on whatever it gets first.
_PASS = ("Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics",
         "EnsureShape", "Enter", "Exit", "NextIteration", "RefIdentity", "Print",
         "PlaceholderWithDefault")

ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "Angle", "Asin", "Asinh", "Atan", "Atan2",
    "Atanh", "BiasAddV1", "Bitcast", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Ceil", "ClipByValue",
    "Complex", "ComplexAbs", "Conj", "Cos", "Cosh", "Digamma", "Div", "DivNoNan", "Elu", "Equal",
    "Erf", "Erfc", "Exp", "Expm1", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxVarsPerChannel", "Floor", "FloorDiv", "FloorMod", "Greater", "GreaterEqual",
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

# What works along the last axis, or along one that it is told.
_WIDE = ("Softmax", "LogSoftmax", "Cumsum", "Cumprod", "TopK", "TopKV2")


def drawn(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Random numbers: rows, or entries, if they are drawn in the shape of those."""
    shape = inputs[0] if inputs else UNKNOWN
    if shape == FORM:
        return [LISTED]
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
    return [shape_of(relation) for relation in inputs]


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
    others = [(relation, tensor) for relation, tensor in zip(inputs, op.inputs)
              if relation not in (SHARED, SAME) or not _is_number(tensor)]
    ranks = [rank_of(t) for _, t in others]
    if len(others) < len(inputs):
        _note_numbers(op, min((r for r in ranks if r is not None), default=None))
    if any(rank is None for rank in ranks):
        return [rows[0][0] if len({r for r, _ in rows}) == 1 and len(rows) == len(others)
                else UNKNOWN]
    most = max(ranks)
    axes = {relation.axis + most - rank_of(tensor) for relation, tensor in rows}
    return [Rows(axes.pop()) if len(axes) == 1 else UNKNOWN]


def _is_number(tensor: Any) -> bool:
    """True for a number, and for what follows from one that is fed and has no shape."""
    return tensor.shape.ndims == 0 or bool(_fed_numbers(tensor))


def _fed_numbers(tensor: Any) -> List[Any]:
    """What is fed, is the same for all, has no shape, and gives `tensor` none; maybe nothing."""
    if tensor.shape.ndims is not None:
        return []
    if tensor.op.type in feeds.PLACEHOLDERS:
        return [tensor] if feeds.is_declared_shared(tensor) else []
    open_ = [t for t in tensor.op.inputs if t.shape.ndims != 0]
    found = [_fed_numbers(t) for t in open_]
    follows = tensor.op.type in ELEMENTWISE + _PASS + ("Cast",) and open_ and all(found)
    return [t for each in found for t in each] if follows else []


def _note_numbers(op: Any, axes: Any) -> None:
    for tensor in op.inputs:
        for number in _fed_numbers(tensor):
            feeds.take_for_number(number, axes)


def _is_multiple(op: Any, inputs: List[Any]) -> bool:
    """True for a number of rows times another number that all clones have."""
    return (op.type == "Mul" and op.outputs[0].dtype.is_integer
            and COUNT in inputs and all(r in (COUNT, SHARED, SAME) for r in inputs)
            and inputs.count(COUNT) == 1)


@rules(*_ROW_BY_ROW)
def _row_by_row(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if op.type == "Select" and len({rank_of(t) for t in op.inputs}) == 1:
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
    first, rank = inputs[0], rank_of(op.inputs[0])
    if not isinstance(first, Rows) or rank is None:
        return [UNKNOWN]
    axes = [rank - 1]
    if op.type.startswith("Cum"):
        axes = constant_axes(op.inputs[1], rank) or [first.axis]
    return [first if first.axis not in axes else UNKNOWN]
