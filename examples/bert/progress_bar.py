# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How far a long piece of work is: a bar on a terminal, now and then a line anywhere else.

    features [############------------------] 3280/8161, 512/s, 0:00:10 left
"""

import sys
import time
from types import TracebackType
from typing import Any, Optional, Type

from examples.bert.progress import duration

_WIDTH = 30
_ERASE = "\r\x1b[K"


class ProgressBar:
    """Shows progress while it is entered as a context."""

    def __init__(self, name: str, total: int, stream: Any = None, seconds: float = 5.0):
        """Make a bar.

        Args:
          name: what is being made.
          total: the number of things to make, at least 1.
          stream: where to show it; by default standard output.
          seconds: least time between two lines; a bar on a terminal is drawn ten times a second.
        """
        self._name = name
        self._total = total
        self._stream = sys.stdout if stream is None else stream
        self._terminal = self._stream.isatty()
        self._pause = 0.1 if self._terminal else seconds
        self._done = 0
        self._start = self._shown = time.time()

    def __enter__(self) -> "ProgressBar":
        return self

    def advance(self, number: int) -> None:
        """Say that so many more things are made."""
        self._done += number
        now = time.time()
        if now - self._shown >= self._pause and self._done < self._total:
            self._shown = now
            pace = self._done / (now - self._start)
            self._show("{}, {:.0f}/s, {} left".format(
                self._count(), pace, duration((self._total - self._done) / pace)))

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        took = "{} in {}".format(self._count(), duration(time.time() - self._start))
        self._show(took if kind is None else took + ", not finished")
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _count(self) -> str:
        return "{}/{}".format(self._done, self._total)

    def _show(self, text: str) -> None:
        if self._terminal:
            filled = _WIDTH * self._done // self._total
            self._stream.write("{}{} [{}{}] {}".format(
                _ERASE, self._name, "#" * filled, "-" * (_WIDTH - filled), text))
        else:
            self._stream.write("{}: {}\n".format(self._name, text))
        self._stream.flush()
