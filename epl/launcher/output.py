# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""From the workers' pipes to the terminal, in whole lines, and to log files, byte for byte."""

import collections
import os
import select
from typing import IO, Callable, Deque, List

MAX_LINE_BYTES = 64 * 1024
TAIL_LINES = 15
_CHUNK_BYTES = 64 * 1024
# What a pipe still holds after its last writer is bounded; what a process that left the worker's
# group goes on writing is not.
_MAX_DRAIN_CHUNKS = 64


class LineSplitter:
    """Cuts a stream of bytes into lines, each ending in a newline.

    A line longer than `limit` bytes comes in pieces of at most that length, each with a newline
    of its own and none ending inside a UTF-8 character, so that memory stays bounded.
    """

    def __init__(self, limit: int = MAX_LINE_BYTES):
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> List[bytes]:
        """The lines that `data` completes."""
        whole = (self._rest + data).split(b"\n")
        self._rest = whole.pop()
        lines: List[bytes] = []
        for line in whole:
            pieces = self._cut(line)
            lines.extend(piece + b"\n" for piece in pieces)
        pieces = self._cut(self._rest)
        self._rest = pieces.pop()
        lines.extend(piece + b"\n" for piece in pieces)
        return lines

    def finish(self) -> List[bytes]:
        """The last line, if the stream ended without a newline."""
        rest, self._rest = self._rest, b""
        return [rest + b"\n"] if rest else []

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


class Console:
    """A file descriptor of the launcher that a person, or a pipe, reads.

    When its reader is gone, what is written is dropped: the job and its log files go on.
    """

    def __init__(self, fd: int):
        self._fd = fd
        self._open = True

    def write(self, data: bytes) -> None:
        """Write all of `data`; waits for a slow reader."""
        view = memoryview(data)
        while self._open and view:
            try:
                view = view[os.write(self._fd, view):]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                self._open = False

    def say(self, text: str) -> None:
        """Write lines of the launcher's own."""
        self.write((text + "\n").encode("utf-8", "replace"))


class LogFile:
    """A log file that is appended to; on a full disk it says so once, and the job goes on."""

    def __init__(self, path: str, complain: Callable[[str], None]):
        self._path = path
        self._complain = complain
        self._file = open(path, "ab", buffering=0)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._file.closed:
            try:
                view = view[self._file.write(view):]
            except OSError as error:
                self._complain("epl-launch: cannot write {} ({}); this log ends here".format(
                    self._path, error.strerror))
                self.close()

    def close(self) -> None:
        self._file.close()


class WorkerStream:
    """One output pipe of a worker and where its bytes go.

    Args:
      pipe: the reading end, unbuffered; it is made non-blocking, and closed by `close`.
      prefix: what every line on the console begins with.
      console: where lines go.
      log: where bytes go.

    Attributes:
      tail: the last lines, each with its newline.
    """

    def __init__(self, pipe: IO[bytes], prefix: str, console: Console, log: LogFile):
        os.set_blocking(pipe.fileno(), False)
        self.pipe = pipe
        self.tail: Deque[bytes] = collections.deque(maxlen=TAIL_LINES)
        self._prefix = prefix.encode("utf-8")
        self._console = console
        self._log = log
        self._splitter = LineSplitter()

    def read(self) -> bool:
        """Pass on one chunk of what the pipe holds; False when there was none.

        Raises:
          EOFError: every writer has closed the pipe.
        """
        data = self.pipe.read(_CHUNK_BYTES)
        if data is None:
            return False
        if not data:
            raise EOFError
        self._log.write(data)
        self._show(self._splitter.feed(data))
        return True

    def close(self) -> None:
        """Pass on what the pipe still holds, and the line that has no end."""
        try:
            for _ in range(_MAX_DRAIN_CHUNKS):
                if not self.read():
                    break
        except EOFError:
            pass
        self._show(self._splitter.finish())
        self._log.close()
        self.pipe.close()

    def _show(self, lines: List[bytes]) -> None:
        self.tail.extend(lines)
        # One write: lines of other processes on the same terminal cannot come in between.
        self._console.write(b"".join(self._prefix + line for line in lines))
