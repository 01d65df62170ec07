# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Communicators that exchange arrays in Python: one method, `exchange`, is all that they need.

    all_reduce     exchange, then add up in the order of ranks
    all_gather     exchange, then join
    broadcast      exchange, then take the first
    ...

In a graph this happens in the body of a `tf.numpy_function`, which waits in a thread of its
session. Every worker gets everything. An implementation that can add up without that overrides
`reduce` as well.
"""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators import wire
from epl.communicators.base import MAX, MEAN, SUM, Communicator, Group, Met, rows_of_member

# Threads of a session, for its exchanges: each holds one while it waits for other workers.
_WAITING = 96
_KIND = "_epl_collective"

_Act = Callable[[Any], Any]


class ThroughPython(Communicator):
    """Exchanges by `exchange`."""

    # Of one loss. If more could, they might hold all threads, on each worker for others.
    most_waiting = _WAITING // 3

    def exchange(self, name: str, ranks: Tuple[int, ...], value: Any,
                 seconds: Optional[float] = None) -> Optional[List[Any]]:
        """Give an array, and get those of all who take part.

        The k-th time that a worker comes to a name it meets those who come to it for the k-th time.

        Args:
          name: of the exchange.
          ranks: who takes part, this worker among them.
          value: what this worker gives; it may change once this has come back.
          seconds: how long to wait; None: as long as the others are there.

        Returns:
          The arrays, in the order of ranks, which nobody changes; None if not all came in time.

        Raises:
          Disconnected: one of them is gone.
        """
        raise NotImplementedError(self._lacks("exchange"))

    def reduce(self, name: str, ranks: Tuple[int, ...], value: Any, how: str) -> Any:
        """As `exchange`; gives a new array: the sum, mean or maximum of all.

        Raises:
          Disconnected: one of them is gone.
          ValueError: their types or shapes differ.
        """
        return _reduced(self._every(name, ranks, value), how)

    def prepare_session(self, config: Any) -> None:
        config.use_per_session_threads = True
        config.experimental.disable_thread_spinning = True  # the others need the cores meanwhile
        config.inter_op_parallelism_threads = max(_WAITING, config.inter_op_parallelism_threads)

    def is_collective(self, op: Any) -> bool:
        return op.type == "PyFunc" and _KIND in op.node_def.attr

    def combines(self, op: Any) -> bool:
        return self.is_collective(op) and op.get_attr(_KIND) in (b"all_reduce", b"all_gather")

    def all_reduce_max(self, numbers: Sequence[int],
                       seconds: Optional[float] = None) -> Optional[List[int]]:
        every = self.exchange("control/maximum", self.group.ranks, np.array(numbers, np.int64),
                              seconds)
        return None if every is None else [int(number) for number in np.max(every, 0)]

    def all_gather_bytes(self, data: bytes) -> List[bytes]:
        return [array.tobytes() for array in self._every(
            "control/gather", self.group.ranks, np.frombuffer(data, np.uint8))]

    def broadcast_bytes(self, data: bytes) -> bytes:
        return bytes(self._every("control/broadcast", self.group.ranks,
                                 np.frombuffer(data if self.rank == 0 else b"", np.uint8)
                                 )[0].tobytes())

    def _all_reduce(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        sent = tensor if how == MAX else wire.to_sum(tensor)
        result, op = self._meet("all_reduce", sent,
                                lambda value: self.reduce(name, group.ranks, value, how))
        result.set_shape(sent.shape)
        return (result if how == MAX else wire.from_sum(result, tensor.dtype.base_dtype)), op

    def _all_gather(self, tensor: Any, name: str, group: Group) -> Met:
        sent = wire.to_gather(tensor)
        result, op = self._meet("all_gather", sent,
                                lambda value: np.concatenate(self._every(name, group.ranks, value)))
        if sent.shape.ndims is not None:
            result.set_shape([None] + compat.static_shape(sent)[1:])
        return wire.from_gather(result, tensor.dtype.base_dtype), op

    def _reduce_scatter(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        position, sent = group.ranks.index(self.rank), wire.to_sum(tensor)

        def own_rows(value: Any) -> Any:
            first, count = rows_of_member(len(value), position, group.size)
            return np.array(self.reduce(name, group.ranks, value, how)[first:first + count])

        result, op = self._meet("reduce_scatter", sent, own_rows)
        shape = compat.static_shape(sent) if sent.shape.ndims is not None else None
        if shape and shape[0] is not None:
            shape[0] = rows_of_member(shape[0], position, group.size)[1]
        result.set_shape(shape)
        return wire.from_sum(result, tensor.dtype.base_dtype), op

    def _broadcast(self, tensor: Any, name: str, group: Group) -> Met:
        sent = wire.to_gather(tensor)
        result, op = self._meet("broadcast", sent,
                                lambda value: np.array(self._every(name, group.ranks, value)[0]))
        result.set_shape(sent.shape)
        return wire.from_gather(result, tensor.dtype.base_dtype), op

    def _send(self, tensor: Any, name: str, to: int) -> Met:
        pair = _pair(self.rank, to)
        return self._meet("send", wire.to_gather(tensor), lambda value: np.array(
            self._every(name, pair, value)[pair.index(self.rank)]))

    def _receive(self, dtype: Any, shape: Any, name: str, source: int) -> Met:
        pair = _pair(self.rank, source)
        result, op = self._meet("receive", wire.to_gather(tf.zeros([0], dtype)), lambda value:
                                np.array(self._every(name, pair, value)[pair.index(source)]))
        result = wire.from_gather(result, tf.as_dtype(dtype))
        result.set_shape(shape)
        return result, op

    def _meet(self, kind: str, tensor: Any, act: _Act) -> Met:
        """Add an operation in which the workers meet: it gives the new array that `act` makes."""
        result = tf.numpy_function(act, [tensor], tensor.dtype.base_dtype, name=kind)
        compat.set_text_attribute(result.op, _KIND, kind)
        return result, result.op

    def _every(self, name: str, ranks: Tuple[int, ...], value: Any) -> List[Any]:
        every = self.exchange(name, ranks, value)
        assert every is not None  # there was no limit in time
        return every


def _pair(one: int, other: int) -> Tuple[int, ...]:
    return tuple(sorted((one, other)))


def same_kind(every: List[Tuple[Any, Sequence[int]]]) -> None:
    """Raises ValueError if the (dtype, shape) of arrays that are added up differ."""
    if len({(str(dtype), tuple(shape)) for dtype, shape in every}) > 1:
        raise ValueError("the workers give {} to one exchange".format(", ".join(
            "{}{}".format(dtype, list(shape)) for dtype, shape in every)))


def together(every: List[Any], how: str, result: Any) -> None:
    """Write the sum, mean or maximum of arrays to `result`, one after the other."""
    combine = {SUM: np.add, MEAN: np.add, MAX: np.maximum}[how]
    if len(every) == 1:
        result[...] = every[0]
    else:
        combine(every[0], every[1], out=result)
    for array in every[2:]:
        combine(result, array, out=result)
    if how == MEAN and result.dtype.kind in "iu":
        result[...] = (result / len(every)).astype(result.dtype)
    elif how == MEAN:
        result *= result.dtype.type(1.0 / len(every))


def _reduced(every: List[Any], how: str) -> Any:
    """The arrays of all, one after the other in the order of ranks."""
    same_kind([(array.dtype, array.shape) for array in every])
    result = np.empty_like(every[0])
    together(every, how, result)
    return result
