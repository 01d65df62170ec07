# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Exchanges in a graph by `CollectiveReduce`, which adds numbers up over the members of a group.

    all_gather     number of rows     [0 2 0] + [3 0 0] + [0 0 1], and in the same way their sizes
                   rows, as integers  [. . . b b .] + [a a a . . .] + [. . . . . c]
    max            each member's numbers in a row of its own, then the largest
    broadcast      what the first member gives, and zeros of the others

TensorFlow's operation that gathers keeps the shape of the first step, and that for a maximum has no
kernel in 1.15, so addition does it all. What must arrive bit by bit is added up as integers: zero
changes no integer, but it makes 0.0 of -0.0.

It has kernels for four types, and ends the process when it is given nothing to add up; so others
are cast, and an element is appended where there may be none.

What comes out follows from the exchanges alone. Of a tensor whose shape is known in steps only the
first member says it, or it is found from the number of elements: were it taken from a worker's own
tensor, what was sent would pass for something that each worker has for itself.
"""

import functools
import hashlib
import operator
from typing import Any, Dict, NamedTuple, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators import wire
from epl.communicators.base import MAX, MEAN, Group, Met, rows_of_member
from epl.errors import ConfigError

DEVICE = "/job:worker/replica:0/task:{}/device:CPU:0"
OP_TYPE = "CollectiveReduce"
KIND = "_epl_collective"

_BITCAST = {tf.float32: tf.int32, tf.float64: tf.int64, tf.float16: tf.uint16}
_KEY_BITS = 31


class Keys:
    """Numbers for names: by these TensorFlow knows groups and their operations.

    They have to be the same on all members, whatever else each of them builds, so they are hashes.
    Two names with one number are refused; with 1,000 operations that is one job in 4,000.
    """

    def __init__(self) -> None:
        self._names: Dict[int, str] = {}

    def key(self, kind: str, *facts: str) -> int:
        """The number of what these words name.

        Raises:
          ConfigError: another name has it.
        """
        name = " ".join((kind,) + facts)
        number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % (1 << _KEY_BITS)
        other = self._names.setdefault(number, name)
        if other != name:
            raise ConfigError("the exchanges '{}' and '{}' have the same number in TensorFlow; "
                              "rename a variable of one of them".format(other, name))
        return number


class Member(NamedTuple):
    """This worker in a group.

    Attributes:
      rank: in the job.
      group: the group.
      keys: those of the process.
    """

    rank: int
    group: Group
    keys: Keys

    @property
    def position(self) -> int:
        """Its place among the members."""
        return self.group.ranks.index(self.rank)


def all_reduce(tensor: Any, name: str, member: Member, how: str) -> Met:
    """As `Communicator.all_reduce`."""
    if how == MAX:
        return _maximum(tensor, name, member)
    result, op = _total(tensor, name, member, how, "all_reduce")
    return wire.from_sum(result, tensor.dtype.base_dtype), op


def reduce_scatter(tensor: Any, name: str, member: Member, how: str) -> Met:
    """As `Communicator.reduce_scatter`."""
    total, op = _total(tensor, name, member, how, "reduce_scatter")
    static = tensor.shape[0].value if hasattr(tensor.shape[0], "value") else tensor.shape[0]
    if static is not None:
        first, count = rows_of_member(static, member.position, member.group.size)
        own = total[first:first + count]
    else:
        each, more = (f(tf.shape(total)[0], member.group.size)
                      for f in (tf.floordiv, tf.floormod))
        first = member.position * each + tf.minimum(member.position, more)
        own = total[first:first + each + tf.cast(member.position < more, tf.int32)]
    return wire.from_sum(own, tensor.dtype.base_dtype), op


def broadcast(tensor: Any, name: str, member: Member) -> Met:
    """As `Communicator.broadcast`."""
    bits = _to_integers(wire.to_gather(tensor))
    if member.position != 0:
        bits = _nothing_of(bits)
    result, op = _added(bits, name, member, "broadcast")
    return _of_sent(_shaped_as(result, bits, name, member, "broadcast"), tensor), op


def all_gather(tensor: Any, name: str, member: Member) -> Met:
    """As `Communicator.all_gather`."""
    sent = wire.to_gather(tensor)
    bits = _to_integers(sent)
    known, size = _static_shape(bits)[1:], member.group.size
    shape = tf.shape(bits, out_type=tf.int64)
    told = shape if None in known else shape[:1]
    shapes, _ = _added(tf.one_hot([member.position], size, axis=0, dtype=tf.int64) * told[None],
                       name + "/rows", member, "all_gather")
    shapes = tf.reshape(shapes[:size * tf.size(told)], [size, -1])
    rest = shapes[0, 1:] if None in known else tf.constant(known, tf.int64)
    per_row, counts = tf.reduce_prod(shape[1:]), shapes[:, 0]
    before, rows = tf.reduce_sum(counts[:member.position]), tf.reduce_sum(counts)
    filled = tf.concat([
        tf.zeros([before * per_row], bits.dtype), tf.reshape(bits, [-1]),
        tf.zeros([(rows - before - shape[0]) * per_row], bits.dtype)], 0)
    result, op = _added(filled, name, member, "all_gather",
                        _same(shapes[:, 1:]) if None in known else None)
    result = tf.reshape(result[:rows * tf.reduce_prod(rest)], tf.concat([[rows], rest], 0))
    if bits.shape.ndims is not None:
        result.set_shape([None] + compat.static_shape(bits)[1:])
    return _of_sent(result, tensor), op


def first_value(flat: Any) -> Any:
    """What an exchange is given in a run that only makes it known: as few numbers as can be."""
    number, = compat.static_shape(flat)
    return np.zeros(1 if number is None else number, flat.dtype.as_numpy_dtype)


def is_collective(op: Any) -> bool:
    """As `Communicator.is_collective`."""
    return op.type == OP_TYPE and KIND in op.node_def.attr


def fails_alike(op: Any) -> bool:
    """True for what fails on all members before an exchange, as they may not take part in it."""
    return op.type == "Assert" and KIND in op.node_def.attr


def combines(op: Any) -> bool:
    """As `Communicator.combines`."""
    return is_collective(op) and op.get_attr(KIND) in (b"all_reduce", b"all_gather")


def _total(tensor: Any, name: str, member: Member, how: str, kind: str) -> Met:
    """The sum or mean of what travels for `tensor`."""
    sent = wire.to_sum(tensor)
    exact = tf.cast(sent, tf.float32) if sent.dtype == tf.float16 else sent
    added, op = _added(exact, name, member, kind)
    total = _shaped_as(added, exact, name, member, kind)
    if how == MEAN:
        total = total * tf.constant(1.0 / member.group.size, total.dtype) \
            if total.dtype.is_floating else tf.cast(
                tf.cast(total, tf.float64) / member.group.size, total.dtype)
    return tf.cast(total, sent.dtype), op


def _maximum(tensor: Any, name: str, member: Member) -> Met:
    bits = _to_integers(wire.to_gather(tensor))
    flat = tf.reshape(bits, [1, -1])
    own = tf.one_hot([member.position], member.group.size, axis=0, dtype=bits.dtype)
    rows = own * flat
    added, op = _added(rows, name, member, "all_reduce")
    every = tf.reshape(_elements_of(added, rows), [member.group.size, -1])
    found = tf.reduce_max(_from_integers(every, wire.to_gather(tensor).dtype), 0)
    result = tf.reshape(found, _shape_of(bits, name, member, "all_reduce"))
    result.set_shape(bits.shape)
    return wire.from_gather(result, tensor.dtype.base_dtype), op


def _same(sizes: Any) -> Any:
    """Fails if rows of members have other sizes: TensorFlow would say that a connection is lost."""
    check = tf.raw_ops.Assert(condition=tf.reduce_all(tf.equal(sizes, sizes[:1])), data=[
        "sizes of rows must match, but those of the workers are",
        tf.reshape(sizes, [-1])],  # sessions take what follows "[[" for the operation that failed
        summarize=100)
    compat.set_text_attribute(check, KIND, "sizes")
    return check


def _added(tensor: Any, name: str, member: Member, kind: str, check: Any = None) -> Met:
    """The flat sum of `tensor` over the members; something may follow its elements."""
    flat = tf.reshape(tensor, [-1])
    if not _elements(tensor):
        flat = tf.concat([flat, tf.zeros([1], flat.dtype)], 0)
    if check is not None:
        with tf.control_dependencies([check]):  # not of the exchange, which is run alone to warm up
            flat = tf.identity(flat)
    members = ",".join(map(str, member.group.ranks))
    facts = (name, members, flat.dtype.name, str(flat.shape))
    with tf.device(DEVICE.format(member.rank)):
        result = tf.raw_ops.CollectiveReduce(
            input=flat, group_size=member.group.size, group_key=member.keys.key("group", members),
            instance_key=member.keys.key("exchange", *facts), merge_op="Add", final_op="Id",
            subdiv_offsets=[0], wait_for=[])
    compat.set_text_attribute(result.op, KIND, kind)
    return result, result.op


def _shaped_as(flat: Any, tensor: Any, name: str, member: Member, kind: str) -> Any:
    """`flat`, which was added up for `tensor`, in its shape."""
    flat, shape = _elements_of(flat, tensor), _static_shape(tensor)
    if shape.count(None) != 1 or 0 in shape:
        result = tf.reshape(flat, _shape_of(tensor, name, member, kind))
    else:
        result = tf.reshape(flat, [-1 if number is None else number for number in shape])
    result.set_shape(tensor.shape)
    return result


def _elements_of(flat: Any, tensor: Any) -> Any:
    """`flat`, which was added up for `tensor`, without what was appended."""
    return flat if _elements(tensor) else flat[:-1]


def _shape_of(tensor: Any, name: str, member: Member, kind: str) -> Any:
    """The shape (int64) of the first member's `tensor`."""
    own = tf.shape(tensor, out_type=tf.int64)
    if tensor.shape.is_fully_defined():
        return own
    sent = own if member.position == 0 else _nothing_of(own)
    shape, _ = _added(sent, name + "/shape", member, kind)
    return _elements_of(shape, sent)


def _static_shape(tensor: Any) -> Sequence[Any]:
    """The shape of `tensor`, None for unknown numbers; [None, None] if nothing is known."""
    return [None, None] if tensor.shape.ndims is None else compat.static_shape(tensor)


def _nothing_of(tensor: Any) -> Any:
    """Zeros; no constant, which a worker would send where a branch is not taken, too."""
    return tf.zeros_like(tensor, optimize=False)


def _elements(tensor: Any) -> int:
    """How many elements a tensor is known to have; 0: that is not known, or none."""
    if not tensor.shape.is_fully_defined():
        return 0
    shape: Sequence[Any] = compat.static_shape(tensor)
    return int(functools.reduce(operator.mul, shape, 1))


def _to_integers(tensor: Any) -> Any:
    """A number of 32 or 64 bits for each element, without a loss."""
    if tensor.dtype in _BITCAST:
        tensor = tf.bitcast(tensor, _BITCAST[tensor.dtype])
    return tensor if tensor.dtype in (tf.int32, tf.int64) else tf.cast(tensor, tf.int32)


def _from_integers(tensor: Any, dtype: Any) -> Any:
    """The inverse of `_to_integers`."""
    carrier = _BITCAST.get(dtype, dtype)
    tensor = tf.cast(tensor, carrier)
    return tensor if carrier == dtype else tf.bitcast(tensor, dtype)


def _of_sent(integers: Any, tensor: Any) -> Any:
    """Elements of `tensor`'s type, from the integers that travelled for them."""
    sent = wire.to_gather(tensor).dtype
    return wire.from_gather(_from_integers(integers, sent), tensor.dtype.base_dtype)


