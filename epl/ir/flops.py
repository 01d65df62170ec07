# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations, from the shapes of a graph.

TensorFlow's profiler knows most types of operations. It takes the wrong dimension of a batch
matrix product whose first operand is transposed, which every gradient of attention is, and misses
some types; these are counted here. A multiplication and an addition are two operations.
"""

import re
from typing import Any, Callable, Dict, Iterable, List, Tuple

from epl import compat

# Types that TensorFlow does not count -> operations for each element of the result.
_PER_ELEMENT = {
    "Abs": 1, "AddV2": 1, "Cumsum": 1, "Elu": 1, "EluGrad": 1, "Erf": 1, "Exp": 1, "Expm1": 1,
    "FloorDiv": 1, "FloorMod": 1, "FusedBatchNorm": 4, "FusedBatchNormV2": 4, "FusedBatchNormV3": 4,
    "LeakyRelu": 1, "Log1p": 1, "LogSoftmax": 6, "Relu": 1, "Relu6": 1, "ReluGrad": 1,
    "Relu6Grad": 1, "SelectV2": 1, "Sigmoid": 4, "SigmoidGrad": 3, "Softplus": 3, "Sqrt": 1,
    "SqrtGrad": 2, "Tanh": 1, "TanhGrad": 3}
# The same for each element of the first input.
_PER_INPUT_ELEMENT = {"Max": 1, "Min": 1, "Prod": 1, "FusedBatchNormGradV3": 8,
                      "SparseSoftmaxCrossEntropyWithLogits": 7, "SoftmaxCrossEntropyWithLogits": 7}


def count(ops: Iterable[Any]) -> Tuple[Dict[str, int], List[str]]:
    """Name -> floating-point operations, and the names of those whose shapes are not known."""
    found, unknown = {}, []
    for op in ops:
        try:
            number = flops_of(op)
        except (ValueError, TypeError, AttributeError):  # what an unknown size comes to
            unknown.append(op.name)
            continue
        if number:
            found[op.name] = number
    return found, unknown


def flops_of(op: Any) -> int:
    """The floating-point operations of one operation; raises ValueError for unknown shapes."""
    own = _OWN.get(op.type)
    if own is not None:
        return own(op)
    registered = compat.registered_flops(op)
    if registered is not None:
        return registered
    if op.type in _PER_ELEMENT:
        return _PER_ELEMENT[op.type] * _size(op.outputs[0])
    return _PER_INPUT_ELEMENT.get(op.type, 0) * (
        _size(op.inputs[0]) if op.type in _PER_INPUT_ELEMENT else 0)


def _size(tensor: Any) -> int:
    size = tensor.shape.num_elements()
    if size is None:
        raise ValueError("the shape of {} is not known".format(tensor.name))
    return int(size)


def _batch_product(op: Any) -> int:
    """A product of matrices: two for each element of the result and of the summed dimension."""
    inner = op.inputs[0].shape.as_list()[-2 if op.get_attr("adj_x") else -1]
    if inner is None:
        raise ValueError("the shape of {} is not known".format(op.inputs[0].name))
    return 2 * int(inner) * _size(op.outputs[0])


def _einsum(op: Any) -> int:
    """Every combination of the letters: a multiplication for each operand but one, an addition."""
    left, _, result = op.get_attr("equation").decode().replace(" ", "").partition("->")
    sizes: Dict[str, int] = {}
    for letters, tensor in zip(left.split(","), op.inputs):
        shape = tensor.shape.as_list()
        before, dots, after = letters.partition("...")
        names = list(before) + ["." + str(n) for n in range(
            len(shape) - len(before) - len(after) if dots else 0)] + list(after)
        for name, size in zip(names, shape):
            if size is None:
                raise ValueError("the shape of {} is not known".format(tensor.name))
            sizes[name] = max(size, sizes.get(name, 1))
    number = 1
    for size in sizes.values():
        number *= size
    summed = bool(set(sizes) - set(re.sub(r"\.", "", result)) - {
        name for name in sizes if name.startswith(".")})
    return number * (len(op.inputs) - 1 + summed)


_OWN: Dict[str, Callable[[Any], int]] = {
    "BatchMatMul": _batch_product, "BatchMatMulV2": _batch_product,
    "BatchMatMulV3": _batch_product, "Einsum": _einsum}
