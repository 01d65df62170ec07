# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How long after a death in training a job ends: the launcher's decisions on a clock of the test's.

TensorFlow's processes may take long to end (18 s were seen after an exception, with 2.15), and
those that train take the first SIGTERM for a wish. Neither is waited for.
"""

import heapq
import itertools
import signal

import pytest

from epl.launcher import events
from epl.launcher.job import Job, Limits, Phase
from epl.runtime.control_plane import PRECEDENCE_SECONDS
from epl.shared.progress import Status

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)
STEP = Status("waiting", True, 3, "collectives of step 4", 0.0, 1, True)
LOST = STEP._replace(state="lost", stops_at_sigterm=False)
FAILED = LOST._replace(state="failed", error="ValueError: no data")
LEFT = LOST._replace(state="left")
SEEN_S, DIES_S, TEARDOWN_S = 0.2, 0.01, 18.0


class Workers:
    """Two workers in a step, and a launcher that has hours for them."""

    def __init__(self):
        self.job = Job(["host", "host"], Limits(grace=3600.0))
        self.now = 0.0
        self.killed = False
        self._number = itertools.count()
        self._coming = []
        self._timers = {}
        self._alive = {0, 1}
        self._wishes = {}
        self._carry_out(self.job.begin())
        for worker in (0, 1):
            self.says(0.0, worker, STEP)

    def says(self, when, worker, status):
        self._at(when, lambda: worker in self._alive and self._hear(worker, status))

    def exits(self, when, worker, code):
        self._at(when, lambda: worker in self._alive and self._end(worker, code))

    def seconds(self):
        """When the job is over."""
        while self.job.phase is not Phase.FINISHED:
            self.now, _, happen = heapq.heappop(self._coming)
            happen()
        return self.now

    def _at(self, when, happen):
        heapq.heappush(self._coming, (when, next(self._number), happen))

    def _hear(self, worker, status):
        if status.stops_at_sigterm:
            self._wishes[worker] = 1
        else:
            self._wishes.pop(worker, None)
        self._feed(events.Progress(worker, status))

    def _end(self, worker, code):
        self._alive.discard(worker)
        self._feed(events.WorkerExited(worker, code))
        self._feed(events.GroupGone(worker))

    def _feed(self, event):
        if self.job.phase is not Phase.FINISHED:
            self._carry_out(self.job.handle(event))

    def _carry_out(self, actions):
        for action in actions:
            if isinstance(action, events.SignalGroup):
                self._signal(action.worker, action.signum)
            elif isinstance(action, events.StartTimer):
                self._start(action.timer, action.seconds)
            elif isinstance(action, events.StopTimer):
                self._timers.pop(action.timer, None)
            elif isinstance(action, events.DumpStacks):
                self._at(self.now + DIES_S, lambda: self._feed(events.StacksKnown()))

    def _signal(self, worker, signum):
        self.killed = self.killed or signum == KILL
        if worker not in self._alive:
            return
        if signum == TERM and self._wishes.get(worker):
            self._wishes[worker] -= 1
        else:
            self.exits(self.now + DIES_S, worker, -signum)

    def _start(self, timer, seconds):
        number = self._timers[timer] = next(self._number)

        def over():
            if self._timers.get(timer) == number:
                self._feed(events.TimeOver(timer))

        self._at(self.now + seconds, over)


def killed(workers):
    """It is gone; the other is still inside of the step."""
    workers.exits(1.0, 1, -KILL)


def killed_and_noticed(workers):
    killed(workers)
    workers.says(1.0 + SEEN_S, 0, LOST)
    workers.exits(1.0 + SEEN_S + PRECEDENCE_SECONDS, 0, 1)


def exits(workers):
    workers.exits(1.0, 1, 3)


def ends(workers, status):
    """Its script ends at once, its process later; the other has lost it, and says so."""
    workers.says(1.0, 1, status)
    workers.exits(1.0 + TEARDOWN_S, 1, 1 if status is FAILED else 0)
    workers.says(1.0 + SEEN_S, 0, LOST)
    workers.exits(1.0 + SEEN_S + PRECEDENCE_SECONDS, 0, 1)


def fails(workers):
    ends(workers, FAILED)


def fails_beside_one_that_waits(workers):
    """Its connection is open: the other notices nothing."""
    workers.says(1.0, 1, FAILED)
    workers.exits(1.0 + TEARDOWN_S, 1, 1)


def leaves(workers):
    """With which code, only the end of its process tells: it has five seconds more."""
    ends(workers, LEFT)


@pytest.mark.parametrize("die, limit, outcome", [
    (killed, 0.5, events.WorkerFailed(1, -KILL)),
    (killed_and_noticed, 0.5, events.WorkerFailed(1, -KILL)),
    (exits, 0.5, events.WorkerFailed(1, 3)),
    (fails, 2.0, events.WorkerFailed(1, 1, "ValueError: no data")),
    (fails_beside_one_that_waits, 2.0, events.WorkerFailed(1, 1, "ValueError: no data")),
    (leaves, 7.0, events.LeftEarly(1, 0))])
def test_from_a_death_to_the_end_of_the_job(die, limit, outcome):
    workers = Workers()
    die(workers)
    assert workers.seconds() - 1.0 < limit
    assert workers.job.outcome == outcome
    assert not workers.killed
