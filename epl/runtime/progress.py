# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How far this worker is, for `epl-launch`: one record in a file that is rewritten in place.

The launcher names the file in `EPL_PROGRESS_FILE`; without it nothing is written. The record is
one line of JSON, padded to a fixed size and written by one system call (2 us). Nothing in POSIX
keeps a reader from seeing half of the old line and half of the new one, so the line ends with a
checksum; `read` looks again until it is right. The module needs no TensorFlow: the launcher reads
with it.
"""

import contextlib
import json
import os
import sys
import time
import zlib
from typing import Any, List, NamedTuple, Optional

from epl import private

VARIABLE = "EPL_PROGRESS_FILE"

INITIALIZED = "initialized"
READY = "ready"
STEP = "step"
WAITING = "waiting"
LOST = "lost"
FINISHED = "finished"

_RECORD_BYTES = 1024
_TEXT_LENGTH = 600
_SHORT_TEXT_LENGTH = 100  # fits even if every character takes the six of \u0000
_TOUCH_SECONDS = 1.0
_READ_ATTEMPTS = 5

_FORMAT = ('{{"state": "{}", "ready": {}, "step": {}, "waits_for": {}, "time": {:.3f}, '
           '"pid": {}, "stops_at_sigterm": {}')
_CHECK = ', "check": '


class Status(NamedTuple):
    """What a worker last said.

    Attributes:
      state: "initialized" after `epl.init`; "ready" when a first step could begin; "step" after
        every step; "waiting" for other workers; "lost" when the connection to them is lost;
        "finished" when training ended without an error.
      ready: "ready" was reached in this process, whatever the state is now.
      step: steps that this process has completed, over all its sessions.
      waits_for: names the exchange that it waits in, or None.
      time: when the record was written, Unix time in seconds.
      pid: the process that wrote it; under a shell script not the one that the launcher started.
      stops_at_sigterm: SIGTERM now asks for a stop after the next step; a second one ends it.
    """

    state: str
    ready: bool
    step: int
    waits_for: Optional[str]
    time: float
    pid: int
    stops_at_sigterm: bool


def encode(status: Status) -> bytes:
    """The record of `status`; a text that is too long for it is cut."""
    for length in (_TEXT_LENGTH, _SHORT_TEXT_LENGTH):
        text = json.dumps(status.waits_for and status.waits_for[:length])
        body = _FORMAT.format(status.state, _boolean(status.ready), status.step, text, status.time,
                              status.pid, _boolean(status.stops_at_sigterm)).encode()
        line = body + "{}{}}}".format(_CHECK, zlib.crc32(body)).encode()
        if len(line) < _RECORD_BYTES:
            break
    return line.ljust(_RECORD_BYTES - 1) + b"\n"


def decode(record: bytes) -> Optional[Status]:
    """The status in `record`, or None if it is no complete record."""
    body, _, check = record.strip().rpartition(_CHECK.encode())
    if check != "{}}}".format(zlib.crc32(body)).encode():
        return None
    try:
        fields = json.loads(record.decode())
        return Status(*[fields[name] for name in Status._fields])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None  # whatever a script has put there, it is no word of a worker


def read(path: str) -> Optional[Status]:
    """What the worker that writes `path` last said.

    None if it has not said anything yet, or if that cannot be read now (an error of a network
    disk, no descriptor left): a job does not end for it, and whoever reads looks again later.
    """
    for _ in range(_READ_ATTEMPTS):
        with contextlib.suppress(OSError):
            status = decode(_content(path))
            if status is not None:
                return status
    return None


def _content(path: str) -> bytes:
    """The first bytes of the file. What is no file at all, a pipe for example, makes nobody wait.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 2 * _RECORD_BYTES)
    finally:
        os.close(descriptor)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


class Reporter:
    """Keeps the record in the file at `path`.

    If the file cannot be written (a full disk) one line on stderr says so, and training goes on.
    """

    def __init__(self, path: str):
        self._path = path
        self._file = -1
        self._written = 0.0  # on a clock that nobody sets
        self._status = Status(INITIALIZED, False, 0, None, 0.0, os.getpid(), False)
        try:
            self._file = private.open_in_place(path)
        except OSError as error:
            self._give_up(error)
        self.update()

    @property
    def status(self) -> Status:
        return self._status

    @property
    def age(self) -> float:
        """Seconds since the record was last written."""
        return time.monotonic() - self._written

    def update(self, **changes: Any) -> None:
        """Write the record with `changes` and the present time."""
        self._written = time.monotonic()
        self._status = self._status._replace(time=time.time(), **changes)
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, encode(self._status), 0)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        sys.stderr.write("epl: epl-launch does not hear of this worker's progress any more: {} "
                         "cannot be written ({})\n".format(self._path, error.strerror))
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_reporter: Optional[Reporter] = None


def start() -> None:
    """Begin to report, if a launcher wants to hear; `epl.init` calls it."""
    global _reporter
    path = os.environ.get(VARIABLE)
    if path and _reporter is None:
        _reporter = Reporter(path)


def _forget() -> None:
    """A forked child is not the worker."""
    global _reporter
    _reporter = None


os.register_at_fork(after_in_child=_forget)


def session_ready() -> None:
    """Training could begin: the workers have met, and hold the same variables."""
    if _reporter is not None:
        _reporter.update(state=READY, ready=True, waits_for=None)


def waiting(what: str) -> None:
    """This worker enters the exchange `what`, in which it waits for the others."""
    if _reporter is not None:
        _reporter.update(state=WAITING, waits_for=what)


def waiting_before_step(what: str) -> None:
    """As `waiting`, for an exchange before the next step."""
    if _reporter is not None:
        waiting("{} before step {}".format(what, _reporter.status.step + 1))


def step_begins(collectives: List[str]) -> None:
    """A step begins, in which this worker waits for the others in `collectives`."""
    if _reporter is None:
        return
    if collectives:
        text = "collectives of step {}: {}".format(_reporter.status.step + 1,
                                                   ", ".join(collectives))
        _reporter.update(state=WAITING, ready=True, waits_for=text)
    elif not _reporter.status.ready:
        session_ready()


def step_done() -> None:
    """A step has ended without an error."""
    if _reporter is not None:
        _reporter.update(state=STEP, ready=True, step=_reporter.status.step + 1, waits_for=None)


def connection_lost() -> None:
    """Another worker is gone; what this one waits for never comes."""
    if _reporter is not None and _reporter.status.state != LOST:
        _reporter.update(state=LOST)


def finished() -> None:
    """Training has ended without an error; another may follow."""
    if _reporter is not None:
        _reporter.update(state=FINISHED, waits_for=None)


def alive() -> None:
    """Something else than a training step is about to run, an evaluation for example."""
    if _reporter is not None and _reporter.age > _TOUCH_SECONDS:
        _reporter.update()


def stops_at_sigterm(value: bool) -> None:
    """SIGTERM asks for a stop from now on, or does not."""
    if _reporter is not None:
        _reporter.update(stops_at_sigterm=value)


def is_reported() -> bool:
    """True if a launcher wants to hear."""
    return _reporter is not None


def is_lost() -> bool:
    """True after the connection to the other workers was lost, as far as is reported."""
    return _reporter is not None and _reporter.status.state == LOST
