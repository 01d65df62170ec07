# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the launcher learns of the exception that ends a script."""

import sys

import pytest

from epl.cluster import Cluster
from epl.communicators.base import Communicator
from epl.config import Config
from epl.env import Env
from epl.errors import WorkerLostError
from epl.runtime import coordination, process
from epl.shared import progress


@pytest.fixture
def status(tmp_path, monkeypatch):
    """What is reported, of a process in which `epl.init` has just begun; and what was shown."""
    path, shown = str(tmp_path / "progress.json"), []
    monkeypatch.setattr(progress, "_reporter", None)
    monkeypatch.setattr(process, "_begun", False)
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error))
    monkeypatch.setenv(progress.VARIABLE, path)
    process.begin(meets_others=True)
    yield lambda: progress.read(path), shown
    monkeypatch.setattr(progress, "_reporter", None)


def uncaught(body):
    try:
        body()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)


def own():
    raise ValueError("no data\nin two lines")


def lost():
    raise WorkerLostError("worker 1 is gone")


def because_lost():
    try:
        lost()
    except WorkerLostError as error:
        raise RuntimeError("training failed") from error


def while_lost():
    try:
        lost()
    finally:
        own()


def interrupted():
    raise KeyboardInterrupt()


@pytest.mark.parametrize("body, state, error", [
    (own, "failed", "ValueError: no data"), (lost, "lost", None), (because_lost, "lost", None),
    (while_lost, "lost", None), (interrupted, "waiting", None)])
def test_an_error_of_its_own_is_told_from_the_loss_of_another(status, body, state, error):
    reported, shown = status
    assert reported().arrives
    uncaught(body)
    assert (reported().state, reported().error) == (state, error)
    assert len(shown) == 1


def test_a_step_that_failed_here_is_an_error_of_its_own(status):
    """What the script sees is that the job cannot go on without the others."""
    class AllAlone(Communicator):
        def all_reduce_max(self, numbers, seconds=None):
            return None

        def disconnect(self):
            pass

    env = Env()
    env.reset(Config(), Cluster(), AllAlone())
    uncaught(lambda: coordination.after_failure(env.context, ValueError("not finite")))
    assert (status[0]().state, status[0]().error) == ("failed", "ValueError: not finite")


def test_what_the_worker_does_next_counts(status):
    progress.initialized()
    assert status[0]().state == "initialized"
    progress.left()
    assert status[0]().state == "left"
    progress.waiting("agreement")
    progress.initialized()  # a second epl.init
    assert status[0]().state == "waiting"
