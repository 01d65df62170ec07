# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where rules are found, and what they read of operations."""

from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

_Rule = Callable[[Any, List[Any]], Sequence[Any]]

RULES: Dict[str, _Rule] = {}


def rules(*types: str) -> Callable[[_Rule], _Rule]:
    """A decorator: the rule for operations of these types."""
    def register(function: _Rule) -> _Rule:
        for name in types:
            RULES[name] = function
        return function
    return register


def rank_of(tensor: Any) -> Any:
    return tensor.shape.ndims


def constant_axes(tensor: Any, rank: Optional[int]) -> Optional[List[int]]:
    """The axes that a constant names, counted from 0; None if it is no constant."""
    value = tf.get_static_value(tensor)
    if value is None or rank is None:
        return None
    return [int(axis) % rank for axis in (value.ravel() if hasattr(value, "ravel") else [value])]

_SUMS = {"Add": np.add, "AddV2": np.add, "Sub": np.subtract}


def constant(tensor: Any) -> Any:
    """The value of a constant, or of a sum or difference of constants; None of anything else."""
    value, op = tf.get_static_value(tensor), tensor.op
    if value is not None:
        return value
    inputs = [constant(t) for t in op.inputs] if op.type in _SUMS or op.type == "Pack" else [None]
    if any(i is None for i in inputs):
        return None
    return np.stack(inputs) if op.type == "Pack" else _SUMS[op.type](*inputs)


def attribute(op: Any, name: str, default: Any) -> Any:
    try:
        return op.get_attr(name)
    except ValueError:
        return default
