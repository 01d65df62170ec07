# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Exchanges outside of the script's graph, by a communicator's own operations.

They run in a graph and a session of their own, so they work whatever state the script's are in
(finalized, closed, not yet built).
"""

import struct
import threading
from typing import Any, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl.communicators.base import MAX, Communicator, Disconnected, unreadable

_LENGTH = struct.Struct("<q")
_MAX_BYTES = 1 << 40


class ThroughGraph(Communicator):
    """A communicator whose exchanges in a graph serve the workers' Python code as well."""

    def __init__(self) -> None:
        super().__init__()
        self._own: Optional[_OwnGraph] = None
        self._pending: Optional[_Pending] = None

    def all_reduce_max(self, numbers: Sequence[int],
                       seconds: Optional[float] = None) -> Optional[List[int]]:
        own, array = self._graph, np.array(numbers, np.int64)
        if seconds is None:
            return [int(number) for number in self._run(own.maximum, own.numbers, array)]
        self._pending = _Pending(lambda: self._run(own.maximum, own.numbers, array))
        self._pending.join(seconds)
        if self._pending.lost is not None:
            raise self._pending.lost
        return self._pending.numbers

    def all_gather_bytes(self, data: bytes) -> List[bytes]:
        own, sized = self._graph, _as_array(_LENGTH.pack(len(data)) + data)
        return _split(self._run(own.gathered, own.bytes, sized).tobytes())

    def broadcast_bytes(self, data: bytes) -> bytes:
        own = self._graph
        length = self._run(own.sent, own.bytes, _as_array(_LENGTH.pack(len(data))))
        size = _LENGTH.unpack(length.tobytes())[0]
        if not 0 <= size <= _MAX_BYTES:
            raise unreadable("the chief", "{} bytes".format(size))
        given = _as_array(data) if size == len(data) else np.zeros(size, np.uint8)
        return bytes(self._run(own.sent, own.bytes, given).tobytes())

    def leave(self) -> Optional[List[int]]:
        pending = self._pending
        self.disconnect()
        if pending is None:
            return None
        pending.join()  # no thread may be left in TensorFlow
        return pending.numbers

    def reason(self, message: str) -> str:
        """The line of an error's message that says what happened."""
        return (message.splitlines() or [""])[0]

    @property
    def _graph(self) -> "_OwnGraph":
        if self._own is None:
            self._own = _OwnGraph(self)
        return self._own

    def _run(self, fetch: Any, placeholder: Any, value: Any) -> Any:
        try:
            return self._graph.session.run(fetch, {placeholder: value})
        except tf.errors.OpError as error:
            # Another type than TensorFlow's, whose recovery loops would retry for ever.
            raise Disconnected(self.reason(error.message)) from None


class _OwnGraph:
    """The graph and its session."""

    def __init__(self, communicator: Communicator):
        group = communicator.group
        with tf.Graph().as_default() as graph, tf.device("/cpu:0"):
            self.numbers = tf.placeholder(tf.int64, [None])
            self.maximum, _ = communicator.all_reduce(
                self.numbers, "epl/control/maximum", group, MAX)
            self.bytes = tf.placeholder(tf.uint8, [None])
            self.gathered, _ = communicator.all_gather(self.bytes, "epl/control/gather", group)
            self.sent, _ = communicator.broadcast(self.bytes, "epl/control/broadcast", group)
        config = tf.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1,
                                inter_op_parallelism_threads=1, use_per_session_threads=True)
        self.session = tf.Session(graph=graph, config=config)


class _Pending(threading.Thread):
    """An exchange that another thread does not wait for, or not for ever.

    Attributes:
      found: its result, or None.
      lost: why it failed, or None.
    """

    def __init__(self, exchange: Any):
        super().__init__(name="epl-exchange", daemon=True)
        self._exchange = exchange
        self.found: Any = None
        self.lost: Optional[Disconnected] = None
        self.start()

    @property
    def numbers(self) -> Optional[List[int]]:
        """What was found, if it was."""
        return None if self.found is None else [int(number) for number in self.found]

    def run(self) -> None:
        try:
            self.found = self._exchange()
        except Disconnected as error:
            self.lost = error


def _as_array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


def _split(data: bytes) -> List[bytes]:
    """What workers gave, each behind its length."""
    found: List[bytes] = []
    position = 0
    while position < len(data):
        try:
            length, = _LENGTH.unpack_from(data, position)
        except struct.error as error:
            raise unreadable("worker {}".format(len(found)), error) from None
        begin, position = position + _LENGTH.size, position + _LENGTH.size + max(0, length)
        found.append(data[begin:position])
    return found
