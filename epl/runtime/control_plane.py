# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small exchanges between the workers' Python code, and what is said when the others are gone.

The exchanges are the communicator's. Here the launcher learns that a connection is lost, and the
worker that went first gets the time to be reported first.
"""

import contextlib
import faulthandler
import os
import sys
import time
from typing import Any, Callable, List, Optional, Sequence, TypeVar

from epl.communicators.base import Communicator, Disconnected
from epl.context import Context
from epl.errors import WorkerLostError
from epl.runtime import stop
from epl.shared import progress

# How long a worker that lost the connection lets the one that caused it end before it ends itself.
PRECEDENCE_SECONDS = 1.0

LOST = ("the connection to the other workers is lost: another worker has ended, or its script has "
        "come to its end ({})")

_Result = TypeVar("_Result")


def of(context: Context) -> "ControlPlane":
    """That of the worker of `context`."""
    return ControlPlane(context.of_process.connection)


class ControlPlane:
    """Exchanges that every worker has to enter."""

    def __init__(self, communicator: Communicator):
        self._communicator = communicator

    def all_reduce_max(self, numbers: Sequence[int]) -> List[int]:
        """Element-wise maximum of `numbers` (64-bit integers) over all workers."""
        found = _unless_lost(lambda: self._communicator.all_reduce_max(numbers))
        assert found is not None  # there was no limit in time
        return found

    def all_gather_object(self, value: Any) -> List[Any]:
        """The `value` of every worker, plain data, in the order of workers."""
        return _unless_lost(lambda: self._communicator.all_gather_object(value))

    def broadcast_object(self, value: Any) -> Any:
        """The chief's `value`, plain data; what other workers pass is ignored."""
        return _unless_lost(lambda: self._communicator.broadcast_object(value))

    def all_reduce_max_within(self, numbers: Sequence[int], seconds: float) -> Optional[List[int]]:
        """As `maximum`, or None if the other workers do not come within `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            return self._communicator.all_reduce_max(numbers, seconds)
        except Disconnected:
            progress.connection_lost()
            _sleep(deadline - time.monotonic())
            return None

    def last_all_reduce_max(self, numbers: Sequence[int], seconds: float) -> Optional[List[int]]:
        """As `all_reduce_max_within`, when the process is about to end.

        None also if a worker has ended. If the others do not come the connection is closed: no
        thread may be left in TensorFlow.
        """
        try:
            found = self._communicator.all_reduce_max(numbers, seconds)
        except Disconnected:
            return None
        if found is None:
            found = self._communicator.leave()
        return found


def give_precedence() -> None:
    """The worker that went first knows the cause: it gets the time to end first, and be reported.

    After SIGTERM the cause is known already.
    """
    _sleep(PRECEDENCE_SECONDS)


def end_in_step(why: str) -> None:
    """End the process: its main thread waits in TensorFlow, which nothing else brings back.

    Called in another thread. What the script wrote is flushed; nothing else of it runs any more.
    """
    sys.stderr.write("epl: the connection to the other workers is lost in a step: {}; this worker "
                     "ends. Its threads:\n".format(why))
    sys.stderr.flush()
    faulthandler.dump_traceback(sys.__stderr__)
    sys.stderr.write("epl.errors.WorkerLostError: {}\n".format(LOST.format(why)))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(1)


def _unless_lost(exchange: Callable[[], _Result]) -> _Result:
    try:
        return exchange()
    except Disconnected as error:
        progress.connection_lost()
        give_precedence()
        raise WorkerLostError(LOST.format(error)) from None


def _sleep(seconds: float) -> None:
    with stop.ended_at_once():
        # Asked only now: a SIGTERM that came before was still a wish, a later one ends the process.
        if not stop.sigterm_came():
            time.sleep(max(0.0, seconds))
