# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers of rows that a script wrote down, in what is computed once more from the whole batch.

A batch whose number of rows is known when the graph is built puts that number into a script:
`tf.reshape(x, [4, -1])`, `tf.range(4)`. In a clone it is right. The whole batch has other rows, and
nobody can tell whether such a 4 is meant to be all of them, or 4: it is found here, and refused.
Where TensorFlow itself made a constant of the size of a tensor, `ir.static_shapes` remembers of
which; where it made an attribute of it, to check by, the attribute is opened.
"""

from typing import Any, Callable, Collection, Container, Dict, Iterable, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from epl.rewrite import loops, op_traits

# Which input says how many rows such an operation gives.
_COUNTS = {"BroadcastTo": 1, "EmptyTensorList": 0, "Fill": 0, "Range": 1, "Reshape": 1, "Slice": 2,
           "StridedSlice": 2, "TensorListConcatV2": 1, "TensorListReserve": 0,
           "TensorListStack": 1, "Tile": 1}
_CHECKS = ("TensorArray", "EnsureShape")
_LISTS = ("EmptyTensorList", "TensorListReserve")
_TAKES_ALL = frozenset(["Slice", "StridedSlice", "Reshape"])


def open_shapes(node: Any, sizes: Container[int]) -> None:
    """Let what checks a shape, as that of a TensorArray's elements, take any number of rows.

    Args:
      node: `NodeDef` of what is computed from the whole batch; it is changed.
      sizes: numbers of rows that parts of the batch are known to have.
    """
    if node.op.startswith(_CHECKS):
        for value in node.attr.values():
            for dimension in value.shape.dim:
                if dimension.size in sizes:
                    dimension.size = -1


def written_down(op: Any, follows: Callable[[Any], bool],
                 sizes: Container[int]) -> Optional[Any]:
    """An operation that gives `op` a number of rows that is a part's, not the whole batch's.

    Args:
      op: will be computed from the whole batch.
      follows: True for a tensor that will be that of the whole batch as well.
      sizes: numbers of rows that parts of the batch are known to have.

    Returns:
      That operation, or `op` itself if the number is an attribute of it; None if there is none.
    """
    if op.type == "Split" and op.get_attr("num_split") in sizes:
        return op if tf.get_static_value(op.inputs[0]) == 0 else None
    for number, tensor in enumerate(op.inputs):
        if not follows(tensor):
            if _is_every_row(tensor, sizes) or _enters(op, tensor, sizes):
                return tensor.op
            if tensor.op.type in _LISTS:
                found = written_down(tensor.op, follows, sizes)
                if found is not None:
                    return found
        if _COUNTS.get(op.type) == number:
            first = _first(tensor)
            if not follows(first) and _leading(first) in sizes and _counts_rows(op, sizes):
                return first.op
    return None


def in_functions(nodes: Iterable[Any], sizes: Collection[int]) -> Optional[Any]:
    """The `NodeDef` of such a number in the body of a function; None if none is there.

    What a function is given is not known there, so that a single row is not looked for.
    """
    nodes = list(nodes)
    constants: Dict[str, Any] = {node.name: node for node in nodes if node.op == "Const"}
    for node in nodes:
        if node.op in _COUNTS and len(node.input) > _COUNTS[node.op]:
            constant = constants.get(node.input[_COUNTS[node.op]].split(":")[0])
            if constant is not None and _number(tf.make_ndarray(
                    constant.attr["value"].tensor)) in set(sizes) - {1}:
                return constant
    return None


def _is_every_row(tensor: Any, sizes: Container[int]) -> bool:
    """True for the numbers of all rows, 0, 1, ...: a script takes rows by them."""
    if tensor.shape.ndims != 1 or not tensor.dtype.is_integer or tensor.op.type not in (
            "Const", "Range") or tensor.shape.as_list()[0] in (1, None) \
            or tensor.shape.as_list()[0] not in sizes:
        return False
    value = tf.get_static_value(tensor)
    return value is not None and np.array_equal(value, np.arange(len(value)))


def _enters(op: Any, tensor: Any, sizes: Container[int]) -> bool:
    """True for a constant with as many rows as a part, taken into a loop, branch or function.

    The first state of a recurrent network is one. Elsewhere TensorFlow finds that shapes do not fit
    when the copy is made.
    """
    inside = loops.is_enter(op) or op_traits.is_switch(op) or op_traits.calls_functions(op)
    if not inside or not tensor.shape.ndims:
        return False
    rows = tensor.shape.as_list()[0]
    return rows != 1 and rows in sizes and tensor.op.type in ("Const", "Fill")


def _first(tensor: Any) -> Any:
    """The tensor that holds the first of the numbers in `tensor`."""
    while tensor.op.type in ("Pack", "ConcatV2"):
        tensor = tensor.op.inputs[0]
    return tensor


def _leading(tensor: Any) -> Optional[int]:
    return _number(tf.get_static_value(tensor))


def _number(value: Any) -> Optional[int]:
    value = np.asarray(-1 if value is None else value)
    if value.ndim > 1 or not value.size or value.dtype.kind not in "iu":
        return None
    return int(value.reshape(-1)[0])


def _counts_rows(op: Any, sizes: Container[int]) -> bool:
    """False if a number that `op` takes counts something else for sure."""
    if op.type == "StridedSlice" and op.get_attr("end_mask") & 1:
        return False
    if op.type not in _TAKES_ALL:
        return True
    given = op.inputs[0].shape
    if not given.ndims:
        return given.ndims is None
    if op.type == "Reshape":
        return given.num_elements() != 1
    return given.as_list()[0] in sizes
