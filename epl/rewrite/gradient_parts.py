# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients of which each worker has the rows that it updates by (zero.level = v1).

    worker 0   rows of g --> * scale --> update of these rows
                   |            ^
                   +--> sum of squares --+
                                         | all_reduce --> norm of all gradients --> scale
                   +--> sum of squares --+
                   |            v
    worker 1   rows of g --> * scale --> update of these rows

What is computed from such a gradient is known to be of one of these kinds; else the gradient is
reduced for all workers, as with v0:

    element by element             each worker does so with its rows
    a number: a sum, a mean over   each worker computes it of its rows; they are put together
    everything, `all`, `any`       where they are read, on all workers, in every step
    the update                     `zero`
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import SUM, Collective
from epl.ir import editor
from epl.ir.environment import context_of
from epl.ir.ownership import Rows
from epl.rewrite import op_traits
from epl.rewrite.groups import Gradient
from epl.rewrite.row_slices import elementwise, is_of_rows, rows_of, same_for_rows
from epl.rewrite.walk import ancestors

_SCOPE = "epl/zero/numbers"
_SUMS = frozenset(["L2Loss", "Sum"])
_NUMBERS = _SUMS | frozenset(["Mean", "All", "Any"])


class Part(NamedTuple):
    """A gradient of which each worker has some rows.

    Attributes:
      group: names the call that built it; its gradients are exchanged in the same runs.
      gradient: the gradient.
      rows: of each worker.
      ops: what works on these rows element by element, what the script got included.
      numbers: what makes numbers of them.
    """

    group: str
    gradient: Gradient
    rows: Sequence[Rows]
    ops: Set[Any]
    numbers: List[Any]


def part_of(group: str, gradient: Gradient, rows: Sequence[Rows],
            inside: Set[Any]) -> Optional[Part]:
    """What is computed from a gradient, if workers can do so with rows of it; else None.

    Args:
      group: names the call that built it.
      gradient: a dense one.
      rows: those that each worker updates.
      inside: the operations of its variable's updates that work on these rows.
    """
    shape = gradient.variable.shape
    if isinstance(gradient.returned, tf.IndexedSlices) or not is_of_rows(gradient.raw, shape):
        return None
    ops: Set[Any] = {gradient.returned.op}
    numbers: List[Any] = []
    pending = [gradient.returned.op]
    while pending:
        op = pending.pop()
        for user in {user for tensor in op.outputs for user in tensor.consumers()}:
            if user in ops or user in numbers:
                continue
            if _makes_number(user):
                numbers.append(user)
            elif _by_elements(user, shape):
                ops.add(user)
                pending.append(user)
            elif user not in inside:
                return None
    if not all(tensor.op in ops | inside or same_for_rows(tensor, shape)
               or is_of_rows(tensor, shape)
               for op in ops - inside - {gradient.returned.op} for tensor in op.inputs):
        return None
    return Part(group, gradient, rows, ops, sorted(numbers, key=compat.op_id))


def _makes_number(op: Any) -> bool:
    """True for a number that is put together of those of rows."""
    if op.type not in _NUMBERS or compat.control_flow_context(op) is not None:
        return False
    if op.type == "L2Loss":
        return True
    axes, ndims = tf.get_static_value(op.inputs[1]), op.inputs[0].shape.ndims
    return axes is not None and ndims is not None \
        and len({int(axis) % ndims for axis in axes.reshape([-1])}) == ndims


def _by_elements(op: Any, shape: Any) -> bool:
    return elementwise(op) and compat.control_flow_context(op) is None and not any(
        map(op_traits.is_handle, op.inputs)) and all(is_of_rows(t, shape) for t in op.outputs)


def slice_others(part: Part, own: Rows, done: Iterable[Any]) -> None:
    """Let what works on rows of a gradient read the same rows of everything else.

    Args:
      part: the gradient.
      own: the rows here; not all, and not none.
      done: operations that read these rows already.
    """
    shape, known = part.gradient.variable.shape, set(done)
    for op in sorted(part.ops - {part.gradient.returned.op} - known, key=compat.op_id):
        for tensor in list(op.inputs):
            if tensor.op not in part.ops | known and is_of_rows(tensor, shape):
                editor.replace_input(op, tensor, rows_of(tensor, own, shape.ndims))


class Numbers(NamedTuple):
    """What was made to put numbers together.

    Attributes:
      values: what makes a number of rows -> the number of all rows.
      collectives: in which they are exchanged.
    """

    values: Dict[Any, Any]
    collectives: List[Collective]


class _Number(NamedTuple):
    """A number that is put together.

    Attributes:
      op: what makes it of rows.
      part: the gradient that these are of.
    """

    op: Any
    part: Part


def put_together(graph: Any, parts: Sequence[Part], pad: Any) -> Numbers:
    """Let what reads numbers of gradients read those of all rows.

    Numbers that follow from others are exchanged behind these.

    Args:
      graph: the graph.
      parts: gradients of which each worker has some rows.
      pad: a number that is no constant.
    """
    numbers = [_Number(op, part) for part in parts for op in part.numbers]
    behind = {number.op: ancestors([number.op]) - {number.op} for number in numbers}
    rounds: List[List[_Number]] = []
    rest = numbers
    while rest:
        ops = {number.op for number in rest}
        now = [number for number in rest if not behind[number.op] & ops]
        rounds.append(now)
        rest = [number for number in rest if number not in now]
    made = Numbers({}, [])
    for turn, now in enumerate(rounds):
        for group, kind in sorted({(n.part.group, _travels_as(n).name) for n in now}):
            some = [n for n in now if n.part.group == group and _travels_as(n).name == kind]
            _exchange(graph, some, "{}/{}/{}_{}".format(_SCOPE, group, turn, kind), pad, made)
    return made


def _exchange(graph: Any, numbers: Sequence[_Number], name: str, pad: Any, made: Numbers) -> None:
    context = context_of(graph)
    users = {number.op: [user for user in number.op.outputs[0].consumers()] for number in numbers}
    waiting = {number.op: list(compat.control_outputs(number.op)) for number in numbers}
    dtype = _travels_as(numbers[0])
    with compat.inserted(graph, name):
        own = [_of_own_rows(number, context.cluster.worker_index) for number in numbers]
        every, collective = context.connection.all_reduce(
            tf.stack(own + [tf.cast(pad, dtype)]), name, context.workers, SUM)
        made.collectives.append(collective)
        for number, value in zip(numbers, tf.unstack(every)):
            value = tf.reshape(_as_before(number, value), _shape(number))
            made.values[number.op] = value
            for user in users[number.op]:
                editor.replace_input(user, number.op.outputs[0], value)
            for user in waiting[number.op]:
                editor.wait_no_longer(user, [number.op])
                editor.wait_for(user, [value.op])


def _travels_as(number: _Number) -> Any:
    return tf.int32 if number.op.type in ("All", "Any") else number.op.outputs[0].dtype.base_dtype


def _of_own_rows(number: _Number, rank: int) -> Any:
    """What this worker's rows add to a number."""
    op, own = number.op, number.part.rows[rank].number
    dtype = _travels_as(number)
    if not own:  # also here the rows have to be exchanged
        with tf.control_dependencies([number.part.gradient.returned.op]):
            return tf.zeros([], dtype)
    value = tf.reshape(op.outputs[0], [])
    if op.type == "Mean":
        return value * tf.cast(own / float(int(number.part.gradient.variable.shape[0])), dtype)
    if op.type in ("All", "Any"):
        return tf.cast(tf.logical_not(value) if op.type == "All" else value, dtype)
    return value


def _as_before(number: _Number, value: Any) -> Any:
    if number.op.type == "All":
        return tf.equal(value, 0)
    return value > 0 if number.op.type == "Any" else value


def _shape(number: _Number) -> List[int]:
    """As what makes it: with `keepdims` it has dimensions of one element."""
    return [1] * (number.op.outputs[0].shape.ndims or 0)
