# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that are threads of one process, each with its own graph and session.

    world = World(2)
    rank 0   "g/dense_0", its tensor ---+--> all are there: added up in the order of ranks --> both
    rank 1   "g/dense_0", its tensor ---+

They meet in memory, in the body of a `tf.py_func`. What is exchanged is copied, never shared. The
k-th time that a worker comes to a name it meets those who come to it for the k-th time. Whoever
leaves takes nobody along: an exchange that waits for it fails with `Disconnected` at once.
"""

import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import (
    MAX,
    MEAN,
    SUM,
    Communicator,
    Disconnected,
    Group,
    Met,
    rows_of_member,
)

# Operations of a step that may wait for other workers at the same time; each holds a thread.
_WAITING = 96
_KIND = "_epl_collective"

_Join = Callable[[List[Any]], Any]


class _Meeting:
    """One exchange under way.

    Attributes:
      given: rank -> what it gave.
      joined: what all of that gives, once all have come.
      failure: why nothing does, or None.
      taken: who has got it.
    """

    def __init__(self) -> None:
        self.given: Dict[int, Any] = {}
        self.joined: Any = None
        self.failure: Optional[Exception] = None
        self.taken: Set[int] = set()
        self.is_over = False


class _Key(NamedTuple):
    name: str
    ranks: Tuple[int, ...]
    round: int


class World:
    """Where the workers of a process meet.

    Args:
      size: how many there are.
    """

    def __init__(self, size: int):
        self.size = size
        self._changed = threading.Condition()
        self._meetings: Dict[_Key, _Meeting] = {}
        self._rounds: Dict[Tuple[int, str], int] = {}
        self._gone: Dict[int, str] = {}

    def leave(self, rank: int, why: str = "has ended") -> None:
        """Worker `rank` comes to no exchange any more."""
        with self._changed:
            self._gone.setdefault(rank, why)
            self._changed.notify_all()

    def meet(self, rank: int, name: str, ranks: Tuple[int, ...], value: Any, join: _Join,
             seconds: Optional[float] = None) -> Any:
        """Give `value`, wait for the others of `ranks`, return what `join` makes of all values.

        Args:
          rank: who calls.
          name: of the exchange.
          ranks: who takes part.
          value: what this worker gives.
          join: takes the values in the order of ranks; called once.
          seconds: how long to wait; None: as long as the others are there.

        Returns:
          What `join` returned; None if the others did not come in time.

        Raises:
          Disconnected: another worker, or this one, is gone.
        """
        with self._changed:
            key = self._next(rank, name, ranks)
            meeting = self._meetings.setdefault(key, _Meeting())
            meeting.given[rank] = value
            if len(meeting.given) == len(ranks):
                try:
                    meeting.joined = join([meeting.given[each] for each in ranks])
                except Exception as error:  # the same for all
                    meeting.failure = error
                meeting.is_over = True
                self._changed.notify_all()
            came = self._changed.wait_for(
                lambda: meeting.is_over or self._lost(rank, meeting, ranks) is not None, seconds)
            return self._taken(key, meeting, rank) if came else None

    def _next(self, rank: int, name: str, ranks: Tuple[int, ...]) -> _Key:
        number = self._rounds.get((rank, name), 0)
        self._rounds[rank, name] = number + 1
        return _Key(name, ranks, number)

    def _lost(self, rank: int, meeting: _Meeting, ranks: Tuple[int, ...]) -> Optional[str]:
        """Who is gone that the meeting waits for, in words."""
        for each in ranks:
            if each in self._gone and (each == rank or each not in meeting.given):
                return "worker {} {}".format(each, self._gone[each])
        return None

    def _taken(self, key: _Key, meeting: _Meeting, rank: int) -> Any:
        if not meeting.is_over:
            raise Disconnected(self._lost(rank, meeting, key.ranks))
        meeting.taken.add(rank)
        if len(meeting.taken) == len(key.ranks):
            del self._meetings[key]
        if meeting.failure is not None:
            raise meeting.failure
        return meeting.joined


class LoopbackCommunicator(Communicator):
    """What connects the worker of one rank of a `World`."""

    name = "loopback"

    def __init__(self, world: World, rank: int):
        super().__init__()
        self._world = world
        self.connect(rank, ["localhost"] * world.size)
        self._connected = True

    @property
    def is_connected(self) -> bool:
        return self._connected

    def disconnect(self) -> None:
        self._connected = False
        self._world.leave(self.rank)

    def prepare_session(self, config: Any) -> None:
        config.use_per_session_threads = True
        config.inter_op_parallelism_threads = max(_WAITING, config.inter_op_parallelism_threads)

    def is_collective(self, op: Any) -> bool:
        return op.type == "PyFunc" and _KIND in op.node_def.attr

    def combines(self, op: Any) -> bool:
        return self.is_collective(op) and op.get_attr(_KIND) in (b"all_reduce", b"all_gather")

    def all_reduce_max(self, numbers: Sequence[int],
                       seconds: Optional[float] = None) -> Optional[List[int]]:
        def largest(given: List[List[int]]) -> List[int]:
            return [max(each) for each in zip(*given)]

        found: Optional[List[int]] = self._world.meet(
            self.rank, "control/maximum", self.group.ranks, list(numbers), largest, seconds)
        return found

    def all_gather_bytes(self, data: bytes) -> List[bytes]:
        found: List[bytes] = self._world.meet(self.rank, "control/gather", self.group.ranks, data,
                                              list)
        return found

    def broadcast_bytes(self, data: bytes) -> bytes:
        found: bytes = self._world.meet(self.rank, "control/broadcast", self.group.ranks, data,
                                        lambda given: given[0])
        return found

    def _all_reduce(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        result, op = self._meet("all_reduce", tensor, name, group.ranks,
                                lambda given: _reduced(given, how))
        result.set_shape(tensor.shape)
        return result, op

    def _all_gather(self, tensor: Any, name: str, group: Group) -> Met:
        result, op = self._meet("all_gather", tensor, name, group.ranks, np.concatenate)
        if tensor.shape.ndims is not None:
            result.set_shape([None] + compat.static_shape(tensor)[1:])
        return result, op

    def _reduce_scatter(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        position = group.ranks.index(self.rank)

        def own_rows(total: Any) -> Any:
            first, count = rows_of_member(len(total), position, group.size)
            return total[first:first + count]

        result, op = self._meet("reduce_scatter", tensor, name, group.ranks,
                                lambda given: _reduced(given, how), own_rows)
        shape = compat.static_shape(tensor) if tensor.shape.ndims is not None else None
        if shape and shape[0] is not None:
            shape[0] = rows_of_member(shape[0], position, group.size)[1]
        result.set_shape(shape)
        return result, op

    def _broadcast(self, tensor: Any, name: str, group: Group) -> Met:
        result, op = self._meet("broadcast", tensor, name, group.ranks, lambda given: given[0])
        result.set_shape(tensor.shape)
        return result, op

    def _send(self, tensor: Any, name: str, to: int) -> Met:
        return self._meet("send", tensor, name, _pair(self.rank, to), _the_one)

    def _receive(self, dtype: Any, shape: Any, name: str, source: int) -> Met:
        with tf.control_dependencies(None):
            nothing = tf.zeros([0], dtype)
        result, op = self._meet("receive", nothing, name, _pair(self.rank, source), _the_one,
                                gives=False)
        result.set_shape(shape)
        return result, op

    def _meet(self, kind: str, tensor: Any, name: str, ranks: Tuple[int, ...], join: _Join,
              own: Callable[[Any], Any] = np.array, gives: bool = True) -> Met:
        """Add an operation in which the workers meet; each gets what `own` takes of the whole."""
        def exchange(value: Any) -> Any:
            given = np.array(value) if gives else None
            whole = self._world.meet(self.rank, name, ranks, given, join)
            return np.array(own(whole))

        result = tf.py_func(exchange, [tensor], tensor.dtype.base_dtype, stateful=True, name=kind)
        compat.set_text_attribute(result.op, _KIND, kind)
        return result, result.op


def _pair(one: int, other: int) -> Tuple[int, ...]:
    return tuple(sorted((one, other)))


def _the_one(given: List[Any]) -> Any:
    """What one of two gave, who takes nothing."""
    return next(value for value in given if value is not None)


def _reduced(given: List[Any], how: str) -> Any:
    """The values of all, one after the other in the order of ranks."""
    if len({(value.dtype, value.shape) for value in given}) > 1:
        raise ValueError("the workers give {} to one exchange".format(", ".join(
            "{}{}".format(value.dtype, list(value.shape)) for value in given)))
    operation = {SUM: np.add, MEAN: np.add, MAX: np.maximum}[how]
    total = given[0]
    for value in given[1:]:
        total = operation(total, value)
    if how != MEAN:
        return total
    return (total / len(given)).astype(total.dtype) if total.dtype.kind in "iu" \
        else total * total.dtype.type(1.0 / len(given))
