# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small exchanges between the workers' Python code, outside the user's graph.

They run in a graph and a session of their own, so they work whatever state the user's are in
(finalized, closed, not yet built).
"""

import struct
import threading
import time
from typing import Any, List, Optional, Sequence, cast

import numpy as np
import tensorflow.compat.v1 as tf

from epl.communicators import horovod_backend
from epl.context import Context
from epl.errors import ConfigError, WorkerLostError
from epl.runtime import progress, stop, values

# How long a worker that lost the connection lets the one that caused it end before it ends itself.
PRECEDENCE_SECONDS = 1.0

_LENGTH = struct.Struct("<q")
_MAX_BYTES = 1 << 40


def of(context: Context) -> "ControlPlane":
    """That of the worker of `context`, made on first use."""
    worker = context.worker
    if worker.control_plane is None:
        worker.control_plane = ControlPlane()
    return cast(ControlPlane, worker.control_plane)


class ControlPlane:
    """Exchanges that every worker has to enter; `of` gives a worker's."""

    def __init__(self) -> None:
        with tf.Graph().as_default() as graph, tf.device("/cpu:0"):
            self._numbers = tf.placeholder(tf.int64, [None])
            self._maximum = horovod_backend.all_reduce_max(self._numbers, "epl/control/maximum")
            self._bytes = tf.placeholder(tf.uint8, [None])
            self._gathered = horovod_backend.all_gather(self._bytes, "epl/control/gather")
            self._broadcast = horovod_backend.broadcast(self._bytes, "epl/control/broadcast")
        config = tf.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1,
                                inter_op_parallelism_threads=1, use_per_session_threads=True)
        self._session = tf.Session(graph=graph, config=config)

    def maximum(self, numbers: Sequence[int]) -> List[int]:
        """Element-wise maximum of `numbers` (64-bit integers) over all workers."""
        found = self._run(self._maximum, self._numbers, np.array(numbers, np.int64))
        return [int(number) for number in found]

    def gather(self, value: Any) -> List[Any]:
        """The `value` of every worker, plain data (see `values`), in the order of workers."""
        payload = values.encode(value)
        sized = _as_array(_LENGTH.pack(len(payload)) + payload)
        return _split_values(self._run(self._gathered, self._bytes, sized).tobytes())

    def from_chief(self, value: Any) -> Any:
        """The chief's `value`, plain data; what other workers pass is ignored."""
        payload = values.encode(value)
        length = self._run(self._broadcast, self._bytes, _as_array(_LENGTH.pack(len(payload))))
        size = _LENGTH.unpack(length.tobytes())[0]
        if not 0 <= size <= _MAX_BYTES:
            raise _no_value("the chief", "{} bytes".format(size))
        own = _as_array(payload) if size == len(payload) else np.zeros(size, np.uint8)
        data = self._run(self._broadcast, self._bytes, own).tobytes()
        try:
            return values.decode(data)
        except ValueError as error:
            raise _no_value("the chief", error) from None

    def maximum_within(self, numbers: Sequence[int], seconds: float) -> Optional[List[int]]:
        """As `maximum`, or None if the other workers do not come within `seconds`."""
        deadline = time.monotonic() + seconds
        exchange = _Exchange(self._session, self._maximum, self._numbers, numbers)
        exchange.join(seconds)
        if exchange.lost:
            progress.connection_lost()
            _sleep(deadline - time.monotonic())
        return exchange.found

    def last_maximum(self, numbers: Sequence[int], seconds: float) -> Optional[List[int]]:
        """As `maximum_within`, when the process is about to end; None also if a worker has ended.

        If the others do not come the connection is closed: no thread may be left in TensorFlow.
        """
        exchange = _Exchange(self._session, self._maximum, self._numbers, numbers)
        exchange.join(seconds)
        if exchange.is_alive():
            horovod_backend.disconnect()
            exchange.join()
        return exchange.found

    def _run(self, fetch: Any, placeholder: Any, value: Any) -> Any:
        try:
            return self._session.run(fetch, {placeholder: value})
        except tf.errors.OpError as error:
            # Another type than TensorFlow's, whose recovery loops would retry for ever.
            progress.connection_lost()
            give_precedence()
            raise WorkerLostError(
                "the connection to the other workers is lost: another worker has ended, or its "
                "script has come to its end ({})".format(_reason(error))) from None


class _Exchange(threading.Thread):
    """A run that another thread does not wait for, or not for ever.

    Attributes:
      found: its result, or None.
      lost: it failed because another worker is gone.
    """

    def __init__(self, session: Any, fetch: Any, placeholder: Any, numbers: Sequence[int]):
        super().__init__(name="epl-exchange", daemon=True)
        self._work = session, fetch, {placeholder: np.array(numbers, np.int64)}
        self.found: Optional[List[int]] = None
        self.lost = False
        self.start()

    def run(self) -> None:
        session, fetch, feed = self._work
        try:
            self.found = [int(number) for number in session.run(fetch, feed)]
        except tf.errors.OpError:
            self.lost = True


def give_precedence() -> None:
    """The worker that went first knows the cause: it gets the time to end first, and be reported.

    After SIGTERM the cause is known already.
    """
    _sleep(PRECEDENCE_SECONDS)


def _sleep(seconds: float) -> None:
    with stop.ended_at_once():
        # Asked only now: a SIGTERM that came before was still a wish, a later one ends the process.
        if not stop.sigterm_came():
            time.sleep(max(0.0, seconds))


def _reason(error: tf.errors.OpError) -> str:
    """The line in which Horovod says what happened; TensorFlow may put others around it."""
    lines = error.message.splitlines() or [""]
    return next((line.strip() for line in lines if "Horovod has" in line), lines[0])


def _as_array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


def _split_values(data: bytes) -> List[Any]:
    found: List[Any] = []
    position = 0
    while position < len(data):
        try:
            length, = _LENGTH.unpack_from(data, position)
            begin, position = position + _LENGTH.size, position + _LENGTH.size + max(0, length)
            found.append(values.decode(data[begin:position]))
        except (ValueError, struct.error) as error:
            raise _no_value("worker {}".format(len(found)), error) from None
    return found


def _no_value(who: str, why: Any) -> ConfigError:
    return ConfigError("what {} sent cannot be read ({}); start all workers with one version of "
                       "EPL".format(who, why))
