# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How a value depends on gradients that it is computed from: is it linear, what is its degree?

The gradient of the whole batch is the mean (or sum) of those of its parts. So it is with all that
is computed linearly from gradients: products with vectors, Hessians, the chain rule. The square of
a mean is not the mean of squares: what is computed otherwise cannot be put together from the parts.

Of a mean over rows, each row's own gradient is c times larger in a part that has 1/c of the rows. A
value of degree d is c^d times larger then: one of degree 0 (a gradient divided by its norm) is
right. The mean over the parts of a sum over their rows is smaller by c than that of all rows: such
a sum lowers the degree by 1.
"""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite.walk import data_ancestors, data_descendants

# Linear in all inputs together.
_IN_ALL = frozenset([
    "AccumulateNV2", "Add", "AddN", "AddV2", "BiasAdd", "Concat", "ConcatV2", "DynamicStitch",
    "Enter", "Exit", "Identity", "IdentityN", "Merge", "Neg", "NextIteration", "Pack",
    "ParallelDynamicStitch", "PlaceholderWithDefault", "PreventGradient", "Snapshot",
    "StopGradient", "Sub", "Unpack"])
_QUOTIENTS = frozenset(["Div", "DivNoNan", "RealDiv"])
# Linear in the first input.
_IN_FIRST = frozenset([
    "BroadcastTo", "Cast", "Cumsum", "Diag", "DiagPart", "Div", "DivNoNan", "DynamicPartition",
    "ExpandDims", "Gather", "GatherNd", "GatherV2", "MatrixDiag", "MatrixDiagPart", "MatrixDiagV2",
    "MatrixDiagV3", "MatrixDiagPartV2", "MatrixDiagPartV3", "Mean", "MirrorPad", "Pad", "RealDiv",
    "Reshape", "ReverseV2", "Roll", "SegmentMean", "SegmentSum", "Slice", "SplitV", "Squeeze",
    "StridedSlice", "Sum", "Switch", "Tile", "Transpose", "UnsortedSegmentSum"])
# Linear in each of two inputs.
_IN_EITHER = frozenset([
    "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropFilter",
    "Conv2DBackpropInput", "Einsum", "MatMul", "Mul", "MulNoNan"])
_IN_LATER = {"Select": 1, "SelectV2": 1, "Split": 1, "ScatterNd": 1}  # linear from this input on
# They look at the form of what they get, not at its value.
_FORM_ONLY = frozenset(["OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])


def departure(starts: Sequence[Any], ends: Iterable[Any],
              constant: Callable[[Any], bool]) -> Optional[Any]:
    """The first operation between `starts` and `ends` (tensors) that is not linear in `starts`.

    Args:
      starts: gradients.
      ends: what may be computed from them.
      constant: True for operations whose values do not count as computed from `starts`.
    """
    begin = {tensor.name for tensor in starts}
    between = _between(starts, ends, constant)
    for op in between:
        if not _is_linear(op, [n for n, t in enumerate(op.inputs)
                               if t.name in begin or t.op in between]):
            return op
    return None


def departure_in_degree(starts: Sequence[Any], ends: Iterable[Any],
                        constant: Callable[[Any], bool], right: float) -> Optional[Any]:
    """The first operation that gives one of `ends` another degree in `starts` than is `right`.

    Arguments as for `departure`.
    """
    begin = {tensor.name for tensor in starts}
    degrees: Dict[Any, float] = {}
    for op in _between(starts, ends, constant):
        used = [1.0 if t.name in begin else degrees.get(t.op, 0.0) for t in op.inputs]
        found = _degree(op, used)
        if found is None:
            return op
        degrees[op] = found
    for end in ends:
        if (1.0 if end.name in begin else degrees.get(end.op, right)) != right:
            return end.op
    return None


def is_sum_over_rows(loss: Any, rows: Any) -> bool:
    """True if the gradient of `loss` by each of `rows` is that row's own, however many there are.

    So it is if the loss has a value for every row, or is a sum of such values. A mean is none, nor
    is a sum that is divided by something, which may be the number of rows.
    """
    if loss.shape.ndims != 0:
        return loss.shape.ndims is not None
    between = _between([rows], [loss], _has_no_gradient)
    for op in between:
        used = [n for n, t in enumerate(op.inputs) if t is rows or t.op in between]
        if _averages_rows(op):
            return False
        if _is_behind_rows(op.outputs[0], rows) and not (
                _adds_rows(op, used, rows) or (_is_linear(op, used) and _keeps_size(op, used))):
            return False
    return True


def _has_no_gradient(op: Any) -> bool:
    """True for what gives no numbers that vary: a comparison, say, on which a branch depends."""
    return not any(t.dtype.is_floating or t.dtype.is_complex for t in op.outputs)


def _is_behind_rows(tensor: Any, rows: Any) -> bool:
    """True if `tensor`, which is computed from `rows`, has no value for each of them."""
    return tensor.shape.ndims == 0 or (_unknown(rows) > 0 and _unknown(tensor) == 0)


def _adds_rows(op: Any, used: List[int], rows: Any) -> bool:
    return op.type in _ADDING and not any(_is_behind_rows(op.inputs[n], rows) for n in used)


def _averages_rows(op: Any) -> bool:
    if op.type != "Mean" or _unknown(op.inputs[0]):
        return op.type == "Mean" and _unknown(op.inputs[0]) > _unknown(op.outputs[0])
    axes = tf.get_static_value(op.inputs[1])
    return axes is None or any(a in (0, -op.inputs[0].shape.ndims) for a in np.reshape(axes, [-1]))


def _keeps_size(op: Any, used: List[int]) -> bool:
    """False for a product or quotient that may be a division by the number of rows."""
    if op.type not in _IN_EITHER | _QUOTIENTS:
        return True
    factors = [tf.get_static_value(t) for n, t in enumerate(op.inputs) if n not in used]
    if op.type in _QUOTIENTS:
        return all(f is not None and np.all(np.abs(f) <= 2.0) for f in factors)
    return all(f is not None and np.all(np.abs(f) >= 0.5) for f in factors)


def _between(starts: Sequence[Any], ends: Iterable[Any],
             constant: Callable[[Any], bool]) -> Dict[Any, None]:
    """The operations between tensors, in the order of creation."""
    cut = _Constant(constant)
    users = {user for tensor in starts for user in tensor.consumers()}
    found = data_descendants(users, cut) & data_ancestors((t.op for t in ends), cut)
    return dict.fromkeys(sorted((op for op in found if op not in cut), key=compat.op_id))


class _Constant:
    """The operations that a walk does not look behind, as a container."""

    def __init__(self, constant: Callable[[Any], bool]):
        self._constant = constant

    def __contains__(self, op: Any) -> bool:
        return op.type in _FORM_ONLY or self._constant(op)


def _is_linear(op: Any, used: List[int]) -> bool:
    if op.type in _IN_ALL:
        return True
    if op.type in _IN_EITHER:
        return len(used) == 1
    if op.type in _IN_LATER:
        return used[0] >= _IN_LATER[op.type]
    return op.type in _IN_FIRST and used == [0]


_POWERS = {"Square": 2.0, "L2Loss": 2.0, "Sqrt": 0.5, "Rsqrt": -0.5, "Inv": -1.0,
           "Reciprocal": -1.0, "Sign": 0.0, "Abs": 1.0, "Max": 1.0, "Min": 1.0, "Relu": 1.0}
_ADDING = frozenset(["Einsum", "L2Loss", "MatMul", "Sum"])  # those that may add up rows
_NOTHING = 1e-5  # an epsilon against divisions by zero


def _degree(op: Any, degrees: List[float]) -> Optional[float]:
    """The degree of what `op` gives, from those of its inputs; None if it has none."""
    found = _degree_of_rows(op, degrees)
    if found is not None and op.type in _ADDING:
        data = [t for t, degree in zip(op.inputs, degrees) if degree != 0.0] or [op.inputs[0]]
        if _unknown(data[0]) > _unknown(op.outputs[0]):
            return found - 1.0
    return found


def _degree_of_rows(op: Any, degrees: List[float]) -> Optional[float]:
    if all(degree == 0.0 for degree in degrees):
        return 0.0
    if op.type in _POWERS:
        return _POWERS[op.type] * degrees[0]
    if op.type == "Pow":
        power = tf.get_static_value(op.inputs[1])
        return None if power is None or np.ndim(power) else float(power) * degrees[0]
    if op.type in _IN_EITHER:
        return sum(degrees)
    if op.type in _QUOTIENTS:
        return degrees[0] - degrees[1]
    if op.type in _IN_ALL or op.type in ("Maximum", "Minimum"):
        left = {d for d, t in zip(degrees, op.inputs) if d != 0.0 or not _is_nothing(t)}
        return left.pop() if len(left) == 1 else None
    used = [n for n, degree in enumerate(degrees) if degree != 0.0]
    return degrees[used[0]] if _is_linear(op, used) else None


def _unknown(tensor: Any) -> float:
    """How many dimensions of a tensor are not known: rows are among them."""
    if tensor.shape.ndims is None:
        return float("inf")
    return tensor.shape.as_list().count(None)


def _is_nothing(tensor: Any) -> bool:
    """True for a constant that is zero, or next to it."""
    value = tf.get_static_value(tensor)
    if value is None or value.dtype.kind not in "fiu":
        return False
    return bool(np.all(np.abs(value) <= _NOTHING))
