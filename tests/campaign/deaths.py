# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The ways in which a worker dies, and what the launcher has to make of each."""

import os
import signal
import sys
import threading
import time
from typing import Callable, Dict, NamedTuple, Optional

VARIABLE = "EPL_CAMPAIGN_DEATH"  # KIND:WORKER:WHEN
FOREVER_S = 3600.0


class Kind(NamedTuple):
    """A way to die.

    Attributes:
      code: the exit code of the job.
      die: called in the worker; None: the launcher is killed from outside.
      in_step: it comes between two steps, from the script itself; else at any time, from a thread.
    """

    code: int
    die: Optional[Callable[[], None]]
    in_step: bool


def _raise() -> None:
    raise ValueError("no data")


KINDS: Dict[str, Kind] = {
    "exception": Kind(1, _raise, True),
    "exit 3": Kind(3, lambda: sys.exit(3), True),
    "exit 0": Kind(1, lambda: sys.exit(0), True),
    "SIGKILL": Kind(137, lambda: os.kill(os.getpid(), signal.SIGKILL), False),
    "SIGSEGV": Kind(139, lambda: os.kill(os.getpid(), signal.SIGSEGV), False),
    "launcher": Kind(-9, None, False),
    "SIGTERM": Kind(0, lambda: os.kill(os.getpid(), signal.SIGTERM), True),  # all save and end
    "hang": Kind(124, lambda: time.sleep(FOREVER_S), True),
}
# Nobody is to blame for these.
NO_CULPRIT = ("launcher", "SIGTERM")


class Death:
    """The death of one worker of a job, from the environment; none if that has none.

    Args:
      worker: index of the worker that asks.
      steps: how many it is about to run.
    """

    def __init__(self, worker: int, steps: int):
        kind, chosen, when = (os.environ.get(VARIABLE) or "::").split(":")
        self._kind = KINDS[kind] if kind and int(chosen) == worker else None
        self._when = float(when or 0.0)
        self._steps = steps

    def begin(self) -> None:
        """Training begins."""
        if self._kind is not None and not self._kind.in_step:
            threading.Thread(target=self._at_a_time, daemon=True).start()

    def at(self, step: int) -> None:
        """`step` steps are done."""
        if self._kind is not None and self._kind.in_step and step >= self._when * self._steps:
            self._die()

    def _at_a_time(self) -> None:
        # As a part of what the steps take on an idle machine; later ones die while they end.
        time.sleep(self._when * self._steps * 0.03)
        self._die()

    def _die(self) -> None:
        assert self._kind is not None
        path = os.path.join(os.environ["EPL_CAMPAIGN_DIRECTORY"], "died")
        with open(path + ".new", "w") as file:
            file.write(repr(time.monotonic()))
        os.replace(path + ".new", path)
        if self._kind.die is not None:
            self._kind.die()
