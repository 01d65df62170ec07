# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The launcher's decisions, as tables of events and the actions that follow. No process runs."""

import signal

import pytest

from epl.launcher import events
from epl.launcher.events import Timer
from epl.launcher.job import (
    DUMP_WAIT_S,
    FAILED_S,
    HANG_UP_S,
    INSIST_S,
    KILL_WAIT_S,
    MISSED_S,
    VICTIM_S,
    Job,
    Limits,
    Phase,
)
from epl.shared.progress import ARRIVAL, Status

GRACE_S = 5.0
TERM, KILL, INT, HUP = (int(s) for s in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT,
                                         signal.SIGHUP))
USR1 = int(signal.SIGUSR1)
START_GRACE = events.StartTimer(Timer.GRACE, GRACE_S)
START_LAST_WAIT = events.StartTimer(Timer.GRACE, KILL_WAIT_S)
INSIST = events.StartTimer(Timer.INSIST, INSIST_S)
INSIST_AGAIN = events.StartTimer(Timer.INSIST, HANG_UP_S)
WAIT_FOR_CULPRIT = [events.StartTimer(Timer.SETTLE, VICTIM_S)]
WAIT_FOR_END = [events.StartTimer(Timer.SETTLE, FAILED_S)]
SETTLED = events.TimeOver(Timer.SETTLE)
GRACE_OVER = events.TimeOver(Timer.GRACE)
MISSED = [events.StartTimer(Timer.EARLY_EXIT, MISSED_S)]
STALL = [events.StartTimer(Timer.STALL, 7.0)]
NO_STALL = [events.StopTimer(Timer.STALL)]


def group(signum, *workers):
    return [events.SignalGroup(worker, signum) for worker in workers]


def terminate(*workers):
    return group(TERM, *workers) + [START_GRACE]


def kill(*workers):
    return group(KILL, *workers) + [START_LAST_WAIT]


def dump(*workers):
    return [events.DumpStacks(workers), events.StartTimer(Timer.DUMP, DUMP_WAIT_S)]


def says(worker, state, step=0, ready=True, waits_for=None, time=0.0, stops=False, error=None):
    return events.Progress(worker, Status(state, ready, step, waits_for, time, 1, stops, error))


def arrives(worker):
    return says(worker, "waiting", ready=False, waits_for=ARRIVAL)


def gone(*workers):
    return [(events.GroupGone(worker), []) for worker in workers[:-1]] + [
        (events.GroupGone(workers[-1]), [events.Finish()])]


TABLES = {
    "one worker succeeds": (1, [
        (events.WorkerExited(0, 0), terminate(0)),
        (events.GroupGone(0), [events.Finish()]),
    ], events.Succeeded(), 0),
    "a worker that is done early is not ended and does not end the others": (2, [
        (events.WorkerExited(1, 0), []),
        (events.WorkerExited(0, 0), terminate(0, 1)),
        (events.GroupGone(1), []),
        (events.GroupGone(0), [events.Finish()]),
    ], events.Succeeded(), 0),
    "a non-zero exit ends all": (3, [
        (events.WorkerExited(1, 7), terminate(0, 1, 2)),
        (events.GroupGone(1), []),
        (events.WorkerExited(0, -TERM), []),
        (events.GroupGone(0), []),
        (events.WorkerExited(2, 0), []),
        (events.GroupGone(2), [events.Finish()]),
    ], events.WorkerFailed(1, 7), 7),
    "only the first failure counts": (2, [
        (events.WorkerExited(1, -KILL), terminate(0, 1)),
        (events.WorkerExited(0, 1), []),
        (events.GroupGone(0), []),
        (events.GroupGone(1), [events.Finish()]),
    ], events.WorkerFailed(1, -KILL), 137),
    "a failure after another worker's success counts": (2, [
        (events.WorkerExited(0, 0), []),
        (events.WorkerExited(1, 3), terminate(0, 1)),
        (events.GroupGone(0), []),
        (events.GroupGone(1), [events.Finish()]),
    ], events.WorkerFailed(1, 3), 3),
    "who ignores SIGTERM is killed after the grace time": (2, [
        (events.WorkerExited(1, 7), terminate(0, 1)),
        (events.GroupGone(1), []),
        (GRACE_OVER, kill(0)),
        (events.WorkerExited(0, -KILL), []),
        (events.GroupGone(0), [events.Finish()]),
    ], events.WorkerFailed(1, 7), 7),
    "a process that outlives SIGKILL is not waited for without end": (1, [
        (events.WorkerExited(0, 1), terminate(0)),
        (GRACE_OVER, kill(0)),
        (GRACE_OVER, [events.Finish()]),
    ], events.WorkerFailed(0, 1), 1),
    "Ctrl-C ends all": (2, [
        (events.SignalReceived(INT), terminate(0, 1)),
        (events.WorkerExited(0, -TERM), []),
        (events.WorkerExited(1, -TERM), []),
        (events.GroupGone(0), []),
        (events.GroupGone(1), [events.Finish()]),
    ], events.Interrupted(INT), 130),
    "Ctrl-C twice does not wait": (2, [
        (events.SignalReceived(INT), terminate(0, 1)),
        (events.SignalReceived(INT), kill(0, 1)),
        (events.SignalReceived(INT), []),
        (events.WorkerExited(0, -KILL), []),
        (events.WorkerExited(1, -KILL), []),
        (events.GroupGone(0), []),
        (events.GroupGone(1), [events.Finish()]),
    ], events.Interrupted(INT), 130),
    "SIGTERM while a failure is being cleaned up keeps the failure": (2, [
        (events.WorkerExited(0, 9), terminate(0, 1)),
        (events.GroupGone(0), []),
        (events.SignalReceived(TERM), kill(1)),
        (events.WorkerExited(1, -KILL), []),
        (events.GroupGone(1), [events.Finish()]),
    ], events.WorkerFailed(0, 9), 9),
    "SIGTERM": (1, [
        (events.SignalReceived(TERM), terminate(0)),
        (events.WorkerExited(0, 0), []),
        (events.GroupGone(0), [events.Finish()]),
    ], events.Succeeded(TERM), 0),
    "SIGTERM that a worker does not survive": (2, [
        (events.SignalReceived(TERM), terminate(0, 1)),
        (events.WorkerExited(0, 0), []),
        (events.WorkerExited(1, -TERM), []),
    ] + gone(0, 1), events.Interrupted(TERM), 143),
    "SIGTERM that is not obeyed within the grace time": (1, [
        (events.SignalReceived(TERM), terminate(0)),
        (GRACE_OVER, kill(0)),
        (events.WorkerExited(0, 0), []),
    ] + gone(0), events.Interrupted(TERM), 143),
    "SIGHUP goes to those who handle it, and SIGTERM to all": (2, [
        (events.SignalReceived(HUP), group(HUP, 0, 1) + [START_GRACE, INSIST_AGAIN]),
        (events.TimeOver(Timer.INSIST), group(TERM, 0, 1)),
        (events.WorkerExited(0, 0), []),
        (events.WorkerExited(1, 0), []),
    ] + gone(0, 1), events.Interrupted(HUP), 129),
    "SIGUSR1 is passed on and ends nothing": (2, [
        (events.SignalReceived(USR1), group(USR1, 0, 1)),
        (events.WorkerExited(0, 0), []),
        (events.GroupGone(0), []),
        (events.SignalReceived(USR1), group(USR1, 1)),
        (events.WorkerExited(1, 0), terminate(1)),
        (events.SignalReceived(USR1), []),
    ] + gone(1), events.Succeeded(), 0),
    "groups that are gone need no SIGTERM": (2, [
        (events.WorkerExited(0, 0), []),
        (events.GroupGone(0), []),
        (events.WorkerExited(1, 4), terminate(1)),
    ] + gone(1), events.WorkerFailed(1, 4), 4),
    "a lost machine ends the job on the others": (3, [
        (events.HostLost("host1", "silent for 9 s"), terminate(0, 2)),
        (events.WorkerExited(0, -TERM), []),
        (events.WorkerExited(2, -TERM), []),
    ] + gone(0, 2), events.LostHost("host1", "silent for 9 s"), 1),
    "a machine that is lost at the end is not waited for": (2, [
        (events.WorkerExited(0, 3), terminate(0, 1)),
        (events.GroupGone(0), []),
        (events.HostLost("host1", "silent"), [events.Finish()]),
    ], events.WorkerFailed(0, 3), 3),
    "the only machine is lost": (1, [
        (events.HostLost("host0", "silent"), [events.Finish()]),
    ], events.LostHost("host0", "silent"), 1),
    "plain programs may leave whenever they want": (2, [
        (events.WorkerExited(0, 0), []),
        (events.GroupGone(0), []),
        (events.WorkerExited(1, 0), terminate(1)),
    ] + gone(1), events.Succeeded(), 0),
    "who leaves before the end and is missed has failed": (2, [
        (says(0, "step", 3), []),
        (says(1, "step", 3), []),
        (events.WorkerExited(1, 0), []),
        (says(0, "waiting", 3, waits_for="step 4"), MISSED),
        (events.TimeOver(Timer.EARLY_EXIT), terminate(0, 1)),
    ] + gone(1, 0), events.LeftEarly(1, 0), 1),
    "so has who left without having called epl.init": (2, [
        (says(0, "waiting", ready=False, waits_for="broadcast"), []),
        (events.WorkerExited(1, 0), MISSED),
        (events.TimeOver(Timer.EARLY_EXIT), terminate(0, 1)),
    ] + gone(1, 0), events.LeftEarly(1, 0), 1),
    "who still makes steps does not miss anybody": (2, [
        (says(0, "waiting", 3, waits_for="step 4"), []),
        (events.WorkerExited(1, 0), MISSED),
        (says(0, "waiting", 4, waits_for="step 5"), MISSED),
        (says(0, "step", 5), [events.StopTimer(Timer.EARLY_EXIT)]),
        (events.TimeOver(Timer.EARLY_EXIT), []),
        (events.WorkerExited(0, 0), terminate(0, 1)),
    ] + gone(1, 0), events.Succeeded(), 0),
    "who has finished training may leave": (2, [
        (says(0, "step", 3), []),
        (says(1, "finished", 3), []),
        (events.WorkerExited(1, 0), []),
        (says(0, "waiting", 3, waits_for="something else"), []),
        (events.WorkerExited(0, 0), terminate(0, 1)),
    ] + gone(1, 0), events.Succeeded(), 0),
    "a worker that fails because another left early is not to blame": (2, [
        (says(0, "step", 3), []),
        (events.WorkerExited(1, 0), []),
        (says(0, "lost", 3), MISSED),
        (events.WorkerExited(0, 1), terminate(0, 1)),
    ] + gone(1, 0), events.LeftEarly(1, 0), 1),
    "one that is killed is": (2, [
        (events.WorkerExited(1, 0), []),
        (says(0, "lost", 3), MISSED),
        (events.WorkerExited(0, -KILL), terminate(0, 1)),
    ] + gone(1, 0), events.WorkerFailed(0, -KILL), 137),
    "who ends before epl.init, where another waits, is missed at once": (2, [
        (arrives(0), []),
        (events.WorkerExited(1, 0), terminate(0, 1)),
    ] + gone(1, 0), events.LeftEarly(1, 0, "epl.init"), 1),
    "so it is if the other comes there later": (3, [
        (events.WorkerExited(2, 0), []),
        (says(1, "initialized", ready=False), []),
        (arrives(0), terminate(0, 1, 2)),
    ] + gone(2, 1, 0), events.LeftEarly(2, 0, "epl.init"), 1),
    "so is who waited in epl.init itself, and left": (2, [
        (arrives(1), []),
        (arrives(0), []),
        (events.WorkerExited(1, 0), terminate(0, 1)),
    ] + gone(1, 0), events.LeftEarly(1, 0, "epl.init"), 1),
    "who was there before has five seconds: the others' word may be old": (2, [
        (arrives(0), []),
        (says(1, "finished", ready=False), []),
        (events.WorkerExited(1, 0), []),
        (says(0, "finished", ready=False), []),
        (events.WorkerExited(0, 0), terminate(0, 1)),
    ] + gone(1, 0), events.Succeeded(), 0),
    "a failure before epl.init is one": (2, [
        (arrives(0), []),
        (events.WorkerExited(1, 3), terminate(0, 1)),
    ] + gone(1, 0), events.WorkerFailed(1, 3), 3),
    "who takes long to end after its error is to blame, not those who lost it": (3, [
        (says(1, "failed", 3, error="ValueError: no data"), WAIT_FOR_END),
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 1), []),
        (says(2, "lost", 3), []),
        (events.WorkerExited(2, 1), []),
        (events.WorkerExited(1, 9), terminate(0, 1, 2)),
    ] + gone(0, 1, 2), events.WorkerFailed(1, 9), 9),
    "it is not waited for without end": (2, [
        (says(1, "failed", 3, error="ValueError: no data"), WAIT_FOR_END),
        (SETTLED, terminate(0, 1)),
        (events.WorkerExited(1, -TERM), []),
    ] + gone(0, 1), events.WorkerFailed(1, 1, "ValueError: no data"), 1),
    "an error that the script has dealt with ends nothing": (2, [
        (says(1, "failed", 3, error="ValueError: no data"), WAIT_FOR_END),
        (says(1, "step", 4), []),
        (SETTLED, []),
        (says(1, "failed", 5, error="ValueError: no data"), WAIT_FOR_END),
        (events.WorkerExited(1, 1), terminate(0, 1)),
    ] + gone(0, 1), events.WorkerFailed(1, 1), 1),
    "a victim that exits first is not to blame": (3, [
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 1), WAIT_FOR_CULPRIT),
        (events.WorkerExited(1, 7), terminate(0, 1, 2)),
    ] + gone(0, 1, 2), events.WorkerFailed(1, 7), 7),
    "nor if the other dies by a signal": (2, [
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 1), WAIT_FOR_CULPRIT),
        (events.WorkerExited(1, -KILL), terminate(0, 1)),
    ] + gone(0, 1), events.WorkerFailed(1, -KILL), 137),
    "nor if the other exits with 0 before its training was finished": (2, [
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 1), WAIT_FOR_CULPRIT),
        (events.WorkerExited(1, 0), terminate(0, 1)),
    ] + gone(0, 1), events.LeftEarly(1, 0), 1),
    "nor if the other's script has ended, and its process takes long": (2, [
        (says(1, "left", 3), []),
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 1), WAIT_FOR_CULPRIT),
        (SETTLED, terminate(0, 1)),
    ] + gone(0, 1), events.LeftEarly(1, 0), 1),
    "if all have lost each other there is nobody to wait for": (2, [
        (says(0, "lost", 3), []),
        (says(1, "lost", 3), []),
        (events.WorkerExited(0, 1), terminate(0, 1)),
    ] + gone(0, 1), events.WorkerFailed(0, 1), 1),
    "a victim whose culprit does not show": (2, [
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 4), WAIT_FOR_CULPRIT),
        (SETTLED, dump(1)),
        (events.StacksKnown(), terminate(0, 1)),
    ] + gone(0, 1), events.WorkerFailed(0, 4), 4),
    "a victim whose culprit is stopped": (3, [
        (says(0, "lost", 3), []),
        (events.WorkerExited(0, 4), WAIT_FOR_CULPRIT),
        (says(2, "lost", 3), []),
        (SETTLED, dump(1, 2)),
        (events.WorkerExited(2, 4), []),
        (events.StacksKnown((1,)), terminate(0, 1, 2)),
    ] + gone(0, 1, 2), events.Stopped(1, 0), 1),
    "when steps cannot end any more, who notes the first SIGTERM gets another": (2, [
        (says(0, "step", 3, stops=True), []),
        (says(1, "step", 3, stops=True), []),
        (events.WorkerExited(1, 7),
         terminate(0, 1) + [INSIST]),
        (events.GroupGone(1), []),
        (says(0, "lost", 3), []),
        (events.TimeOver(Timer.INSIST), group(TERM, 0) + [INSIST_AGAIN]),
        (events.TimeOver(Timer.INSIST), group(TERM, 0) + [INSIST_AGAIN]),  # two became one
        (events.WorkerExited(0, -TERM), []),
        (events.TimeOver(Timer.INSIST), []),
    ] + gone(0), events.WorkerFailed(1, 7), 7),
    "while SIGTERM is a wish they have the grace time": (1, [
        (says(0, "step", 3, stops=True), []),
        (events.SignalReceived(TERM), terminate(0)),
        (events.WorkerExited(0, 0), []),
    ] + gone(0), events.Succeeded(TERM), 0),
    "what a script left running after a success is ended": (1, [
        (events.WorkerExited(0, 0), terminate(0)),
        (GRACE_OVER, kill(0)),
        (events.GroupGone(0), [events.Finish()]),
    ], events.Succeeded(), 0),
}

# The same with limits: timeout 100, start 20, stall 7 seconds.
BEGIN = [events.StartTimer(Timer.TIMEOUT, 100.0), events.StartTimer(Timer.START, 20.0)]
STARTED = [events.StopTimer(Timer.START)]

LIMITED = {
    "the time of the job is over": (1, [
        (events.TimeOver(Timer.TIMEOUT), terminate(0)),
        (events.WorkerExited(0, 0), []),
    ] + gone(0), events.TimedOut(Timer.TIMEOUT, 100.0), 124),
    "not every worker is ready in time": (2, [
        (says(0, "ready"), STALL),
        (says(1, "initialized", ready=False), []),
        (events.TimeOver(Timer.START), dump(0, 1)),
        (events.StacksKnown(), terminate(0, 1)),
        (events.TimeOver(Timer.DUMP), []),
    ] + gone(0, 1), events.TimedOut(Timer.START, 20.0), 124),
    "the start is over when all that run are ready": (3, [
        (says(0, "ready"), STALL),
        (says(1, "step", 1), STALL),
        (events.WorkerExited(2, 0), STARTED),
        (events.WorkerExited(0, 0), []),
        (events.WorkerExited(1, 0), terminate(0, 1, 2)),
    ] + gone(0, 1, 2), events.Succeeded(), 0),
    "who has ended without training is not waited for at the start": (2, [
        (says(0, "ready"), STALL),
        (says(1, "finished", ready=False), STARTED),
        (events.WorkerExited(1, 0), []),
        (events.WorkerExited(0, 0), terminate(0, 1)),
    ] + gone(0, 1), events.Succeeded(), 0),
    "no worker gets on": (2, [
        (says(0, "ready"), STALL),
        (says(1, "ready"), STALL + STARTED),
        (says(0, "waiting", 0, waits_for="step 1"), []),
        (says(1, "waiting", 0, waits_for="step 1"), []),
        (says(0, "step", 1), STALL),
        (says(0, "waiting", 1, waits_for="step 2"), []),
        (says(0, "waiting", 1, waits_for="step 2", time=9.0), []),
        (says(1, "waiting", 1, waits_for="step 2"), STALL),  # its first step ended unseen
        (events.TimeOver(Timer.STALL), dump(0, 1)),
        (events.WorkerExited(1, -6), []),
        (events.TimeOver(Timer.DUMP), terminate(0, 1)),
    ] + gone(0, 1), events.TimedOut(Timer.STALL, 7.0), 124),
    "stacks that do not come are not waited for, nor a second Ctrl-C": (1, [
        (says(0, "step", 1), STALL + STARTED),
        (events.TimeOver(Timer.STALL), dump(0)),
        (events.SignalReceived(INT), kill(0)),
        (events.StacksKnown(), []),
    ] + gone(0), events.TimedOut(Timer.STALL, 7.0), 124),
    "an evaluation that gives signs of life is no stall": (1, [
        (says(0, "step", 1), STALL + STARTED),
        (says(0, "step", 1, time=1.0), STALL),
        (says(0, "initialized", 0, ready=False), []),
        (events.WorkerExited(0, 0), terminate(0)),
    ] + gone(0), events.Succeeded(), 0),
    "after the training there is no stall": (2, [
        (says(0, "finished", 3), STALL),
        (says(1, "finished", 3), NO_STALL + STARTED),
        (says(0, "step", 4), STALL),
        (events.WorkerExited(0, 0), []),
        (events.WorkerExited(1, 0), terminate(0, 1)),
    ] + gone(0, 1), events.Succeeded(), 0),
}


@pytest.mark.parametrize("name", sorted(TABLES) + sorted(LIMITED))
def test_table(name):
    num_workers, rows, outcome, exit_code = TABLES[name] if name in TABLES else LIMITED[name]
    limits = Limits(GRACE_S) if name in TABLES else Limits(GRACE_S, 100.0, 20.0, 7.0)
    job = Job(["host{}".format(i) for i in range(num_workers)], limits)
    assert job.begin() == ([] if name in TABLES else BEGIN)
    for event, actions in rows:
        assert job.phase is not Phase.FINISHED
        assert job.handle(event) == actions, event
    assert job.phase is Phase.FINISHED
    assert job.outcome == outcome
    assert job.outcome.exit_code == exit_code


def test_nothing_follows_the_end():
    job = Job(["a"], Limits(GRACE_S, 100.0, 20.0, 7.0))
    job.handle(events.WorkerExited(0, 0))
    job.handle(events.GroupGone(0))
    for event in [events.SignalReceived(INT), events.SignalReceived(USR1), events.GroupGone(0),
                  events.WorkerExited(0, 1), events.HostLost("a", ""), events.StacksKnown(),
                  says(0, "step")] + [events.TimeOver(timer) for timer in Timer]:
        assert job.handle(event) == []
    assert job.outcome == events.Succeeded()


def test_running_names_the_workers_that_are_waited_for():
    job = Job(["a"] * 3, Limits())
    job.handle(events.WorkerExited(2, 0))
    assert job.running == {0, 1}
    job.handle(events.WorkerExited(0, 4))
    assert job.running == {1}
    assert job.returncodes == {2: 0, 0: 4}


def test_earlier_attempts_have_taken_of_the_time():
    job = Job(["a"], Limits(GRACE_S, timeout=100.0, spent=30.0))
    assert job.begin() == [events.StartTimer(Timer.TIMEOUT, 70.0)]
    job.handle(events.TimeOver(Timer.TIMEOUT))
    assert job.outcome == events.TimedOut(Timer.TIMEOUT, 100.0)


def test_a_wish_for_the_end_is_known_whatever_the_job_ends_for():
    job = Job(["a"], Limits())
    job.handle(events.SignalReceived(USR1))
    job.handle(events.WorkerExited(0, 9))
    assert job.interrupted_by == 0
    job.handle(events.SignalReceived(TERM))
    assert (job.interrupted_by, job.outcome) == (TERM, events.WorkerFailed(0, 9))


def test_what_workers_had_said_when_they_stalled_is_kept():
    job = Job(["a", "b"], Limits(GRACE_S, stall=7.0))
    for event in (says(0, "waiting", 3, waits_for="step 4"), says(1, "step", 3),
                  events.TimeOver(Timer.STALL), says(0, "lost", 3), events.StacksKnown(),
                  says(1, "failed", 3)):
        job.handle(event)
    assert [job.stalled_status[worker].state for worker in job.stalled] == ["waiting", "step"]
    assert [job.status[worker].state for worker in job.stalled] == ["lost", "failed"]


def test_who_is_debugged_may_look_at_its_error():
    job = Job(["a"], Limits(patient=True))
    assert job.handle(says(0, "failed", error="ValueError: no data")) == []
    job.handle(events.WorkerExited(0, 1))
    assert job.outcome == events.WorkerFailed(0, 1)


def test_what_counts_as_ready():
    job = Job(["a"], Limits())
    job.handle(says(0, "initialized", ready=False))
    job.handle(says(0, "waiting", ready=False, waits_for="broadcast"))
    assert not job.became_ready
    job.handle(says(0, "ready"))
    assert job.became_ready
