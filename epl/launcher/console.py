# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The launcher's own stdout and stderr, which a slow reader must not turn into a brake."""

import collections
import os
import select
import threading
import time
from typing import Deque, Mapping

_BUFFER_BYTES = 16 * 1024 * 1024
_OWN_BYTES = 1024 * 1024  # beyond the buffer, for the launcher's own lines
_CHUNK_BYTES = 64 * 1024
# At the end: how long a reader may do nothing, and how long it may take altogether.
_IDLE_S = 2.0
_LAST_WAIT_S = 30.0


class Console:
    """A file descriptor of the launcher that a person, or a pipe, reads.

    A thread writes, so that nobody waits for the reader. What a slow reader leaves behind is
    buffered up to a limit; lines beyond it are dropped, and counted in a line that says so.
    When the reader is gone, everything is dropped: the job and its log files go on.

    Args:
      fd: file descriptor to write to.
      limit: bytes that may wait.
    """

    def __init__(self, fd: int, limit: int = _BUFFER_BYTES):
        self._fd = fd
        self._limit = limit
        self._waiting: Deque[bytes] = collections.deque()
        self._size = 0  # bytes waiting or being written
        self._written = 0
        self._dropped = 0
        self._open = True
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, daemon=True)

    def is_terminal(self) -> bool:
        return os.isatty(self._fd)

    def write(self, lines: bytes) -> None:
        """Write whole lines, now or later; never waits."""
        if not lines:
            return
        with self._news:
            if self._size + len(lines) > self._limit:
                self._dropped += lines.count(b"\n")
                return
            self._note_dropped()
            self._append(lines)

    def say(self, text: str) -> None:
        """Write lines of the launcher's own."""
        data = (text + "\n").encode("utf-8", "replace")
        with self._news:
            self._note_dropped()
            if self._size + len(data) <= self._limit + _OWN_BYTES:
                self._append(data)

    def flush(self, idle: float = _IDLE_S, total: float = _LAST_WAIT_S) -> None:
        """Wait until everything is written, or the reader does nothing for `idle` seconds."""
        end = time.monotonic() + total
        with self._news:
            self._note_dropped()
            while self._size and self._open and time.monotonic() < end:
                before = self._written
                self._news.wait(timeout=idle)
                if self._written == before and self._size:
                    return

    def _note_dropped(self) -> None:
        if self._dropped:
            note = "epl-launch: {} line(s) not shown, their reader is too slow; the logs have " \
                   "them\n".format(self._dropped).encode("ascii")
            self._dropped = 0
            self._append(note)

    def _append(self, data: bytes) -> None:
        if not self._open:
            return
        if not self._thread.ident:
            self._thread.start()
        self._waiting.append(data)
        self._size += len(data)
        self._news.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting)
                batch = [self._waiting.popleft()]
                size = len(batch[0])
                while self._waiting and size < _CHUNK_BYTES:
                    batch.append(self._waiting.popleft())
                    size += len(batch[-1])
            if not self._write(memoryview(b"".join(batch))):
                with self._news:
                    self._open, self._size = False, 0
                    self._waiting.clear()
                    self._news.notify_all()
                return

    def _write(self, view: memoryview) -> bool:
        """Write to the descriptor; False when nobody reads it any more."""
        while view:
            try:
                count = os.write(self._fd, view)
            except BlockingIOError:
                select.select([], [self._fd], [])
                continue
            except OSError:
                return False
            view = view[count:]
            with self._news:
                self._size -= count
                self._written += count
                self._news.notify_all()
        return True


def wants_colour(console: Console, environ: Mapping[str, str]) -> bool:
    """Whether escape sequences for colours may be written."""
    return (console.is_terminal() and not environ.get("NO_COLOR")
            and environ.get("TERM", "dumb") != "dumb")
