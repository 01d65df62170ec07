# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lines for people out of the bytes that a program writes."""

from typing import List

MAX_LINE_BYTES = 64 * 1024
PROGRESS_PERIOD_S = 1.0


class LineAssembler:
    r"""Cuts a stream of bytes into lines of valid UTF-8, each ending in a newline.

    Bytes that are no UTF-8 become U+FFFD. A line longer than `limit` bytes comes in pieces of at
    most that length, none ending inside a character, so that memory stays bounded. `\r\n` ends a
    line as `\n` does. A `\r` alone goes back to the line's beginning, as a progress bar does: what
    it overwrites is shown at most once in `PROGRESS_PERIOD_S`, the last state always.
    """

    def __init__(self, limit: int = MAX_LINE_BYTES):
        self._limit = limit
        self._rest = b""
        self._shown = b""  # the state of the progress bar that was last shown
        self._next_progress = float("-inf")

    def feed(self, data: bytes, now: float) -> List[bytes]:
        """The lines that `data` completes; `now` in seconds, by any clock that only advances."""
        whole = (self._rest + data).split(b"\n")
        self._rest = whole.pop()
        lines: List[bytes] = []
        for line in whole:
            lines.extend(self._finished(line))
        if b"\r" in self._rest:
            lines.extend(self._progress(now))
        pieces = self._cut(self._rest)
        self._rest = pieces.pop()
        return lines + [_clean(piece) for piece in pieces]

    def finish(self) -> List[bytes]:
        """The last line, if the stream ended without a newline."""
        rest, self._rest = self._rest, b""
        return self._finished(rest) if rest else []

    def _finished(self, line: bytes) -> List[bytes]:
        if b"\r" in line:
            line = line.rstrip(b"\r").rpartition(b"\r")[2]
            if line and line == self._shown:
                return []
        self._shown = b""
        return [_clean(piece) for piece in self._cut(line)]

    def _progress(self, now: float) -> List[bytes]:
        """Forget what a progress bar has overwritten, and show it now and then."""
        body, end = (self._rest[:-1], b"\r") if self._rest.endswith(b"\r") else (self._rest, b"")
        before, _, current = body.rpartition(b"\r")
        # The text behind the last \r may still be incomplete; with another \r behind it, it is not.
        complete = current if end else before.rpartition(b"\r")[2]
        self._rest = b"\r" + current + end
        if not complete or complete == self._shown or now < self._next_progress:
            return []
        self._shown, self._next_progress = complete, now + PROGRESS_PERIOD_S
        return [_clean(piece) for piece in self._cut(complete)]

    def _cut(self, line: bytes) -> List[bytes]:
        pieces = []
        start = 0
        while len(line) - start > self._limit:
            end = start + self._limit
            # Bytes 10xxxxxx continue a character; it has at most three of them.
            end -= next((back for back in range(4) if line[end - back] & 0xC0 != 0x80), 0)
            pieces.append(line[start:end])
            start = end
        return pieces + [line[start:]]


def _clean(line: bytes) -> bytes:
    return line.decode("utf-8", "replace").encode("utf-8") + b"\n"
