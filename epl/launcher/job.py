# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens to a job: a state machine without processes, clocks or files.

Events go in, actions come out; the supervisor turns the system's news into events and carries out
the actions. One `Job` is one attempt; whether another follows is decided in `restart`.

    RUNNING --last worker exited with 0--------------> ENDING (Succeeded)
    RUNNING --a worker failed------------------------> ENDING (WorkerFailed)
    RUNNING --a worker says it fails, and does not end-> ENDING (WorkerFailed)
    RUNNING --a worker left early and is missed------> ENDING (LeftEarly)
    RUNNING --SIGINT, SIGTERM or SIGHUP--------------> ENDING (Interrupted)
    RUNNING --a machine is lost----------------------> ENDING (LostHost)
    RUNNING --the time of the whole job is over------> ENDING (TimedOut)
    RUNNING --not ready in time, or no more steps----> DUMPING (TimedOut)
    RUNNING --a worker lost another, and none failed-> DUMPING (WorkerFailed, or Stopped)
    DUMPING --all stacks are there, or time is over--> ENDING
    ENDING:  SIGTERM went to every process group that is left, the grace time runs (a SIGHUP is
             passed on first, SIGTERM follows)
    ENDING  --grace time over, or a second signal----> KILLING
    KILLING: SIGKILL went to every process group that is left, a last time runs
    ENDING or KILLING --no process group is left-----> FINISHED
    KILLING --last time over-------------------------> FINISHED

A worker has *exited* when the process of its script has; its group is *gone* when nothing that
the script started is left in it either. A success passes through ENDING too: what a script left
running in the background is ended, not forgotten.

An exit with 0 while others run is no failure by itself: a script may have less to do on some
workers, and a program that never calls `epl.init` owes nobody anything. It is one if the worker
had not declared its training finished and another one waits for the workers in vain: it says that
it waits, and still does `MISSED_S` later, or it says that it has lost the others and fails. Who
exits before `epl.init` while another waits there is missed at once: the other never gets on.

The first to exit need not be the first that failed. A process may take long to end after its error,
and those who lost the connection to it are out before. So a worker that fails by its own word
*lost* the others is a victim, and is not to blame while another runs that may be: for `VICTIM_S`
the job waits for the exit of one that is none. Who says that an error ends it, and has not exited
`FAILED_S` later, is to blame without. If there is nobody like that, those who still run are looked
at: who is stopped has been lost by the others (Gloo waits 30 s for it).

A worker that trains may take the first SIGTERM as the wish to stop after the next step, and says
so in its status. When steps cannot end any more it gets others at once.
"""

import enum
import signal
from typing import Dict, List, NamedTuple, Optional, Tuple

from epl.launcher import events
from epl.launcher.events import Timer
from epl.launcher.options import GRACE_S
from epl.shared import progress
from epl.shared.progress import Status

# A process inside a system call that does not return (a dead network disk, a broken driver)
# outlives even SIGKILL for a while; the launcher does not wait for it for ever.
KILL_WAIT_S = 10.0
DUMP_WAIT_S = 5.0
# Longer than a worker that knows who left early waits before it says so and fails (1 s, see
# `epl.runtime.control_plane`): its words are to be in its log.
MISSED_S = 5.0
FAILED_S = 1.5
VICTIM_S = 5.0
# A worker's system forgets the handler of the first SIGTERM when it calls it, which is at once but
# for a process that is stopped or inside a system call that cannot be interrupted.
INSIST_S = 0.05
HANG_UP_S = 0.5
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FORWARDED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)


class Phase(enum.Enum):
    RUNNING = "running"
    DUMPING = "dumping"
    ENDING = "ending"
    KILLING = "killing"
    FINISHED = "finished"


class Limits(NamedTuple):
    """Times in seconds; None: no limit. See `Options`.

    Attributes:
      spent: how much of `timeout` earlier attempts have taken.
      patient: a worker that says it fails is waited for without limit (somebody debugs it).
    """

    grace: float = GRACE_S
    timeout: Optional[float] = None
    start: Optional[float] = None
    stall: Optional[float] = None
    spent: float = 0.0
    patient: bool = False


class Job:
    """The decisions of one attempt.

    Args:
      hosts: the name of every worker's host, in the order of worker indices.
      limits: how long things may take.

    Attributes:
      phase: see the picture at the top of the module.
      outcome: why the job ends; None while it runs.
      running: indices of the workers that have not exited.
      returncodes: of those that have, as in `WorkerExited`.
      status: what each worker last said about its progress.
      became_ready: a worker has begun to train.
      stalled: the workers that were asked for their stacks.
      stalled_status: what each had said then; the end changes it.
      interrupted_by: the last signal that asked for the job's end, whatever it ends for; or 0.
    """

    def __init__(self, hosts: List[str], limits: Limits):
        self.phase = Phase.RUNNING
        self.outcome: Optional[events.Outcome] = None
        self.running = set(range(len(hosts)))
        self.returncodes: Dict[int, int] = {}
        self.status: Dict[int, Status] = {}
        self.became_ready = False
        self.stalled: List[int] = []
        self.stalled_status: Dict[int, Status] = {}
        self.interrupted_by = 0
        self._hosts = hosts
        self._groups = set(range(len(hosts)))
        self._limits = limits
        self._starting = limits.start is not None
        self._wishful: List[int] = []
        # Who left early, who may miss it, in which step.
        self._suspects: Optional[Tuple[int, int, int]] = None
        self._settling = False
        # The first that exited because it had lost another.
        self._victim: Optional[events.WorkerExited] = None

    def begin(self) -> List[events.Action]:
        """What is to be done when the workers have been started."""
        actions: List[events.Action] = []
        if self._limits.timeout is not None:
            left = max(0.0, self._limits.timeout - self._limits.spent)
            actions.append(events.StartTimer(Timer.TIMEOUT, left))
        if self._limits.start is not None:
            actions.append(events.StartTimer(Timer.START, self._limits.start))
        return actions

    def handle(self, event: events.Event) -> List[events.Action]:
        """Take note of `event`; returns what is to be done now, in this order."""
        if isinstance(event, events.WorkerExited):
            return self._worker_exited(event)
        if isinstance(event, events.GroupGone):
            return self._group_gone(event.worker)
        if isinstance(event, events.Progress):
            return self._progress(event)
        if isinstance(event, events.HostLost):
            return self._host_lost(event)
        if isinstance(event, events.SignalReceived):
            return self._signal_received(event.signum)
        if isinstance(event, events.TimeOver):
            return self._time_over(event.timer)
        return self._stacks_known(event) if self.phase is Phase.DUMPING else []

    def _worker_exited(self, event: events.WorkerExited) -> List[events.Action]:
        self.running.discard(event.worker)
        self.returncodes[event.worker] = event.returncode
        if self.phase is not Phase.RUNNING:
            self._note_obedience()
            return []
        if event.returncode > 0 and self._state(event.worker) == progress.LOST:
            return self._victim_exited(event)
        if event.returncode != 0:
            return self._end(events.WorkerFailed(event.worker, event.returncode))
        if self._victim is not None and self._state(event.worker) != progress.FINISHED:
            return self._end(events.LeftEarly(event.worker, self._victim.worker))
        if not self.running:
            return self._end(self._verdict() if self._victim else events.Succeeded())
        return self._after_news()

    def _victim_exited(self, event: events.WorkerExited) -> List[events.Action]:
        """It says that it has lost another worker: that one is to blame, if there is one."""
        left = self._left_early()
        if left:
            return self._end(events.LeftEarly(left[0], event.worker))
        self._victim = self._victim or event
        if all(self._state(worker) == progress.LOST for worker in self.running):
            return self._end(self._verdict())
        return self._settle(VICTIM_S)

    def _settle(self, seconds: float) -> List[events.Action]:
        """Wait for the exit of a worker that is to blame; see the top of the module."""
        if self._settling:
            return []
        self._settling = True
        return [events.StartTimer(Timer.SETTLE, seconds)]

    def _verdict(self) -> events.Outcome:
        """Who is to blame if nobody exits who would be."""
        for worker in sorted(self.running):
            if self._state(worker) == progress.FAILED:
                return events.WorkerFailed(worker, 1, self.status[worker].error or "")
        for worker in sorted(self.running):
            if self._state(worker) == progress.LEFT and self._victim is not None:
                return events.LeftEarly(worker, self._victim.worker)
        assert self._victim is not None
        return events.WorkerFailed(self._victim.worker, self._victim.returncode)

    def _note_obedience(self) -> None:
        """SIGTERM asks for a stop: if everybody stopped by itself, that is a success."""
        if self.outcome == events.Interrupted(signal.SIGTERM) and self.phase is Phase.ENDING \
                and not self.running and not any(self.returncodes.values()):
            self.outcome = events.Succeeded(int(signal.SIGTERM))

    def _group_gone(self, worker: int) -> List[events.Action]:
        self._groups.discard(worker)
        if self._groups or self.phase not in (Phase.ENDING, Phase.KILLING):
            return []
        return self._finish()

    def _progress(self, event: events.Progress) -> List[events.Action]:
        before = self.status.get(event.worker)
        self.status[event.worker] = event.status
        self.became_ready = self.became_ready or event.status.ready
        if self.phase is not Phase.RUNNING:
            return []
        actions = self._stall_clock(before, event.status) + self._after_news()
        if self.phase is Phase.RUNNING and event.status.state == progress.FAILED \
                and event.worker in self.running and not self._limits.patient:
            actions += self._settle(FAILED_S)
        return actions

    def _stall_clock(self, before: Optional[Status], now: Status) -> List[events.Action]:
        """Time runs from the first `ready` on, and anew whenever a worker has got on.

        That is a step, the end of a training, or a sign of life from one that does not wait.
        """
        if self._limits.stall is None or not now.ready:
            return []
        if all(self._state(worker) == progress.FINISHED for worker in self.running):
            return [events.StopTimer(Timer.STALL)]
        moved = (before is None or before.step != now.step or not before.ready
                 or now.state not in (progress.WAITING, progress.LOST))
        return [events.StartTimer(Timer.STALL, self._limits.stall)] if moved else []

    def _after_news(self) -> List[events.Action]:
        """What follows from the exits and the states of all workers together."""
        actions: List[events.Action] = []
        if self._starting and all(self._has_begun(worker) for worker in self.running):
            self._starting = False
            actions.append(events.StopTimer(Timer.START))
        never_came = self._never_came()
        if never_came is not None:
            return actions + self._end(never_came)
        suspects = self._missing()
        if suspects != self._suspects:
            self._suspects = suspects
            actions.append(events.StartTimer(Timer.EARLY_EXIT, MISSED_S) if suspects
                           else events.StopTimer(Timer.EARLY_EXIT))
        return actions

    def _has_begun(self, worker: int) -> bool:
        return worker in self.status and (self.status[worker].ready
                                          or self._state(worker) == progress.FINISHED)

    def _state(self, worker: int) -> Optional[str]:
        return self.status[worker].state if worker in self.status else None

    def _left_early(self) -> List[int]:
        return [worker for worker in sorted(self.returncodes)
                if self.returncodes[worker] == 0 and self._state(worker) != progress.FINISHED]

    def _never_came(self) -> Optional[events.LeftEarly]:
        """Who left before `epl.init`, and who waits there: for that one there is no other end."""
        left = [worker for worker in self._left_early()
                if worker not in self.status or self.status[worker].arrives]
        waiting = [worker for worker in sorted(self.running)
                   if worker in self.status and self.status[worker].arrives]
        return events.LeftEarly(left[0], waiting[0], events.ARRIVAL) if left and waiting else None

    def _missing(self) -> Optional[Tuple[int, int, int]]:
        left = self._left_early()
        waiting = [worker for worker in sorted(self.running)
                   if self._state(worker) in (progress.WAITING, progress.LOST)]
        if not left or not waiting:
            return None
        return left[0], waiting[0], self.status[waiting[0]].step

    def _host_lost(self, event: events.HostLost) -> List[events.Action]:
        lost = [w for w, host in enumerate(self._hosts) if host == event.host]
        self.running.difference_update(lost)
        self._groups.difference_update(lost)
        if self.phase is Phase.RUNNING:
            return self._end(events.LostHost(event.host, event.reason))
        return self._finish() if not self._groups and self.phase is not Phase.FINISHED else []

    def _signal_received(self, signum: int) -> List[events.Action]:
        if signum in FORWARDED_SIGNALS:
            return self._signal_groups(signum) if self.phase is Phase.RUNNING else []
        self.interrupted_by = signum
        if self.phase is Phase.RUNNING:
            # SIGTERM asks for the end, after Ctrl-C too: an exception in some line is no way to
            # stop. Those who handle SIGHUP get it, and some time to do so.
            return self._end(events.Interrupted(signum))
        # Whoever asks twice does not want to wait for the grace time.
        return self._kill() if self.phase in (Phase.DUMPING, Phase.ENDING) else []

    def _time_over(self, timer: Timer) -> List[events.Action]:
        if timer is Timer.GRACE:
            if self.phase is Phase.ENDING:
                return self._kill()
            return self._finish() if self.phase is Phase.KILLING else []
        if timer is Timer.DUMP:
            return self._terminate() if self.phase is Phase.DUMPING else []
        if timer is Timer.INSIST:
            return self._insist() if self.phase is Phase.ENDING else []
        if self.phase is not Phase.RUNNING:
            return []
        if timer is Timer.EARLY_EXIT:
            return self._end(events.LeftEarly(*self._suspects[:2])) if self._suspects else []
        if timer is Timer.SETTLE:
            return self._settled()
        if timer is Timer.TIMEOUT:
            return self._end(events.TimedOut(timer, self._limits.timeout or 0.0))
        limit = self._limits.start if timer is Timer.START else self._limits.stall
        self.phase, self.outcome = Phase.DUMPING, events.TimedOut(timer, limit or 0.0)
        self.stalled, self.stalled_status = sorted(self.running), dict(self.status)
        return [events.DumpStacks(tuple(self.stalled)),
                events.StartTimer(Timer.DUMP, DUMP_WAIT_S)]

    def _settled(self) -> List[events.Action]:
        self._settling = False
        failing = any(self._state(worker) == progress.FAILED for worker in self.running)
        if not failing and self._victim is None:
            return []
        outcome = self._verdict()
        if self._victim is None or outcome != events.WorkerFailed(*self._victim):
            return self._end(outcome)
        # Nobody failed but those who lost another. One that is stopped cannot say anything.
        self.phase, self.outcome = Phase.DUMPING, outcome
        return [events.DumpStacks(tuple(sorted(self.running))),
                events.StartTimer(Timer.DUMP, DUMP_WAIT_S)]

    def _stacks_known(self, event: events.StacksKnown) -> List[events.Action]:
        if event.stopped and self._victim is not None:
            self.outcome = events.Stopped(event.stopped[0], self._victim.worker)
        return self._terminate()

    def _end(self, outcome: events.Outcome) -> List[events.Action]:
        self.outcome = outcome
        return self._terminate()

    def _terminate(self) -> List[events.Action]:
        self.phase = Phase.ENDING
        if not self._groups:
            return self._finish()
        hung_up = self.outcome == events.Interrupted(signal.SIGHUP)
        actions = self._signal_groups(signal.SIGHUP if hung_up else signal.SIGTERM)
        actions.append(events.StartTimer(Timer.GRACE, self._limits.grace))
        self._wishful = self._stoppable()
        if hung_up:
            actions.append(events.StartTimer(Timer.INSIST, HANG_UP_S))
        elif self._steps_cannot_end() and self._wishful:
            actions.append(events.StartTimer(Timer.INSIST, INSIST_S))
        return actions

    def _insist(self) -> List[events.Action]:
        if isinstance(self.outcome, events.Interrupted):
            return self._signal_groups(signal.SIGTERM)
        # Who has noted the first may meanwhile have taken its readiness to stop back. The second
        # may have come before the first was taken: both were one then.
        left = [worker for worker in self._wishful if worker in self.running]
        actions: List[events.Action] = [
            events.SignalGroup(worker, int(signal.SIGTERM)) for worker in left]
        return actions + ([events.StartTimer(Timer.INSIST, HANG_UP_S)] if left else [])

    def _stoppable(self) -> List[int]:
        """The workers for which the first SIGTERM is a wish."""
        return [worker for worker in sorted(self.running)
                if worker in self.status and self.status[worker].stops_at_sigterm]

    def _steps_cannot_end(self) -> bool:
        return not isinstance(self.outcome, (events.Succeeded, events.Interrupted)) \
            and getattr(self.outcome, "timer", None) is not Timer.TIMEOUT

    def _kill(self) -> List[events.Action]:
        self.phase = Phase.KILLING
        return self._signal_groups(signal.SIGKILL) + [events.StartTimer(Timer.GRACE, KILL_WAIT_S)]

    def _finish(self) -> List[events.Action]:
        self.phase = Phase.FINISHED
        return [events.Finish()]

    def _signal_groups(self, signum: int) -> List[events.Action]:
        return [events.SignalGroup(worker, int(signum)) for worker in sorted(self._groups)]
