# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What puts rows together: reductions and products of matrices."""

from typing import Any, List, Sequence

import tensorflow.compat.v1 as tf

from epl.rewrite.relations import COUNT, SAME, SHARED, UNKNOWN, Reduced, Rows, ShapeOf
from epl.rewrite.rules.registry import constant_axes, rank_of, rules

_REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod",
               "All": "all", "Any": "any"}


@rules(*_REDUCTIONS)
def _reduced(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first, how = inputs[0], _REDUCTIONS[op.type]
    rank = rank_of(op.inputs[0])
    axes = constant_axes(op.inputs[1], rank)
    if isinstance(first, Rows):
        if _takes_all(op):
            return [Reduced(how)]
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


def takes_first(op: Any) -> bool:
    """True for a reduction over the first axis, perhaps among others."""
    return _takes_all(op) or 0 in (constant_axes(op.inputs[1], rank_of(op.inputs[0])) or [])


def _takes_all(op: Any) -> bool:
    """True for a reduction over all axes of a tensor, however many it has."""
    axes = op.inputs[1].op
    if axes.type != "Range" or axes.inputs[1].op.type != "Rank":
        return False
    return axes.inputs[1].op.inputs[0] is op.inputs[0] and [
        tf.get_static_value(t) for t in (axes.inputs[0], axes.inputs[2])] == [0, 1]


@rules("L2Loss")
def _half_square(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [Reduced("sum") if isinstance(inputs[0], Rows) else UNKNOWN]


@rules("ArgMax", "ArgMin")
def _largest(op: Any, inputs: List[Any]) -> Sequence[Any]:
    first, rank = inputs[0], rank_of(op.inputs[0])
    axes = constant_axes(op.inputs[1], rank)
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
    ranks = [rank_of(t) for t in op.inputs]
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
