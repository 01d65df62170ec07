# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Exchanges outside of the script's graph, by a communicator's own operations.

They run in a graph and a session of their own, so they work whatever state the script's are in
(finalized, closed, not yet built).

Such an exchange costs a run of a session, and what the operation waits for: for Horovod a cycle of
its thread. Workers agree before every step. So after the first time they connect to each other
directly (`link`), if the communicator knows how they reach each other, and agree over that.

The direct connection does not notice all that the communicator does: a worker that is stopped, a
machine without power. So who has waited there for some seconds enters a *probe*, an exchange of the
communicator, which fails when its connection does. All others enter it behind the next agreement.
"""

import atexit
import contextlib
import queue
import struct
import sys
import threading
from typing import Any, Callable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl.communicators import link
from epl.communicators.base import MAX, Communicator, Disconnected, unreadable
from epl.communicators.handshake import Listener, Place
from epl.typed import made

_LENGTH = struct.Struct("<q")
_MAX_BYTES = 1 << 40


class ThroughGraph(Communicator):
    """A communicator whose exchanges in a graph serve the workers' Python code as well."""

    def __init__(self) -> None:
        super().__init__()
        self._own: Optional[_OwnGraph] = None
        self._pending: Optional[_Pending] = None
        self._in_reserve: Optional[_Pending] = None
        self._link: Optional[link.Link] = None
        self._may_link = True
        self._probe: Optional[_Pending] = None
        self._ends_probe = False

    def connect(self, rank: int, hosts: Sequence[str]) -> None:
        super().connect(rank, hosts)
        self._in_reserve = self._in_reserve or _Pending()

    def reached_at(self) -> Optional[str]:
        """The address of this machine at which all workers reach this one.

        None: there is none, or it is not known; then all exchanges are the communicator's. Asked on
        worker 0 alone.
        """
        return None

    def all_reduce_max(self, numbers: Sequence[int],
                       seconds: Optional[float] = None) -> Optional[List[int]]:
        if self._link is not None:
            return self._over_link(self._link, numbers, seconds)
        # Who waits for a limited time is about to leave: the others connect to nobody that is.
        willing = self._may_link and seconds is None
        found = self._maximum(list(numbers) + [-int(willing)], seconds)
        if found is None:
            return None
        if found.pop() == -1:
            self._may_link = False
            self._link = self._linked()
        return found

    def disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link, self._may_link = None, True

    def _over_link(self, own: link.Link, numbers: Sequence[int],
                   seconds: Optional[float]) -> Optional[List[int]]:
        # A limit in time is that of a worker whose step has failed, or whose script has ended: does
        # the communicator's connection still stand?
        probes = self._probe is not None or seconds is not None
        found = own.all_reduce_max(list(numbers) + [int(probes)], seconds, self._look)
        if found is not None and found.pop():
            probe, self._probe = self._probe or self._begun_probe(), None
            probe.join()
            if probe.lost is not None:
                raise probe.lost
        return found

    def _look(self) -> None:
        """Others have not come for some seconds."""
        if self._probe is None:
            self._probe = self._begun_probe()
        if self._probe.lost is not None:
            raise self._probe.lost

    def _begun_probe(self) -> "_Pending":
        if not self._ends_probe:
            self._ends_probe = True
            atexit.register(self._end_probe)
        return self._begun(lambda: self._run(self._graph.maximum, self._graph.numbers,
                                             np.zeros(1, np.int64)))

    def _end_probe(self) -> None:
        """At the end of the process: no thread may be left in TensorFlow."""
        if self._probe is not None and self._probe.is_alive():
            self.disconnect()
            self._probe.join()

    def _linked(self) -> Optional[link.Link]:
        """The direct connection; None on all workers if one of them cannot have it."""
        listener = None
        if self.rank == 0:
            host = self.reached_at()
            try:
                listener = Listener(host) if host else None
            except OSError as error:
                sys.stderr.write("epl: worker 0 cannot listen at {} ({}); the workers agree "
                                 "through {}, which takes longer\n".format(
                                     host, error.strerror, self.name))
        place = self.broadcast_object(listener and listener.place)
        if place is None:
            return None
        own = link.accepted(listener, self.size) if listener else link.joined(
            made(Place, place), self.rank)
        found = self._maximum([int(own is None)], None)
        if found == [0]:
            return own
        if own is None:
            sys.stderr.write("epl: worker {} has no connection of its own to {}; the workers agree "
                             "through {}, which takes longer\n".format(
                                 self.rank, "worker 0" if self.rank else "all others", self.name))
        else:
            own.close()
        return None

    def _begun(self, exchange: Callable[[], Any]) -> "_Pending":
        pending, self._in_reserve = self._in_reserve or _Pending(), None
        # When the script has ended, Python 3.12 and later start none: the one at hand is the last.
        with contextlib.suppress(RuntimeError):
            self._in_reserve = _Pending()
        return pending.begin(exchange)

    def _maximum(self, numbers: Sequence[int], seconds: Optional[float]) -> Optional[List[int]]:
        own, array = self._graph, np.array(numbers, np.int64)
        if seconds is None:
            return [int(number) for number in self._run(own.maximum, own.numbers, array)]
        self._pending = self._begun(lambda: self._run(own.maximum, own.numbers, array))
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
        pending = self._pending or self._probe
        self.disconnect()
        if pending is None:
            return None
        pending.join()  # no thread may be left in TensorFlow
        return None if self._pending is None else self._pending.numbers

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
    """A thread for an exchange that another one does not wait for, or not for ever.

    Attributes:
      found: its result, or None.
      lost: why it failed, or None.
    """

    def __init__(self) -> None:
        super().__init__(name="epl-exchange", daemon=True)
        self._exchange: Any = queue.Queue()
        self.found: Any = None
        self.lost: Optional[Disconnected] = None
        self.start()

    def begin(self, exchange: Callable[[], Any]) -> "_Pending":
        self._exchange.put(exchange)
        return self

    @property
    def numbers(self) -> Optional[List[int]]:
        """What was found, if it was."""
        return None if self.found is None else [int(number) for number in self.found]

    def run(self) -> None:
        exchange = self._exchange.get()
        try:
            self.found = exchange()
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
