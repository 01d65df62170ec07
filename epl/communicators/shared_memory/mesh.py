# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Connections between all pairs of workers of a machine, over which they say what they have ready.

    worker 0 ---- worker 1        to an exchange a worker gives some bytes,
          \\      /               and gets those of all who take part
          worker 2

Exchanges have names. Any number of them may be under way in a process, each in a thread of its own:
one of these reads for all, the others wait for what it finds, so between two workers that wait for
each other there is one way of a small packet and nobody else to wake.

A worker that is gone has closed its connections. One that is stopped has not: who waits for long
looks at its process, and does not wait for ever.
"""

import collections
import os
import select
import socket
import struct
import threading
import time
import weakref
from typing import Callable, Deque, Dict, List, Optional, Tuple

from epl.communicators.base import Disconnected
from epl.communicators.handshake import CONNECT_S, Listener, Place, connect

LOOK_EVERY_S = 1.0  # while others do not come
_READ = 1 << 16  # bytes at a time

_HEAD = struct.Struct("<II")  # bytes of the name, and of what follows it

_meshes: "weakref.WeakSet[Mesh]" = weakref.WeakSet()


class Mesh:
    """The connections of one worker.

    Args:
      rank: this worker's.
      connections: rank -> the connection to that worker, for all others.
      look: called now and then while others do not come; returns why they never will, or "".
    """

    def __init__(self, rank: int, connections: Dict[int, socket.socket],
                 look: Callable[[], str] = lambda: ""):
        self._rank, self._look = rank, look
        self._peers = {c.fileno(): _Peer(r, c) for r, c in connections.items()}
        self._to = {peer.rank: peer for peer in self._peers.values()}
        self._poll = select.poll()
        for peer in self._peers:
            self._poll.register(peer, select.POLLIN)
        self._changed = threading.Condition()
        self._is_read = False  # by one of the threads that wait
        self._came: Dict[bytes, Dict[int, Deque[bytes]]] = {}
        self.lost = ""  # why no exchange can succeed any more
        self.has_failed = False  # an exchange of this worker has, for that
        _meshes.add(self)

    def exchange(self, name: str, ranks: Tuple[int, ...], data: bytes,
                 seconds: Optional[float] = None) -> Optional[List[bytes]]:
        """Give `data`, and get what all of `ranks` give, in their order.

        Args:
          name: of the exchange. The k-th time that a worker comes to it, it meets those who come
            for the k-th time; in a process one at a time.
          ranks: who takes part, this worker among them.
          data: what this worker gives; some hundred bytes, as nobody reads while all write.
          seconds: how long to wait; None: as long as the others are there.

        Returns:
          None if not all came in time; then there is no further exchange of this name.

        Raises:
          Disconnected: a worker is gone.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        key = "{} {}".format(",".join(map(str, ranks)), name).encode()
        message = _HEAD.pack(len(key), len(data)) + key + data
        others = [rank for rank in ranks if rank != self._rank]
        try:
            for rank in others:
                self._to[rank].send(message)
            found = self._received(key, others, deadline)
        except Disconnected as error:
            self.has_failed = True
            self._end(str(error))
            raise
        except BaseException:  # a signal's: an answer that comes later would be taken for the next
            self.close("an exchange was interrupted")
            raise
        if found is not None:
            found[self._rank] = data
        return None if found is None else [found[rank] for rank in ranks]

    def close(self, why: str = "this worker has left") -> None:
        """Let the others' exchanges end."""
        self._end(why)
        for peer in self._peers.values():
            peer.close()

    def forget(self) -> None:
        """Close the files, not the connections: those are the parent's."""
        self.lost = self.lost or "this process is not the worker"
        for peer in self._peers.values():
            peer.connection.close()

    def _end(self, why: str) -> None:
        with self._changed:
            self.lost = self.lost or why
            self._changed.notify_all()

    def _received(self, key: bytes, others: List[int],
                  deadline: Optional[float]) -> Optional[Dict[int, bytes]]:
        """One message of each of `others`, when all are there; None: not in time."""
        while True:
            with self._changed:
                came = self._came.setdefault(key, {})
                if all(came.get(rank) for rank in others):
                    return {rank: came[rank].popleft() for rank in others}
                if self.lost:
                    raise Disconnected(self.lost)
                left = LOOK_EVERY_S if deadline is None else deadline - time.monotonic()
                if left <= 0.0:
                    return None
                if self._is_read:
                    self._changed.wait(left)
                    continue
                self._is_read = True
            try:
                self._read(min(left, LOOK_EVERY_S))
            finally:
                with self._changed:
                    self._is_read = False
                    self._changed.notify_all()

    def _read(self, seconds: float) -> None:
        """Wait until something has come, and sort it; called in one thread at a time."""
        ready = self._poll.poll(1000.0 * seconds)
        why = "" if ready else self._look()
        for file, _ in ready:
            peer = self._peers[file]
            for key, data in peer.read():
                with self._changed:
                    self._came.setdefault(key, {}).setdefault(
                        peer.rank, collections.deque()).append(data)
            if peer.is_gone:
                self._poll.unregister(file)
                why = why or "worker {} has ended".format(peer.rank)
        if why:
            self._end(why)


class _Peer:
    """The connection to another worker, and what has come of its next message."""

    def __init__(self, rank: int, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rank, self.connection, self.is_gone = rank, connection, False
        self._sending = threading.Lock()
        self._data = b""

    def send(self, message: bytes) -> None:
        """Give it a whole message.

        Raises:
          Disconnected: it is gone.
        """
        try:
            with self._sending:
                self.connection.sendall(message, socket.MSG_NOSIGNAL)
        except OSError:
            raise Disconnected("worker {} has ended".format(self.rank)) from None

    def read(self) -> List[Tuple[bytes, bytes]]:
        """(name, what is given) of the messages that are complete by now."""
        try:
            data = self.connection.recv(_READ, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        self.is_gone = not data
        self._data += data
        found, begin = [], 0
        while len(self._data) - begin >= _HEAD.size:
            named, given = _HEAD.unpack_from(self._data, begin)
            first = begin + _HEAD.size + named
            if len(self._data) < first + given:
                break
            found.append((self._data[first - named:first], self._data[first:first + given]))
            begin = first + given
        self._data = self._data[begin:]
        return found

    def close(self) -> None:
        """Also where a child of this process has it too."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was first


class Watch:
    """Looks whether others that do not come have been stopped by a signal.

    Args:
      processes: rank -> number of its process, of the others.
      patience: for how many seconds one may be stopped while somebody waits.
    """

    def __init__(self, processes: Dict[int, int], patience: float):
        self._processes, self._patience = processes, patience
        # By looks, not by the clock: while this process is stopped itself it looks at nobody.
        self._looks = dict.fromkeys(processes, 0)

    def look(self) -> str:
        """Why there is nobody to wait for, or ""; called every LOOK_EVERY_S."""
        for rank, process in self._processes.items():
            self._looks[rank] = self._looks[rank] + 1 if _is_stopped(process) else 0
            if self._looks[rank] * LOOK_EVERY_S > self._patience:
                return "worker {} has been stopped for {:g} s".format(rank, self._patience)
        return ""


def _is_stopped(process: int) -> bool:
    try:
        with open("/proc/{}/stat".format(process)) as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def connections_of(rank: int, size: int, listener: Listener, places: List[Place],
                   seconds: float = CONNECT_S) -> Optional[Dict[int, socket.socket]]:
    """This worker's connections to all others, who make theirs at the same time.

    Args:
      rank: this worker's.
      size: how many there are.
      listener: this worker's; those of higher ranks come there.
      places: where all workers listen, in the order of ranks.
      seconds: how long to wait for them.

    Returns:
      rank -> connection; None if there is none to one of them.
    """
    found: Dict[int, socket.socket] = {}
    for other in range(rank):
        made = connect(places[other], rank, seconds)
        if made is not None:
            found[other] = made
    found.update(listener.connections(range(rank + 1, size), seconds))
    if len(found) == size - 1:
        return found
    for connection in found.values():
        connection.close()
    return None


def _forget_all() -> None:
    """A forked child is not the worker, and holds none of its connections open."""
    for mesh in list(_meshes):
        mesh.forget()


os.register_at_fork(after_in_child=_forget_all)
