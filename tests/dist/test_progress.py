# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a launcher learns of two real workers: progress, what they wait for, and their stacks."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from epl.launcher.job import MISSED_S
from epl.runtime import stacks
from epl.runtime.control_plane import PRECEDENCE_SECONDS
from tests.support import jobs
from tests.support.launched import status, wait_until

SECONDS = jobs.HANG_S


class Held:
    """A job of `waits.py` whose worker 1 hangs until `release`."""

    def __init__(self, directory, kind):
        self._directory = directory
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(jobs.launch, "waits.py", directory, kind, timeout=SECONDS)
            try:
                wait_until(lambda: self._status_is_old(0), SECONDS)
                self.waiting = status(directory, 0)
                self.stacks = [self._dump(worker) for worker in range(2)]
            finally:
                with open(os.path.join(str(directory), "1", "release"), "w"):
                    pass
            self.result = running.result()

    def _status_is_old(self, worker):
        found = status(self._directory, worker)
        return (found is not None and found.state == "waiting" and found.step == 2
                and time.time() - found.time > 3.0)

    def _dump(self, worker):
        """Ask a worker for its stacks."""
        path = os.path.join(str(self._directory), str(worker), "stacks.txt")
        os.kill(status(self._directory, worker).pid, stacks.SIGNAL)

        def text():
            with open(path) as file:
                return file.read()

        wait_until(lambda: "waits.py" in text(), SECONDS)
        time.sleep(0.2)  # the rest of them
        return text()


@pytest.fixture(scope="module", params=["before_a_step", "inside_a_step"])
def held(request, tmp_path_factory):
    return request.param, Held(tmp_path_factory.mktemp(request.param), request.param)


def test_a_waiting_worker_names_what_it_waits_for(held):
    kind, job = held
    assert job.waiting.waits_for == {
        "before_a_step": "agreement before step 3",
        "inside_a_step": "collectives of step 3: epl/gradients_0/dense_0"}[kind]


def test_stacks_are_written_while_the_main_thread_is_in_tensorflow(held):
    _, job = held
    waiting, hanging = job.stacks
    assert "most recent call first" in waiting and "client/session.py" in waiting
    assert "wait_for_release" in hanging and "wait_for_release" not in waiting


def test_asking_for_stacks_harms_nobody(held):
    _, job = held
    job.result.check()


def test_a_training_session_from_begin_to_end(tmp_path):
    result = jobs.launch("waits.py", tmp_path, "monitored").check()
    for worker in range(2):
        with open(result.path(worker, "report.json")) as file:
            seen = json.load(file)["seen"]
        assert [(s["state"], s["ready"], s["step"]) for s in seen] == [
            ("initialized", False, 0), ("ready", True, 0), ("step", True, 1), ("step", True, 2),
            ("finished", True, 2), ("step", True, 3)]
        assert [s["stops_at_sigterm"] for s in seen] == [False, True, True, True, False, False]
        # the plain session has no end; the script's counts
        assert status(tmp_path, worker)[:3] == ("finished", True, 3)


def test_what_runs_beside_the_steps_is_a_sign_of_life(tmp_path):
    result = jobs.launch("alive.py", tmp_path, timeout=SECONDS).check()
    for worker in range(2):
        with open(result.path(worker, "report.json")) as file:
            assert json.load(file) == {"evaluation": True, "between": True}


def test_a_stall_of_a_training_ends_with_the_collective_and_a_verdict(tmp_path):
    command = [sys.executable, "-m", "epl.launcher", "--num_workers", "2", "--log_dir",
               str(tmp_path), "--stall_timeout", "8", "--grace", "2",
               os.path.join(jobs.JOBS, "waits.py"), "inside_a_step"]
    done = subprocess.run(command, env=jobs.environment_for(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=SECONDS)
    output = done.stdout.decode()
    assert done.returncode == 124, output
    box = output[output.index("+--"):]
    for worker in range(2):
        assert ("worker {}: 2 step(s) done, waits in collectives of step 3: epl/gradients_0/dense_0"
                .format(worker)) in box
    assert box.count("in wait_for_release") == 1
    assert "verdict: the stack of worker 1 is not like the others': look there first" in box


@pytest.mark.parametrize("kind, communicator", [
    ("leaves_early", "shared_memory"), ("leaves_early", "native"), ("leaves_early", "horovod"),
    ("never_trains", "horovod")])
def test_a_script_that_ends_while_others_train_is_named(tmp_path, kind, communicator):
    result = jobs.launch("waits.py", tmp_path, kind, timeout=SECONDS, environment={
        "EPL_COMMUNICATION_COMMUNICATOR": communicator})
    assert result.code != 0
    for worker in range(2):
        assert "worker 1: end its script" in result.of_worker(worker)
        assert "worker 0: run the step of epl/gradients_0" in result.of_worker(worker)
        assert status(tmp_path, worker).state != "finished"


def test_who_left_early_is_named_before_the_launcher_ends_the_others():
    assert MISSED_S > PRECEDENCE_SECONDS + 1.0


@pytest.mark.parametrize("communicator", ["shared_memory", "native", "horovod"])
def test_a_script_that_ends_earlier_after_training_has_finished(tmp_path, communicator):
    result = jobs.launch("waits.py", tmp_path, "ends_later", timeout=SECONDS, environment={
        "EPL_COMMUNICATION_COMMUNICATOR": communicator}).check()
    assert "Traceback" not in result.output
    assert [status(tmp_path, worker).state for worker in range(2)] == ["finished", "finished"]
    assert status(tmp_path, 1).time < status(tmp_path, 0).time - 1.0


def test_a_stopped_worker_is_waited_for_in_silence(tmp_path):
    """What epl-launch makes of it is its decision; the others' wait goes on when it does."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(jobs.launch, "waits.py", tmp_path, "before_a_step", timeout=SECONDS)
        wait_until(lambda: (status(tmp_path, 0) or (0, 0, 0))[2] == 2, SECONDS)
        stopped = status(tmp_path, 1).pid
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(3)
        before = status(tmp_path, 0)
        os.kill(stopped, signal.SIGCONT)
        with open(os.path.join(str(tmp_path), "1", "release"), "w"):
            pass
        result = running.result().check()
    assert before.waits_for == "agreement before step 3"
    assert "lost" not in result.output
