# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""TCP between the workers: what their Python code exchanges, and the news that one is gone.

    worker 1 --+
    worker 2 --+--> worker 0, the hub: has what all give, sends all of it back to all
    worker 3 --+

A connection that ends is the news, and so is one from which nothing comes, not even the beat that
every process sends each second: it is stopped, or its machine is gone. The hub passes it on, so
every worker has it within milliseconds, whatever it is doing: a thread per connection reads. Who
knows the secret of the job's rendezvous may connect (`handshake`).
"""

import collections
import contextlib
import os
import socket
import struct
import threading
import time
from typing import Callable, Deque, Dict, List, Optional

from epl.communicators import handshake
from epl.communicators.base import Disconnected
from epl.communicators.horovod import arrival
from epl.communicators.place import Place, own_address, store_of
from epl.errors import WorkerLostError

JOIN_S = 60.0  # all workers are there already, see `arrival`
_ADDRESS = "links"
_PAUSE_S = 0.02

_FRAME = struct.Struct("<BQ")  # kind, length
_LENGTH = struct.Struct("<Q")
_DATA, _LOST, _BYE, _BEAT = 1, 2, 3, 4

_BEAT_S = 1.0
_LONGEST_PAUSE_S = 3.0 * _BEAT_S  # between two looks; after a longer one it was we who were stopped


class Links:
    """The connections of one worker.

    Args:
      peers: rank -> connected socket: of the hub those to all others, else that to the hub.
      place: this worker.
      lost: called once, in another thread, with what is known of the first worker that is gone.
    """

    def __init__(self, peers: Dict[int, socket.socket], place: Place,
                 lost: Callable[[str], None]):
        self._peers, self._place, self._on_lost = peers, place, lost
        self._changed = threading.Condition()
        self._sending = threading.RLock()
        self._inbox: Dict[int, Deque[bytes]] = {rank: collections.deque() for rank in peers}
        self._lost = ""
        self._closed = False
        self._heard = dict.fromkeys(peers, time.monotonic())
        threading.Thread(target=self._beat, daemon=True, name="epl-link-beat").start()
        for rank, peer in peers.items():
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._read, args=(rank, peer), daemon=True,
                             name="epl-link-{}".format(rank)).start()
        # A copy of this process would hold the connections open when the worker has ended.
        os.register_at_fork(after_in_child=self._drop)

    @property
    def lost(self) -> str:
        """Why no exchange can succeed any more, in words; "" as long as one can."""
        return self._lost

    def exchange(self, data: bytes, seconds: Optional[float] = None) -> Optional[List[bytes]]:
        """Give `data` and get what all give, in the order of ranks; None: not in time.

        Raises:
          Disconnected: a worker is gone.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        if self._place.rank != 0:
            self._send(0, _DATA, data)
            found = self._take([0], deadline)
            return None if found is None else _split(found[0])
        others = self._take(sorted(self._peers), deadline)
        if others is None:
            return None
        every = [data] + others
        self._send_all(_DATA, b"".join(_LENGTH.pack(len(one)) + one for one in every))
        return every

    def broadcast(self, data: bytes) -> bytes:
        """What worker 0 gives.

        Raises:
          Disconnected: a worker is gone.
        """
        if self._place.rank == 0:
            if self._lost:
                raise Disconnected(self._lost)
            self._send_all(_DATA, data)
            return data
        found = self._take([0], None)
        assert found is not None  # there was no limit in time
        return found[0]

    def close(self) -> None:
        """Leave the others; they are told."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._lost = self._lost or "this worker has left"
            self._changed.notify_all()
        with contextlib.suppress(Disconnected):
            self._send_all(_BYE, b"")
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()

    def _take(self, ranks: List[int], deadline: Optional[float]) -> Optional[List[bytes]]:
        """One message of each of `ranks`, when all are there; what came before a loss counts."""
        with self._changed:
            def there() -> bool:
                return all(self._inbox[rank] for rank in ranks)

            limit = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._changed.wait_for(lambda: there() or bool(self._lost), limit)
            if there():
                return [self._inbox[rank].popleft() for rank in ranks]
            if self._lost:
                raise Disconnected(self._lost)
            return None

    def _send_all(self, kind: int, data: bytes) -> None:
        with self._sending:  # the news of a loss must not come before a result that was there first
            for rank in sorted(self._peers):
                self._send(rank, kind, data)

    def _send(self, rank: int, kind: int, data: bytes) -> None:
        try:
            with self._sending:
                for part in (_FRAME.pack(kind, len(data)), data):
                    # TensorFlow 1.15 may have let SIGPIPE end the process.
                    self._peers[rank].sendall(part, socket.MSG_NOSIGNAL)
        except OSError:
            if kind in (_DATA, _BEAT) and rank == 0:
                self._note("worker 0 has ended")
                raise Disconnected(self._lost) from None
            # Its reader notices, and says so to all.

    def _read(self, rank: int, peer: socket.socket) -> None:
        """What comes from a peer, until it is gone."""
        why = "worker {} has ended".format(rank)
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, length = _FRAME.unpack(self._heard_of(rank, peer, _FRAME.size))
                data = self._heard_of(rank, peer, length)
                if kind == _BEAT:
                    continue
                if kind == _DATA:
                    with self._changed:
                        self._inbox[rank].append(data)
                        self._changed.notify_all()
                else:
                    why = data.decode() or "worker {} has left the job".format(rank)
                    break
        self._note(why)

    def _heard_of(self, rank: int, peer: socket.socket, length: int) -> bytes:
        def heard() -> None:
            self._heard[rank] = time.monotonic()

        return _received(peer, length, heard)

    def _beat(self) -> None:
        """Let the others hear of this worker, and listen for them."""
        looked = time.monotonic()
        while not self._lost:
            time.sleep(_BEAT_S)
            if self._sending.acquire(blocking=False):
                try:
                    self._send_all(_BEAT, b"")
                except Disconnected:
                    return
                finally:
                    self._sending.release()
            now = time.monotonic()
            if now - looked > _LONGEST_PAUSE_S:
                self._heard = dict.fromkeys(self._heard, now)
            looked = now
            for rank, heard in sorted(self._heard.items()):
                if now - heard > self._place.patience:
                    self._note("worker {} has been silent for {:g} s".format(
                        rank, self._place.patience))

    def _note(self, why: str) -> None:
        """A worker is gone: tell those who cannot know."""
        with self._changed:
            first = not self._lost
            if first:
                self._lost = why
            self._changed.notify_all()
        if first:
            self._on_lost(why)  # first, as who is stopped may hold up what is sent
            if self._place.rank == 0:
                self._send_all(_LOST, why.encode())

    def _drop(self) -> None:
        for peer in self._peers.values():
            peer.close()


def join(place: Place, lost: Callable[[str], None]) -> Links:
    """Connect with the other workers, all of which are about to do so.

    Raises:
      WorkerLostError: one of them did not.
    """
    store = store_of(place)
    peers = _accept(place, store, JOIN_S) if place.rank == 0 else {
        0: _connect(place, store, JOIN_S)}
    return Links(peers, place, lost)


def _accept(place: Place, store: arrival.Store, seconds: float) -> Dict[int, socket.socket]:
    """The hub's side of `join`."""
    listener = handshake.Listener(own_address(place.meeting), place.meeting.secret)
    store.put(_ADDRESS, "{}:{}".format(*listener.place[:2]).encode())
    peers = listener.connections(range(1, place.size), seconds)
    missing = sorted(set(range(1, place.size)) - set(peers))
    if missing:
        for peer in peers.values():
            peer.close()
        raise WorkerLostError("worker {} did not connect with worker 0 in {:g} s".format(
            ", ".join(map(str, missing)), seconds))
    return peers


def _connect(place: Place, store: arrival.Store, seconds: float) -> socket.socket:
    """The other workers' side of `join`."""
    deadline = time.monotonic() + seconds
    while True:
        address = store.get(_ADDRESS)
        if address:
            host, _, port = address.decode().rpartition(":")
            peer = handshake.connect(
                handshake.Place(host, int(port), place.meeting.secret), place.rank)
            if peer is not None:
                return peer
        if time.monotonic() > deadline:
            raise WorkerLostError("worker 0 was not there to connect with in {:g} s".format(
                seconds))
        time.sleep(_PAUSE_S)


def _received(peer: socket.socket, length: int,
              heard: Callable[[], None] = lambda: None) -> bytes:
    """The next `length` bytes. Raises EOFError if the connection ends before."""
    data = bytearray(length)
    view, position = memoryview(data), 0
    while position < length:
        count = peer.recv_into(view[position:])
        if not count:
            raise EOFError()
        heard()
        position += count
    return bytes(data)


def _split(data: bytes) -> List[bytes]:
    found, position = [], 0
    while position < len(data):
        length, = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        found.append(data[position:position + length])
        position += length
    return found

