# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How the workers' own connections to worker 0 are made, and who is let in.

Worker 0 listens, at one address, until all are there. Both sides prove that they have a secret:

    worker 0                                                 worker r
      | -- number a ------------------------------------------> |
      | <- r, number b, HMAC(secret, "worker", r, a, b) ------- |
      | -- HMAC(secret, "chief", r, a, b) --------------------> |

Afterwards nobody listens any more. Whoever proves nothing makes nobody wait.
"""

import select
import socket
import struct
import time
from typing import Any, Dict, Iterable, NamedTuple, Optional

from epl.shared import secret as secrets

CONNECT_S = 10.0  # for the connections of all workers together

_NUMBER_BYTES, _PROOF_BYTES = 32, 64  # hexadecimal
_HELLO = struct.Struct("<I{}s{}s".format(_NUMBER_BYTES, _PROOF_BYTES))
_MOST_STRANGERS = 64  # connections at a time that have not proven anything


class Place(NamedTuple):
    """Where worker 0 listens.

    Attributes:
      host: address.
      port: of TCP.
      secret: what both sides have to know.
    """

    host: str
    port: int
    secret: str


class Listener:
    """Worker 0's side.

    Args:
      host: the address at which the others reach it; it listens there alone.
      secret: what both sides have to know; "": one is drawn.

    Raises:
      OSError: it cannot listen there.
    """

    def __init__(self, host: str, secret: str = ""):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind((host, 0))
            self._socket.listen(128)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise
        self.place = Place(host, self._socket.getsockname()[1], secret or secrets.draw())

    def connections(self, ranks: Iterable[int],
                    seconds: float = CONNECT_S) -> Dict[int, socket.socket]:
        """rank -> the connection to that worker, of all of `ranks` that come in time.

        Nobody listens afterwards.
        """
        expected = frozenset(ranks)
        deadline = time.monotonic() + seconds
        known: Dict[int, socket.socket] = {}
        strangers: Dict[int, _Stranger] = {}
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        with self._socket:
            while len(known) < len(expected) and time.monotonic() < deadline:
                for file, _ in poll.poll(1000.0 * max(0.0, deadline - time.monotonic())):
                    if file == self._socket.fileno():
                        stranger = self._accepted(len(strangers) < _MOST_STRANGERS + len(expected))
                        if stranger is not None:
                            strangers[stranger.connection.fileno()] = stranger
                            poll.register(stranger.connection, select.POLLIN)
                        continue
                    done = strangers[file].hear(self.place.secret)
                    if done is None:
                        continue
                    poll.unregister(file)
                    stranger = strangers.pop(file)
                    if done in known or done not in expected:
                        stranger.connection.close()
                    else:
                        stranger.connection.setblocking(True)
                        known[done] = stranger.connection
        for stranger in strangers.values():
            stranger.connection.close()
        return known

    def _accepted(self, has_room: bool) -> "Optional[_Stranger]":
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return None  # it has gone again
        if not has_room:
            connection.close()
            return None
        return _Stranger(connection)


class _Stranger:
    """A connection that has to prove whose it is."""

    def __init__(self, connection: socket.socket):
        connection.setblocking(False)
        self.connection = connection
        self._drawn = secrets.draw()
        self._data = b""
        self._say(self._drawn)

    def hear(self, secret: str) -> Optional[int]:
        """The rank of the worker that it is; -1 for none, None as long as that is not known."""
        try:
            data = self.connection.recv(_HELLO.size - len(self._data))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return -1
        self._data += data
        if not data:
            return -1
        if len(self._data) < _HELLO.size:
            return None
        rank, drawn, proof = _HELLO.unpack(self._data)
        facts = str(rank), self._drawn, drawn.decode("latin-1")
        if not secrets.equal(proof.decode("latin-1"), secrets.proof(secret, "worker", *facts)):
            return -1
        self._say(secrets.proof(secret, "chief", *facts))
        return int(rank)

    def _say(self, text: str) -> None:
        try:
            self.connection.send(text.encode(), socket.MSG_NOSIGNAL)  # far less than there is room
        except OSError:
            pass  # it is gone, as `hear` will notice


def connect(place: Place, rank: int, seconds: float = CONNECT_S) -> Optional[socket.socket]:
    """The connection of worker `rank` to worker 0; None: nobody is there who has the secret."""
    try:
        connection = socket.create_connection((place.host, place.port), seconds)
    except OSError:
        return None
    try:
        connection.settimeout(seconds)
        drawn, own = _exactly(connection, _NUMBER_BYTES), secrets.draw()
        facts = str(rank), drawn, own
        connection.sendall(_HELLO.pack(
            rank, own.encode(), secrets.proof(place.secret, "worker", *facts).encode()))
        answer = _exactly(connection, _PROOF_BYTES)
        if secrets.equal(answer, secrets.proof(place.secret, "chief", *facts)):
            connection.settimeout(None)
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _exactly(connection: Any, size: int) -> str:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return str(data.decode("latin-1"))
