# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Constants that TensorFlow put in the place of a tensor's shape, size or zeros.

Where a shape is known when the graph is built, `tf.shape(x)` is a constant: of a batch of 4 rows a
count of 4. In a clone that is right. What is computed once more from the rows of all clones has to
count these, so it is remembered what such a constant was made of. The graph is left as it is.
"""

from typing import Any, Callable, Container, Dict, Iterable, List, NamedTuple, Optional, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.graph_state import state_of


class StaticShape(NamedTuple):
    """What a constant stands for.

    Attributes:
      type: the operation that it would be of a tensor of open shape: "Shape", "Size", "ZerosLike".
      tensor: what that would take.
    """

    type: str
    tensor: Any


def behind(op: Any) -> Optional[StaticShape]:
    """What the constant `op` stands for; None if it is no such constant."""
    found: Dict[Any, StaticShape] = state_of(op.graph).static_shapes
    return found.get(op) if found else None


def stand(op: Any, shape_of: StaticShape) -> None:
    """Remember what `op`, the copy of such a constant, stands for."""
    state_of(op.graph).static_shapes[op] = shape_of


def shape(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`shape_internal` of TensorFlow."""
    return _noted(original(*args, **kwargs), "Shape", args[0] if args else kwargs["input"])


def size(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`size_internal` of TensorFlow."""
    return _noted(original(*args, **kwargs), "Size", args[0] if args else kwargs["input"])


def zeros_like(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`zeros_like_impl` of TensorFlow: small ones are a constant, others have a constant shape."""
    result, tensor = original(*args, **kwargs), args[0] if args else kwargs["tensor"]
    if not tf.executing_eagerly() and result.op.type == "Fill":
        _noted(result.op.inputs[0], "Shape", tensor)
        return result
    return _noted(result, "ZerosLike", tensor)


def forget(graph: Any, first: int) -> None:
    """What was made since, from id `first` on, is a clone's own: it was made for gradients."""
    found = state_of(graph).static_shapes
    for op in [op for op in found if compat.op_id(op) >= first]:
        del found[op]


def counting(ops: Iterable[Any]) -> Dict[Any, List[Any]]:
    """For operations of a graph the constants among them that are the shapes of what they give."""
    found: Dict[Any, List[Any]] = {}
    for op in ops:
        stands_for = behind(op) if op.type == "Const" else None
        if stands_for is not None:
            found.setdefault(stands_for.tensor.op, []).append(op)
    return found


def following(graph: Any, starts: Callable[[Any], bool], ends: Iterable[Any] = ()) -> Set[Any]:
    """The constants that count what follows from operations that `starts` is true for.

    And what follows from them, along data edges; the walk does not look behind `ends`.
    """
    found: Set[Any] = set()
    ends = set(ends)
    for op, (_, tensor) in state_of(graph).static_shapes.items():  # in the order of creation
        if op not in found and (starts(tensor.op) or tensor.op in found):
            pending = [op]
            while pending:
                reached = pending.pop()
                if reached not in found:
                    found.add(reached)
                    pending.extend(() if reached in ends else _consumers(reached))
    return found


def _consumers(op: Any) -> List[Any]:
    return [user for tensor in op.outputs for user in tensor.consumers()]


def _noted(result: Any, kind: str, tensor: Any) -> Any:
    """Remember what `result` stands for, if it is a constant now."""
    if tf.executing_eagerly() or not isinstance(tensor, tf.Tensor) \
            or not isinstance(result, tf.Tensor) or result.op.type != "Const":
        return result
    if tensor.op.type == "Const":
        zeros = behind(tensor.op) if compat.is_top_level(tensor.graph) else None
        if zeros is None or zeros.type != "ZerosLike":
            return result
        tensor = zeros.tensor
    if kind == "ZerosLike" and tensor.dtype.base_dtype != result.dtype.base_dtype:
        return result
    if compat.is_top_level(result.graph):
        if tensor.graph is not result.graph:
            return result
        state_of(result.graph).static_shapes[result.op] = StaticShape(kind, tensor)
    elif tensor.shape.ndims:
        inside = state_of(compat.outermost(result.graph)).sizes_in_functions
        inside.setdefault(result.op.name, set()).add(tensor.shape.as_list()[0] or 0)
    return result


def in_functions(graph: Any, nodes: Iterable[Any], sizes: Container[int]) -> Optional[str]:
    """A constant in the body of a function that counts so many rows, by name; None if none does.

    Nobody knows what a function is given: it is told from the size alone.

    Args:
      graph: that calls the function.
      nodes: the `NodeDef`s of what it calls.
      sizes: numbers of rows that parts of the batch are known to have.
    """
    known = state_of(graph).sizes_in_functions
    return next((node.name for node in nodes if known and node.op == "Const" and any(
        size in sizes for size in known.get(node.name, ()))), None)
