# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the state machine of a job is told, what it answers, and how a job can end."""

import signal
from typing import NamedTuple, Optional, Union


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


class SignalReceived(NamedTuple):
    """The launcher was asked to end by signal `signum`."""

    signum: int


class GraceOver(NamedTuple):
    """The time set by the last `StartGrace` has passed."""


Event = Union[WorkerExited, GroupGone, SignalReceived, GraceOver]


class SignalGroup(NamedTuple):
    """Send `signum` to every process in the group of `worker`."""

    worker: int
    signum: int


class StartGrace(NamedTuple):
    """Send `GraceOver` after `seconds`."""

    seconds: float


class Finish(NamedTuple):
    """Nothing is left to wait for."""


Action = Union[SignalGroup, StartGrace, Finish]


class Succeeded(NamedTuple):
    """All workers exited with 0."""

    @property
    def exit_code(self) -> int:
        return 0


class WorkerFailed(NamedTuple):
    """The worker that failed first, and how: `returncode` as in `WorkerExited`."""

    worker: int
    returncode: int

    @property
    def exit_code(self) -> int:
        return self.returncode if self.returncode > 0 else 128 - self.returncode


class Interrupted(NamedTuple):
    """The launcher was asked to end by signal `signum`."""

    signum: int

    @property
    def exit_code(self) -> int:
        return 128 + self.signum


Outcome = Union[Succeeded, WorkerFailed, Interrupted]


def deadly_signal(returncode: int) -> Optional[int]:
    """The signal that ended a worker, or a command of its shell script; None if none did.

    Args:
      returncode: an exit code, or -n for signal n. A shell exits with 128 + n when its command
        died by signal n; codes above the last signal, like the 255 of `exit(-1)`, are no signals.
    """
    if returncode < 0:
        return -returncode
    return returncode - 128 if 128 < returncode < 128 + signal.NSIG else None
