# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Let an update work on some rows of its variable only, where each row is updated by itself.

    g [V, H] --> * scale --> | ApplyAdam(v, m, u) |         on all rows

    g [V, H] --> rows --> * scale --> | ApplyAdam(part of v, m, u) |     on rows a to b; m and u
    v [V, H] --> rows --> part of v --^                                  hold only these

What is known to compute each element from the elements in its place (and from numbers, or what is
the same for all rows) is sliced; an update that is made of anything else is left alone, as one that
divides by a norm of its variable. Rows are cut where the number of elements before them is a
multiple of `ALIGNED`: TensorFlow's vectorised kernels round alike there.
"""

import math
from typing import Any, Container, Dict, Iterable, List, NamedTuple, Optional, Set

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.ownership import Rows
from epl.rewrite import op_traits
from epl.rewrite.updates import Update
from epl.rewrite.walk import data_descendants, descendants

ALIGNED = 16

_ELEMENTWISE = frozenset([
    "Abs", "Add", "AddN", "AddV2", "Cast", "Ceil", "ClipByValue", "Div", "DivNoNan", "Equal",
    "Exp", "Expm1", "Floor", "Greater", "GreaterEqual", "Identity", "Inv", "IsFinite", "IsInf",
    "IsNan", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr",
    "Maximum", "Minimum", "Mul", "MulNoNan", "Neg", "NotEqual", "OnesLike", "Pow",
    "PreventGradient", "ReadVariableOp", "RealDiv", "Reciprocal", "Relu", "Rsqrt", "SelectV2",
    "Sigmoid", "Sign", "Softplus", "Sqrt", "Square", "SquaredDifference", "StopGradient", "Sub",
    "Tanh", "Xdivy", "ZerosLike"])
_KERNELS = ("AdaMax", "Adadelta", "Adagrad", "AdagradDA", "AdagradV2", "Adam", "AdamWithAmsgrad",
            "AddSign", "CenteredRMSProp", "Ftrl", "FtrlV2", "GradientDescent", "KerasMomentum",
            "Momentum", "PowerSign", "ProximalAdagrad", "ProximalGradientDescent", "RMSProp")
_WRITES = frozenset(
    ["Assign", "AssignAdd", "AssignSub", "AssignVariableOp", "AssignAddVariableOp",
     "AssignSubVariableOp"] + [prefix + name for prefix in ("Apply", "ResourceApply")
                               for name in _KERNELS])
# What writes the rows that `indices` name, from `grad` or `updates`.
_SPARSE = frozenset(
    prefix + name for prefix in ("", "Resource")
    for name in ["SparseApply" + name for name in _KERNELS] + ["Scatter" + name for name in (
        "Add", "Sub", "Update", "Mul", "Div", "Max", "Min")])
# What makes rows of single ones.
_SUMS = frozenset(["UnsortedSegmentSum"])
_INDICES, _OF_INDICES = ("indices", "segment_ids"), ("grad", "updates", "data")


class Sliceable(NamedTuple):
    """An update that can work on some rows.

    Attributes:
      update: the update.
      ops: the operations of it that do so.
      readers: those that read the variable when it has been written.
    """

    update: Update
    ops: Set[Any]
    readers: Set[Any]


def sliceable(key: Any, update: Update, states: Iterable[Any]) -> Optional[Sliceable]:
    """What `update` is made of, if it updates each row by itself; else None.

    Args:
      key: what stands for its variable in the graph.
      update: the update.
      states: what stands for its state.
    """
    shape = update.variable.shape
    states = set(states)
    reads = {user for each in states for user in _users(each) if user in update.inside}
    written = {op for op in descendants(update.writes) if op in update.inside}
    readers = {user for user in _users(key) if user in written and user not in update.writes}
    own = (data_descendants(reads | readers | set(update.all_writes)) & update.inside) | reads
    if any(compat.control_flow_context(op) is not None for op in own) or any(
            op_traits.aliased_variable(t) is key for op in (written - set(update.writes)) & own
            for t in op.inputs):
        return None
    ops = _with_alone(own, update.inside, shape)
    known = states | {key}
    if not all(_by_rows(op, ops, shape, known) for op in ops):
        return None
    return Sliceable(update, ops, readers)


def aligned_rows(shape: Any, workers: int) -> List[Rows]:
    """The rows of each worker, about equally many, that begin at aligned elements."""
    total = int(shape[0])
    unit = ALIGNED // math.gcd(ALIGNED, shape.num_elements() // total)
    units = -(-total // unit)
    borders = [min(total, unit * (units * rank // workers)) for rank in range(workers)] + [total]
    return [Rows(begin, end - begin) for begin, end in zip(borders, borders[1:])]


def slice_inputs(found: Sliceable, key: Any, states: Iterable[Any], rows: Rows,
                 part: Any, cut_already: Container[Any] = ()) -> None:
    """Let an update work on `rows`.

    Args:
      found: the update.
      key: what stands for its variable in the graph.
      states: what stands for its state, which holds these rows.
      rows: those that it is to work on.
      part: the reference or handle of what holds these rows of the variable meanwhile.
      cut_already: operations that give these rows, not all.
    """
    whole, shape, held = key.outputs[0], found.update.variable.shape, set(states)
    for op in sorted(found.ops, key=compat.op_id):
        if op.type in _SPARSE or op.type in _SUMS:
            _slice_sparse(op, rows)
        for tensor in list(op.inputs):
            if tensor is whole and (op in found.update.writes or op in found.readers):
                editor.replace_input(op, whole, part)
            elif tensor.op not in found.ops | held and tensor.op not in cut_already \
                    and is_of_rows(tensor, shape):
                editor.replace_input(op, tensor, rows_of(tensor, rows, shape.ndims))


def _slice_sparse(op: Any, rows: Rows) -> None:
    """Let a write of single rows write those of `rows` that are among them."""
    inputs = _named(op)
    indices = next(inputs[name] for name in _INDICES if name in inputs)
    with compat.inserted(op.graph, "epl/zero/rows/" + op.name), tf.device(op.device or None):
        kept = tf.reshape(tf.where(tf.logical_and(
            indices >= rows.first, indices < rows.first + rows.number)), [-1])
        editor.replace_input(op, indices, tf.gather(indices, kept) - rows.first)
        for name in _OF_INDICES:
            if name in inputs:
                editor.replace_input(op, inputs[name], tf.gather(inputs[name], kept))
        if op.type in _SUMS:
            number = inputs["num_segments"]
            editor.replace_input(op, number, tf.constant(rows.number, number.dtype))


def _named(op: Any) -> Dict[str, Any]:
    """The inputs of an operation by their names."""
    return dict(zip([arg.name for arg in op.op_def.input_arg], op.inputs))


def rows_of(tensor: Any, rows: Rows, ndims: int) -> Any:
    """`rows` of a tensor of so many dimensions, beside it."""
    with compat.inserted(tensor.graph, "epl/zero/rows/" + tensor.op.name), \
            tf.device(tensor.device or None):
        return cut(tensor, rows, ndims)


def cut(tensor: Any, rows: Rows, ndims: int) -> Any:
    """`rows` of a tensor; how many these are does not show: what reads them was built for all."""
    size = tf.placeholder_with_default(
        np.array([rows.number] + [-1] * (ndims - 1), np.int32), [ndims], "any_rows")
    return tf.slice(tensor, [rows.first] + [0] * (ndims - 1), size)


def _users(key: Any) -> List[Any]:
    return [user for tensor in key.outputs for user in tensor.consumers()]


def _with_alone(own: Set[Any], inside: Iterable[Any], shape: Any) -> Set[Any]:
    """`own`, and what computes rows for these alone."""
    found = set(own)
    for op in sorted(set(inside) - own, key=compat.op_id, reverse=True):
        users = [user for t in op.outputs for user in t.consumers()]
        takes = op.type in _ELEMENTWISE and op.type != "ReadVariableOp" or _sums_rows(op, shape)
        if takes and users and all(
                user in found for user in users) and is_of_rows(op.outputs[0], shape) \
                and not any(map(op_traits.is_handle, op.inputs)):
            found.add(op)
    return found


def _sums_rows(op: Any, shape: Any) -> bool:
    """True for the rows of a sparse gradient, each added up where it belongs."""
    if op.type not in _SUMS or len(op.inputs) != 3:
        return False
    return op.inputs[1].shape.ndims == 1 and is_of_rows(op.outputs[0], shape) \
        and tf.get_static_value(op.inputs[2]) == int(shape[0])


def _by_rows(op: Any, ops: Set[Any], shape: Any, known: Set[Any]) -> bool:
    """True if `op` computes each row from the rows in its place."""
    if op.type == "NoOp":
        return True
    if op.type in _SUMS:
        return _sums_rows(op, shape) and not any(tensor.op in ops for tensor in op.inputs)
    if op.type in _SPARSE:
        return all(op_traits.handle_origin(tensor) in known if op_traits.is_handle(tensor)
                   else tensor.op not in ops for tensor in op.inputs)
    if op.type not in _ELEMENTWISE and op.type not in _WRITES:
        return False
    if any(not op_traits.is_handle(t) and not is_of_rows(t, shape) for t in op.outputs):
        return False
    for tensor in op.inputs:
        if op_traits.is_handle(tensor) and (op.type in _WRITES or tensor.dtype == tf.resource):
            if op_traits.handle_origin(tensor) not in known:
                return False
        elif tensor.op not in ops and not is_of_rows(tensor, shape) \
                and not same_for_rows(tensor, shape):
            return False
    return True


def elementwise(op: Any) -> bool:
    """True for what computes each element from the elements in its place."""
    return op.type in _ELEMENTWISE


def is_of_rows(tensor: Any, shape: Any) -> bool:
    """True for a tensor of the variable's shape."""
    return tensor.dtype != tf.resource and tensor.shape.is_fully_defined() \
        and tensor.shape.as_list() == shape.as_list()


def same_for_rows(tensor: Any, shape: Any) -> bool:
    """True for a number, and for what all rows are computed with alike."""
    if tensor.shape.ndims is None:
        return False
    return tensor.shape.ndims < shape.ndims or (
        tensor.shape.ndims == shape.ndims and tensor.shape[0] == 1)
