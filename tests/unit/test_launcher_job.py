# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The launcher's decisions, as tables of events and the actions that follow. No process runs."""

import signal

import pytest

from epl.launcher import events
from epl.launcher.job import KILL_WAIT_S, Job, Phase

GRACE_S = 5.0
TERM, KILL, INT = int(signal.SIGTERM), int(signal.SIGKILL), int(signal.SIGINT)
START_GRACE = events.StartGrace(GRACE_S)
START_LAST_WAIT = events.StartGrace(KILL_WAIT_S)


def terminate(*workers):
    return [events.SignalGroup(worker, TERM) for worker in workers] + [START_GRACE]


def kill(*workers):
    return [events.SignalGroup(worker, KILL) for worker in workers] + [START_LAST_WAIT]


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
        (events.GraceOver(), kill(0)),
        (events.WorkerExited(0, -KILL), []),
        (events.GroupGone(0), [events.Finish()]),
    ], events.WorkerFailed(1, 7), 7),
    "a process that outlives SIGKILL is not waited for without end": (1, [
        (events.WorkerExited(0, 1), terminate(0)),
        (events.GraceOver(), kill(0)),
        (events.GraceOver(), [events.Finish()]),
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
    ], events.Interrupted(TERM), 143),
    "what a script left running after a success is ended": (1, [
        (events.WorkerExited(0, 0), terminate(0)),
        (events.GraceOver(), kill(0)),
        (events.GroupGone(0), [events.Finish()]),
    ], events.Succeeded(), 0),
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_table(name):
    num_workers, rows, outcome, exit_code = TABLES[name]
    job = Job(num_workers, GRACE_S)
    for event, actions in rows:
        assert job.phase is not Phase.FINISHED
        assert job.handle(event) == actions, event
    assert job.phase is Phase.FINISHED
    assert job.outcome == outcome
    assert job.outcome.exit_code == exit_code


def test_nothing_follows_the_end():
    job = Job(1, GRACE_S)
    job.handle(events.WorkerExited(0, 0))
    job.handle(events.GroupGone(0))
    for event in (events.GraceOver(), events.SignalReceived(INT), events.GroupGone(0),
                  events.WorkerExited(0, 1)):
        assert job.handle(event) == []
    assert job.outcome == events.Succeeded()


def test_running_names_the_workers_that_are_waited_for():
    job = Job(3, GRACE_S)
    job.handle(events.WorkerExited(2, 0))
    assert job.running == {0, 1}
    job.handle(events.WorkerExited(0, 4))
    assert job.running == {1}
