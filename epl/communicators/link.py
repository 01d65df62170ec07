# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A connection of the workers of its own for the few numbers on which they agree before each step.

    worker 1   numbers --+              +--> maximum
    worker 0             +--> maximum --+--> maximum
    worker 2   numbers --+              +--> maximum

Worker 0 is in the middle: it waits for the numbers of all others and answers. That takes two ways
of a small packet, and no time of the processor while somebody waits. Whoever is gone is noticed at
once by worker 0, and by the others when that closes its ends.

The connections are made (`handshake`) while the workers are connected already (see
`through_graph`), by which worker 0 says where it listens. What comes has a fixed form and a bounded
size; what has another ends the connection.
"""

import os
import select
import socket
import struct
import time
import weakref
from typing import Callable, Dict, List, Optional, Sequence

from epl.communicators.base import Disconnected
from epl.communicators.handshake import CONNECT_S, Listener, Place, connect

LOOK_EVERY_S = 5.0  # while others do not come

_HEAD = struct.Struct("<QI")  # how many exchanges there were before, how many numbers come
_NUMBER = "q"

_links: "weakref.WeakSet[Link]" = weakref.WeakSet()


class _Peer:
    """The other end of a connection: what has come of its next message."""

    def __init__(self, connection: socket.socket, rank: int):
        self.connection, self.rank = connection, rank
        self._data = b""

    def receive(self, number: int, count: int) -> Optional[bytes]:
        """The numbers of exchange `number`, if all have come by now.

        Raises:
          Disconnected: the connection is closed, or what comes is something else.
        """
        size = _HEAD.size + struct.calcsize(_NUMBER) * count
        try:
            data = self.connection.recv(size - len(self._data) + 1, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise Disconnected("worker {}: {}".format(self.rank, error.strerror)) from None
        if not data:
            raise Disconnected("worker {} has closed its connection".format(self.rank))
        self._data += data
        if len(self._data) < size:
            return None
        data, self._data = self._data, b""
        if len(data) > size or _HEAD.unpack_from(data) != (number, count):
            raise Disconnected("worker {} came to another exchange".format(self.rank))
        return data[_HEAD.size:]

    def send(self, data: bytes) -> None:
        """Give it a whole message; its end has room for one.

        Raises:
          Disconnected: the connection is closed.
        """
        try:
            while data:
                data = data[self.connection.send(data, socket.MSG_NOSIGNAL):]
        except OSError as error:
            raise Disconnected("worker {}: {}".format(self.rank, error.strerror)) from None


class Link:
    """What connects this worker with worker 0, or worker 0 with all others.

    Args:
      connections: rank of the other end -> the connection.
    """

    def __init__(self, connections: Dict[int, socket.socket]):
        self._peers = {c.fileno(): _Peer(c, rank) for rank, c in connections.items()}
        self._is_chief = 0 not in connections
        self._poll = select.poll()
        self._number = 0  # of exchanges
        self._closed = ""  # why
        for connection in connections.values():
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(connection, select.POLLIN)
        _links.add(self)

    def all_reduce_max(self, numbers: Sequence[int], seconds: Optional[float] = None,
                       look: Callable[[], None] = lambda: None) -> Optional[List[int]]:
        """As that of a `Communicator`. After None there are no further exchanges.

        Args:
          look: called now and then while others do not come; raises Disconnected if they cannot.
        """
        if self._closed:
            raise Disconnected(self._closed)
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            found = self._exchange(list(numbers), deadline, look)
        except Disconnected as error:
            self.close(str(error))
            raise
        except BaseException:  # a signal's: an answer that comes later would be taken for the next
            self.close("an exchange was interrupted")
            raise
        if found is None:
            self._closed = "an exchange was given up"  # the end is open until `close`
        return found

    def close(self, why: str = "this worker has left") -> None:
        """Let the others' exchanges end."""
        self._closed = self._closed or why
        for peer in self._peers.values():
            try:
                peer.connection.shutdown(socket.SHUT_RDWR)  # also where a child has it too
            except OSError:
                pass  # the other end was first
        self.forget()

    def forget(self) -> None:
        """Close the files, not the connections: those are the parent's."""
        self._closed = self._closed or "this process is not the worker"
        for peer in self._peers.values():
            peer.connection.close()
        self._peers = {}

    def _exchange(self, numbers: List[int], deadline: Optional[float],
                  look: Callable[[], None]) -> Optional[List[int]]:
        form = "<{}{}".format(len(numbers), _NUMBER)
        head = _HEAD.pack(self._number, len(numbers))
        if not self._is_chief:
            self._send(head + struct.pack(form, *numbers))
        came = self._receive(len(numbers), deadline, look)
        if came is None:
            return None
        self._number += 1
        every = [struct.unpack(form, data) for data in came]
        if not self._is_chief:
            return list(every[0])
        found = [max(column) for column in zip(numbers, *every)]
        self._send(head + struct.pack(form, *found))
        return found

    def _send(self, data: bytes) -> None:
        for peer in self._peers.values():
            peer.send(data)

    def _receive(self, count: int, deadline: Optional[float],
                 look: Callable[[], None]) -> Optional[List[bytes]]:
        """What all other ends say; None if some do not in time."""
        came: Dict[int, bytes] = {}
        while len(came) < len(self._peers):
            left = LOOK_EVERY_S
            if deadline is not None:
                left = min(left, max(0.0, deadline - time.monotonic()))
            ready = self._poll.poll(1000.0 * left)
            if not ready and left == 0.0:
                return None
            if not ready:
                look()
            for file, _ in ready:
                data = self._peers[file].receive(self._number, count)
                if data is not None:
                    came[file] = data
        return list(came.values())


def _forget_all() -> None:
    """A forked child is not the worker, and holds none of its connections open."""
    for link in list(_links):
        link.forget()


os.register_at_fork(after_in_child=_forget_all)


def accepted(listener: Listener, size: int, seconds: float = CONNECT_S) -> Optional[Link]:
    """Worker 0's link to all other workers; None if not all come in time."""
    connections = listener.connections(range(1, size), seconds)
    if len(connections) == size - 1:
        return Link(connections)
    for connection in connections.values():
        connection.close()
    return None


def joined(place: Place, rank: int, seconds: float = CONNECT_S) -> Optional[Link]:
    """The link of worker `rank` to worker 0; None if there is no way, or another one answers."""
    connection = connect(place, rank, seconds)
    return None if connection is None else Link({0: connection})
