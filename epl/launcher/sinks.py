# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the output of the workers goes: raw into log files, in whole lines to the terminal."""

import collections
import os
import time
from typing import Callable, Collection, Deque, Dict, List, Optional, Sequence, Tuple

from epl import private
from epl.errors import ConfigError
from epl.launcher.console import Console
from epl.launcher.host import STREAMS
from epl.launcher.lines import LineAssembler
from epl.launcher.plan import LOCAL, WorkerPlan

COMBINED = "combined.log"

_TAIL_LINES = 200
_TAIL_LINE_BYTES = 2000
# Of the terminal's colours those that can be read on black and on white.
_COLOURS = (36, 35, 32, 34, 33, 31)


class LogFile:
    """A log file that is appended to; on a full disk it says so once, and the job goes on."""

    def __init__(self, path: str, complain: Callable[[str], None]):
        self._path = path
        self._complain = complain
        self._file = open(private.open_to_append(path), "ab", buffering=0)

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


class _Stream:
    """One output stream of one worker."""

    def __init__(self, log: LogFile, console: Optional[Console], prefix: bytes, plain: bytes):
        self.log = log
        self.console = console
        self.prefix = prefix
        self.plain = plain
        self.lines = LineAssembler()
        self.tail: Deque[bytes] = collections.deque(maxlen=_TAIL_LINES)


class Sinks:
    """All sinks of one attempt.

    Args:
      plans: the workers.
      stdout, stderr: the consoles that show their lines.
      tee: the workers that are shown; None: all.
      colour: write prefixes in colour to stdout, to stderr.

    Raises:
      ConfigError: a log file cannot be opened.
    """

    def __init__(self, plans: Sequence[WorkerPlan], stdout: Console, stderr: Console,
                 tee: Optional[Collection[int]] = None,
                 colour: Tuple[bool, bool] = (False, False)):
        self._streams: Dict[Tuple[int, str], _Stream] = {}
        consoles = dict(zip(STREAMS, (stdout, stderr)))
        coloured = dict(zip(STREAMS, colour))
        root = os.path.dirname(plans[0].log_directory)
        self._combined = _open(os.path.join(root, COMBINED), stderr.say, "the job")
        for plan in plans:
            plain = prefix(plan).encode("utf-8")
            shown = tee is None or plan.worker in tee
            for name in STREAMS:
                log = _open(os.path.join(plan.log_directory, name + ".log"), stderr.say,
                            "worker {}".format(plan.worker))
                self._streams[plan.worker, name] = _Stream(
                    log, consoles[name] if shown else None,
                    _coloured(plain, plan.worker) if coloured[name] else plain, plain)

    def feed(self, worker: int, stream: str, data: bytes) -> None:
        """Pass on bytes of a worker; none: the stream has ended."""
        sink = self._streams[worker, stream]
        if not data:
            self._show(sink, sink.lines.finish())
            return
        sink.log.write(data)
        self._show(sink, sink.lines.feed(data, time.monotonic()))

    def tail(self, worker: int) -> List[str]:
        """The last lines that `worker` wrote to its stderr."""
        return [line.decode("utf-8", "replace").rstrip("\n")
                for line in self._streams[worker, "stderr"].tail]

    def close(self) -> None:
        for sink in self._streams.values():
            self._show(sink, sink.lines.finish())
            sink.log.close()
        self._combined.close()

    def _show(self, sink: _Stream, lines: List[bytes]) -> None:
        if not lines:
            return
        sink.tail.extend(line[:_TAIL_LINE_BYTES] for line in lines)
        self._combined.write(b"".join(sink.plain + line for line in lines))
        if sink.console is not None:
            # One write: lines of other processes on the same terminal cannot come in between.
            sink.console.write(b"".join(sink.prefix + line for line in lines))


def prefix(plan: WorkerPlan) -> str:
    """What stands in front of every line of a worker."""
    who = "worker {}".format(plan.worker) if plan.host == LOCAL else "{}:{}".format(
        plan.host, plan.worker)
    return "[{}] ".format(who)


def _coloured(text: bytes, worker: int) -> bytes:
    return b"\x1b[%dm%s\x1b[0m" % (_COLOURS[worker % len(_COLOURS)], text)


def _open(path: str, complain: Callable[[str], None], whose: str) -> LogFile:
    try:
        return LogFile(path, complain)
    except OSError as error:
        raise ConfigError("{} cannot be started: {}".format(whose, error)) from error
