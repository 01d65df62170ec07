# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the state machine of a job is told, what it answers, and how a job can end."""

import enum
import signal
from typing import NamedTuple, Optional, Tuple, Union

from epl.shared.progress import Status

TIMEOUT_CODE = 124

# What a worker that left early had not come to; see `LeftEarly`.
END_OF_TRAINING = "its training was finished"
ARRIVAL = "epl.init"


class Timer(enum.Enum):
    """Clocks that the state machine sets; each runs at most once at a time."""

    GRACE = "grace"  # until those still running are killed
    TIMEOUT = "timeout"  # of the whole job
    START = "start"  # until every worker must be ready
    STALL = "stall"  # until somebody must have made progress
    DUMP = "dump"  # until all stacks must be there
    INSIST = "insist"  # until those who only note the first SIGTERM get another
    EARLY_EXIT = "early exit"  # until a worker that left early has been missed
    SETTLE = "settle"  # until it must be clear which worker is to blame


class WorkerExited(NamedTuple):
    """The process of a worker's script has ended.

    Attributes:
      worker: index of the worker.
      returncode: its exit code, or -n if signal n ended it.
    """

    worker: int
    returncode: int


class GroupGone(NamedTuple):
    """No process is left in the process group of `worker`."""

    worker: int


class Progress(NamedTuple):
    """`worker` has said how far it is."""

    worker: int
    status: Status


class StacksKnown(NamedTuple):
    """The stacks of all workers that were asked for theirs are there.

    Attributes:
      stopped: those of them whose processes are stopped.
    """

    stopped: Tuple[int, ...] = ()


class HostLost(NamedTuple):
    """A machine cannot be reached, or could not start its workers; `reason` in words."""

    host: str
    reason: str


class SignalReceived(NamedTuple):
    """The launcher got signal `signum`."""

    signum: int


class TimeOver(NamedTuple):
    """The time set by the last `StartTimer` of `timer` has passed."""

    timer: Timer


Event = Union[WorkerExited, GroupGone, Progress, StacksKnown, HostLost, SignalReceived, TimeOver]


class SignalGroup(NamedTuple):
    """Send `signum` to every process in the group of `worker`."""

    worker: int
    signum: int


class StartTimer(NamedTuple):
    """Send `TimeOver(timer)` after `seconds`, counted anew if it runs already."""

    timer: Timer
    seconds: float


class StopTimer(NamedTuple):
    """Send no `TimeOver(timer)`."""

    timer: Timer


class DumpStacks(NamedTuple):
    """Ask `workers` for their stacks, then send `StacksKnown`."""

    workers: Tuple[int, ...]


class Finish(NamedTuple):
    """Nothing is left to wait for."""


Action = Union[SignalGroup, StartTimer, StopTimer, DumpStacks, Finish]


class Succeeded(NamedTuple):
    """All workers exited with 0.

    Attributes:
      signum: the signal that asked them to; 0 if none did.
    """

    signum: int = 0

    @property
    def exit_code(self) -> int:
        return 0


class WorkerFailed(NamedTuple):
    """The worker that failed first, and how.

    Attributes:
      worker: its index.
      returncode: as in `WorkerExited`.
      error: with which it said it fails, if it did and has not exited by itself.
    """

    worker: int
    returncode: int
    error: str = ""

    @property
    def exit_code(self) -> int:
        return self.returncode if self.returncode > 0 else 128 - self.returncode


class LeftEarly(NamedTuple):
    """The script of `worker` ended without an error, and `missed_by` waits for it.

    Attributes:
      worker: its index.
      missed_by: that of another.
      before: what it had not come to when it ended.
    """

    worker: int
    missed_by: int
    before: str = END_OF_TRAINING

    @property
    def exit_code(self) -> int:
        return 1


class Stopped(NamedTuple):
    """The process of `worker` is stopped, and `lost_by` has lost the connection to it."""

    worker: int
    lost_by: int

    @property
    def exit_code(self) -> int:
        return 1


class Interrupted(NamedTuple):
    """The launcher was asked to end by signal `signum`."""

    signum: int

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


class TimedOut(NamedTuple):
    """The time of `timer` (TIMEOUT, START or STALL), `seconds`, was over."""

    timer: Timer
    seconds: float

    @property
    def exit_code(self) -> int:
        return TIMEOUT_CODE


class LostHost(NamedTuple):
    """The machine `host` was lost, with its workers."""

    host: str
    reason: str

    @property
    def exit_code(self) -> int:
        return 1


Outcome = Union[Succeeded, WorkerFailed, LeftEarly, Stopped, Interrupted, TimedOut, LostHost]


def deadly_signal(returncode: int) -> Optional[int]:
    """The signal that ended a worker, or a command of its shell script; None if none did.

    Args:
      returncode: an exit code, or -n for signal n. A shell exits with 128 + n when its command
        died by signal n; codes above the last signal, like the 255 of `exit(-1)`, are no signals.
    """
    if returncode < 0:
        return -returncode
    return returncode - 128 if 128 < returncode < 128 + signal.NSIG else None
