# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The key-value store behind the rendezvous: HTTP as Horovod's client speaks it, and no more.

    PUT    /<secret>[:...]/<scope>/<key>     keeps the body
    GET    /<secret>[:...]/<scope>/<key>     returns it, or 404
    DELETE /<secret>[:...]/<scope>/<key>     worker <key> has done with <scope>

Who does not know the secret gets 403, whatever it asks for. Sizes are bounded, and so is the number
of those who are served at once. Values are kept in memory; no file is read or written.
"""

import http.server
import re
import selectors
import socket
import socketserver
import threading
from typing import Any, Dict, Mapping, NamedTuple, Optional, Set, Tuple

from epl.shared import secret as secrets

MAX_VALUE_BYTES = 1 << 20  # the addresses of one worker's sockets take some 70 bytes per worker
MAX_STORE_BYTES = 256 << 20
_MAX_NAME = 256
_MAX_SERVED = 512
_REQUEST_S = 10.0
_LENGTH = re.compile(r"[0-9]{1,10}")


class Place(NamedTuple):
    """Where a value is kept."""

    scope: str
    key: str


class Values:
    """What is kept, for several threads.

    Args:
      sizes: scope -> how many workers use it. It is emptied when they have done with it, so that
        they can meet in it again; in other scopes each takes away its own.
    """

    def __init__(self, sizes: Mapping[str, int]):
        self._sizes = dict(sizes)
        self._lock = threading.Lock()
        self._values: Dict[Place, bytes] = {}
        self._bytes = 0
        self._done: Dict[str, Set[str]] = {}

    def get(self, place: Place) -> Optional[bytes]:
        with self._lock:
            return self._values.get(place)

    def put(self, place: Place, value: bytes) -> bool:
        """Keep `value`; False if there is no room."""
        with self._lock:
            before = self._values.get(place)
            size = len(value) + (len(place.scope) + len(place.key) if before is None
                                 else -len(before))
            if self._bytes + size > MAX_STORE_BYTES:
                return False
            self._values[place] = value
            self._bytes += size
            return True

    def done(self, place: Place) -> None:
        """Worker `place.key` has done with the scope."""
        with self._lock:
            gone = [place]
            if place.scope in self._sizes:
                done = self._done.setdefault(place.scope, set())
                done.add(place.key)
                if len(done) < self._sizes[place.scope]:
                    return
                del self._done[place.scope]
                gone = [p for p in self._values if p.scope == place.scope]
            for each in gone:
                value = self._values.pop(each, None)
                if value is not None:
                    self._bytes -= len(value) + len(each.scope) + len(each.key)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    timeout = _REQUEST_S
    server: "Server"

    def do_GET(self) -> None:
        place = self._place()
        if place is not None:
            value = self.server.values.get(place)
            self._answer(404 if value is None else 200, value or b"")

    def do_PUT(self) -> None:
        place = self._place()
        if place is None:
            return
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.fullmatch(length):
            self._answer(411)
        elif int(length) > MAX_VALUE_BYTES:
            self._answer(413)
        else:
            value = self.rfile.read(int(length))
            whole = len(value) == int(length)
            kept = whole and self.server.values.put(place, value)
            self._answer(200 if kept else 507 if whole else 400)

    def do_DELETE(self) -> None:
        place = self._place()
        if place is not None:
            self.server.values.done(place)
            self._answer(200)

    def send_error(self, code: int, message: Optional[str] = None,
                   explain: Optional[str] = None) -> None:
        """What is no request is answered in a number, not in a page that quotes it."""
        self._answer(code)

    def version_string(self) -> str:
        return "epl"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _place(self) -> Optional[Place]:
        """Where the request leads; None if it was answered already."""
        parts = self.path.split("/")
        known = len(parts) > 1 and secrets.equal(parts[1].split(":")[0], self.server.secret)
        if not known:
            self._answer(403)
        elif len(parts) != 4 or not all(0 < len(part) <= _MAX_NAME for part in parts[2:]):
            self._answer(400)
        else:
            return Place(parts[2], parts[3])
        return None

    def _answer(self, code: int, value: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves in a thread of its own until `stop`.

    Args:
      address: host ("": all addresses of this machine) and port (0: any free one).
      secret: what requests have to name.
      sizes: as for `Values`.

    Raises:
      OSError: it cannot listen there.
    """

    daemon_threads = True  # a client that hangs must not keep the launcher alive
    allow_reuse_address = True
    request_queue_size = 128  # all workers connect at once; the default of 5 drops some

    def __init__(self, address: Tuple[str, int], secret: str, sizes: Mapping[str, int]):
        super().__init__(address, Handler)
        self.secret = secret
        self.values = Values(sizes)
        self.timeout = 0  # of `handle_request`, which is called when there is one
        self._served = threading.BoundedSemaphore(_MAX_SERVED)
        self._end, self._until = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.close()
        self._thread.join()
        self._until.close()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._served.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)  # Horovod's client tries again

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._served.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or sent no HTTP, is its own affair."""

    def _serve(self) -> None:
        """Until `stop`, which `serve_forever` would notice only at its next look."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._until, selectors.EVENT_READ)
            while self._until not in [key.fileobj for key, _ in selector.select()]:
                self.handle_request()
