# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How far this worker is, for `epl-launch`: one record in a file that is rewritten in place.

The launcher names the file in `EPL_PROGRESS_FILE`; without it nothing is written. The record is
one line of JSON, padded to a fixed size and written by one system call (2 us). Nothing in POSIX
keeps a reader from seeing half of the old line and half of the new one, so the line ends with a
checksum; `read` looks again until it is right. The module needs no TensorFlow: the launcher reads
with it. The record is the process's, which is what the launcher started; workers that are threads
have none.
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
FAILED = "failed"
LEFT = "left"
FINISHED = "finished"

ARRIVAL = "epl.init"  # what a worker waits in that is there before others

_RECORD_BYTES = 1536
_TEXT_LENGTH = 600
_SHORT_TEXT_LENGTH = 100  # fits even if every character takes the six of \u0000
_TOUCH_SECONDS = 1.0
_READ_ATTEMPTS = 5

_FORMAT = ('{{"state": "{}", "ready": {}, "step": {}, "waits_for": {}, "time": {:.3f}, '
           '"pid": {}, "stops_at_sigterm": {}, "error": {}')
_CHECK = ', "check": '


class Status(NamedTuple):
    """What a worker last said.

    Attributes:
      state: "initialized" after `epl.init`; "ready" when a first step could begin; "step" after
        every step; "waiting" for other workers; "lost" when another worker is gone, so that this
        one cannot go on; "failed" when an error of its own ends it; "left" when its script has come
        to its end while others train; "finished" when training ended without an error.
      ready: "ready" was reached in this process, whatever the state is now.
      step: steps that this process has completed, over all its sessions.
      waits_for: names the exchange that it waits in, or None.
      time: when the record was written, Unix time in seconds.
      pid: the process that wrote it; under a shell script not the one that the launcher started.
      stops_at_sigterm: SIGTERM now asks for a stop after the next step; a second one ends it.
      error: what it failed with, or None.
    """

    state: str
    ready: bool
    step: int
    waits_for: Optional[str]
    time: float
    pid: int
    stops_at_sigterm: bool
    error: Optional[str] = None

    @property
    def arrives(self) -> bool:
        """It waits in `epl.init` for the others."""
        return self.state == WAITING and self.waits_for == ARRIVAL


def encode(status: Status) -> bytes:
    """The record of `status`; a text that is too long for it is cut."""
    for length in (_TEXT_LENGTH, _SHORT_TEXT_LENGTH):
        text, error = (json.dumps(value and value[:length])
                       for value in (status.waits_for, status.error))
        body = _FORMAT.format(status.state, _boolean(status.ready), status.step, text, status.time,
                              status.pid, _boolean(status.stops_at_sigterm), error).encode()
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

    Args:
      path: of the file.
      arriving: the worker begins with waiting for the others in `epl.init`.
    """

    def __init__(self, path: str, arriving: bool = False):
        self._path = path
        self._file = -1
        self._written = 0.0  # on a clock that nobody sets
        state, waits_for = (WAITING, ARRIVAL) if arriving else (INITIALIZED, None)
        self._status = Status(state, False, 0, waits_for, 0.0, os.getpid(), False)
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


def start(arriving: bool = False) -> None:
    """Begin to report, if a launcher wants to hear; `epl.init` calls it.

    Args:
      arriving: to begin with, the worker waits for the others in `epl.init`.
    """
    global _reporter
    path = os.environ.get(VARIABLE)
    if path and _reporter is None:
        _reporter = Reporter(path, arriving)


def initialized() -> None:
    """`epl.init` is over."""
    if _reporter is not None and _reporter.status.arrives:
        _reporter.update(state=INITIALIZED, waits_for=None)


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


def waited() -> None:
    """What this worker has waited for is there, and it goes on with something else than a step."""
    if _reporter is not None and _reporter.status.state == WAITING:
        now = _reporter.status
        _reporter.update(state=STEP if now.step else READY if now.ready else INITIALIZED,
                         waits_for=None)


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
    if _reporter is not None and _reporter.status.state not in (LOST, FAILED):
        _reporter.update(state=LOST)


def failed(error: BaseException) -> None:
    """An error of this worker's own ends it."""
    if _reporter is not None and _reporter.status.state not in (LOST, FAILED):
        lines = str(error).splitlines() or [""]
        _reporter.update(state=FAILED, waits_for=None, error="{}: {}".format(
            type(error).__name__, lines[0]).strip(": "))


def left() -> None:
    """The script has come to its end while others train."""
    if _reporter is not None:
        _reporter.update(state=LEFT, waits_for=None)


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
