# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens to a job: a state machine without processes, clocks or files.

Events go in, actions come out; the supervisor turns the operating system's news into events and
carries out the actions.

    RUNNING --last worker exited with 0--------------> ENDING (Succeeded)
    RUNNING --a worker failed------------------------> ENDING (WorkerFailed)
    RUNNING --SIGINT, SIGTERM or SIGHUP--------------> ENDING (Interrupted)
    ENDING:  SIGTERM went to every process group that is left, the grace time runs
    ENDING  --grace time over, or a second signal----> KILLING
    KILLING: SIGKILL went to every process group that is left, a last time runs
    ENDING or KILLING --no process group is left-----> FINISHED
    KILLING --last time over-------------------------> FINISHED

A worker has *exited* when the process of its script has; its group is *gone* when nothing that
the script started is left in it either. A success passes through ENDING too: what a script left
running in the background is ended, not forgotten.
"""

import enum
import signal
from typing import List, Optional

from epl.launcher import events

GRACE_S = 30.0
# A process inside a system call that does not return (a dead network disk, a broken driver)
# outlives even SIGKILL for a while; the launcher does not wait for it for ever.
KILL_WAIT_S = 10.0


class Phase(enum.Enum):
    RUNNING = "running"
    ENDING = "ending"
    KILLING = "killing"
    FINISHED = "finished"


class Job:
    """The decisions of one job.

    Args:
      num_workers: how many workers were started; their indices are 0 to num_workers - 1.
      grace_s: seconds between SIGTERM and SIGKILL.

    Attributes:
      phase: see the picture at the top of the module.
      outcome: why the job ends; None while it runs.
      running: indices of the workers that have not exited.
    """

    def __init__(self, num_workers: int, grace_s: float = GRACE_S):
        self.phase = Phase.RUNNING
        self.outcome: Optional[events.Outcome] = None
        self.running = set(range(num_workers))
        self._groups = set(range(num_workers))
        self._grace_s = grace_s

    def handle(self, event: events.Event) -> List[events.Action]:
        """Take note of `event`; returns what is to be done now, in this order."""
        if isinstance(event, events.WorkerExited):
            return self._worker_exited(event)
        if isinstance(event, events.GroupGone):
            return self._group_gone(event)
        if isinstance(event, events.SignalReceived):
            return self._signal_received(event)
        return self._grace_over()

    def _worker_exited(self, event: events.WorkerExited) -> List[events.Action]:
        self.running.discard(event.worker)
        if self.phase is not Phase.RUNNING:
            return []
        if event.returncode != 0:
            return self._end(events.WorkerFailed(event.worker, event.returncode))
        return [] if self.running else self._end(events.Succeeded())

    def _group_gone(self, event: events.GroupGone) -> List[events.Action]:
        self._groups.discard(event.worker)
        if self._groups or self.phase not in (Phase.ENDING, Phase.KILLING):
            return []
        return self._finish()

    def _signal_received(self, event: events.SignalReceived) -> List[events.Action]:
        if self.phase is Phase.RUNNING:
            return self._end(events.Interrupted(event.signum))
        # Whoever asks twice does not want to wait for the grace time.
        return self._kill() if self.phase is Phase.ENDING else []

    def _grace_over(self) -> List[events.Action]:
        if self.phase is Phase.ENDING:
            return self._kill()
        return self._finish() if self.phase is Phase.KILLING else []

    def _end(self, outcome: events.Outcome) -> List[events.Action]:
        self.phase, self.outcome = Phase.ENDING, outcome
        return self._signal_groups(signal.SIGTERM) + [events.StartGrace(self._grace_s)]

    def _kill(self) -> List[events.Action]:
        self.phase = Phase.KILLING
        return self._signal_groups(signal.SIGKILL) + [events.StartGrace(KILL_WAIT_S)]

    def _finish(self) -> List[events.Action]:
        self.phase = Phase.FINISHED
        return [events.Finish()]

    def _signal_groups(self, signum: int) -> List[events.Action]:
        return [events.SignalGroup(worker, int(signum)) for worker in sorted(self._groups)]
