# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A stop is carried out on all workers after the same step; all other signals stay as they are."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.shared import progress
from tests.support import jobs
from tests.support.launched import SOON_S, alive, status, wait_until

SCRIPT = os.path.join(jobs.JOBS, "stops.py")
SECONDS = jobs.HANG_S


def launch(kind, directory, workers=2):
    """A job of `stops.py`; its checkpoints are in `directory/model`."""
    return jobs.launch("stops.py", directory, kind, os.path.join(str(directory), "model"),
                       workers=workers, timeout=SECONDS, warm=True)


def reports(result, workers=2):
    found = []
    for worker in range(workers):
        with open(result.check().path(worker, "report.json")) as file:
            found.append(json.load(file))
    return found


@contextlib.contextmanager
def launcher(directory, kind, *options, script=SCRIPT):
    """A running `epl-launch` of two workers; killed if the test fails."""
    command = [sys.executable, "-m", "epl.launcher", "--num_workers", "2", "--log_dir",
               str(directory)] + list(options)
    command += [script, kind, os.path.join(str(directory), "model")]
    process = subprocess.Popen(command, env=jobs.environment_for(), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def trains(process, directory, worker):
    """Wait until a worker has trained some steps; a job that ends before fails with its output."""
    wait_until(lambda: process.poll() is not None
               or (status(directory, worker) or (0, 0, 0))[2] > 3, SECONDS)
    if process.returncode is not None:
        output = process.communicate(timeout=SECONDS)[0]
        pytest.fail(output.decode("utf-8", "replace")[-6000:])


def saved_step(directory):
    latest = tf.train.latest_checkpoint(os.path.join(str(directory), "model"))
    return int(latest.rsplit("-", 1)[1])


@pytest.mark.parametrize("kind", ["sigterm", "request"])
def test_all_workers_stop_after_the_same_step_and_the_chief_saves(tmp_path, kind):
    """One worker hears of it after its third step; the others learn it before the fourth."""
    found = reports(launch(kind, tmp_path))
    assert [report["runs"][0] for report in found] == [4, 4]
    assert saved_step(tmp_path) == 4
    if kind == "sigterm":  # a second training is not begun
        assert [report["runs"][1] for report in found] == [0, 0]
        assert [report["status"]["state"] for report in found] == ["finished", "finished"]


@pytest.mark.parametrize("language", ["python", "shell"])
def test_sigterm_to_the_launcher_saves_and_succeeds(tmp_path, language):
    """The bash of a shell script would die of SIGTERM; it is to see the end of its training."""
    script = SCRIPT
    if language == "shell":
        (tmp_path / "train.sh").write_text(
            'python "{}" "$2" "$3" || exit\ntouch "$1/after"\n'.format(script))
        script = str(tmp_path / "train.sh")
    with launcher(tmp_path, "forever", script=script) as process:
        trains(process, tmp_path, 0)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0].decode()
    found = reports(jobs.Result(process.returncode, output, str(tmp_path)))
    assert found[0]["runs"] == found[1]["runs"] == [saved_step(tmp_path)]
    for worker in range(2):
        assert (tmp_path / str(worker) / "after").exists() == (language == "shell")


@pytest.mark.parametrize("kind, runs_of_a_second_training", [
    ("estimator_forever", []), ("estimator_train_forever", [0])])
def test_sigterm_to_the_launcher_under_an_estimator_saves_and_succeeds(
        tmp_path, kind, runs_of_a_second_training):
    """Within the grace time, after which the exit code would not be 0."""
    with launcher(tmp_path, kind) as process:
        for worker in range(2):
            trains(process, tmp_path, worker)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0].decode()
    assert "all workers stopped after SIGTERM (15), done" in output
    for report in reports(jobs.Result(process.returncode, output, str(tmp_path))):
        assert report["runs"] == [saved_step(tmp_path)] + runs_of_a_second_training
        assert report.get("evaluations", 0) == 0


def test_one_worker_stops_at_once(tmp_path):
    report, = reports(launch("alone", tmp_path, workers=1), workers=1)
    assert report["runs"] == [3] and report["states"] == ["ready", "step", "step"]
    assert report["status"]["step"] == 3 and report["status"]["state"] == "finished"
    assert saved_step(tmp_path) == 3


def test_without_a_launcher_sigterm_ends_the_script_as_ever(tmp_path):
    result = jobs.alone("stops.py", tmp_path, "without_launcher", str(tmp_path / "model"))
    assert result.code == -signal.SIGTERM, result.output
    assert not os.path.exists(result.path(0, "report.json"))


def test_train_and_evaluate_ends_without_an_evaluation(tmp_path):
    for report in reports(launch("estimator", tmp_path)):
        assert report == {"runs": [4], "evaluations": 0, "result": [None, None]}
    assert saved_step(tmp_path) == 4


def test_sigterm_ends_a_loop_around_a_plain_session(tmp_path):
    result = launch("plain", tmp_path)
    assert result.code == 128 + signal.SIGTERM, result.output
    assert not os.path.exists(result.path(0, "report.json"))


def test_a_handler_of_the_script_stays_in_force(tmp_path):
    chief, other = reports(launch("own_handler", tmp_path))
    assert (chief["calls"], other["calls"]) == (1, 0)
    assert chief["kept"] and chief["runs"] == [5]


def test_a_second_sigterm_ends_a_worker_inside_a_step(tmp_path):
    """Worker 1 gets both from the test, worker 0, whose input hangs as well, from the launcher."""
    with launcher(tmp_path, "hangs") as process:
        for worker in range(2):
            wait_until(lambda worker=worker: (status(tmp_path, worker) or (0, 0, 0))[2] == 2
                       and status(tmp_path, worker).state == "waiting", SECONDS)
        found = status(tmp_path, 1)
        assert found.stops_at_sigterm
        time.sleep(0.5)
        os.kill(found.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert alive(found.pid)
        os.kill(found.pid, signal.SIGTERM)
        output = process.communicate(timeout=SOON_S)[0].decode()  # less than the grace time
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "worker 1 died by signal SIGTERM" in output


def test_a_forked_child_dies_of_sigterm(tmp_path):
    chief, other = reports(launch("forked", tmp_path))
    assert chief["codes"] == 20 * [-signal.SIGTERM]
    assert chief["status"]["pid"] == chief["pid"]
    assert chief["status"]["step"] == other["status"]["step"] == 3


def test_after_sigterm_a_lost_worker_is_an_error_at_once(tmp_path):
    """Without SIGTERM it would let the cause be reported first, in this job for an hour."""
    result = launch("lost_after_sigterm", tmp_path)
    with open(result.path(0, "report.json")) as file:
        assert json.load(file) == {"lost": True}


def test_sigterm_ends_a_worker_that_has_lost_another(tmp_path):
    result = launch("lost_before_sigterm", tmp_path)
    assert result.code == 128 + signal.SIGTERM, result.output
    assert status(tmp_path, 0).state == progress.LOST


def test_training_goes_on_from_the_last_checkpoint_after_a_death(tmp_path):
    with launcher(tmp_path, "dies_once", "--max_restarts", "1") as process:
        output = process.communicate(timeout=SECONDS)[0].decode()
    found = reports(jobs.Result(process.returncode, output, str(tmp_path)))
    assert found[0]["first"] == found[1]["first"] == saved_before_death(tmp_path)
    weight = 1.5 * (1 - 0.5 ** 9)  # nine steps half the way to the mean of 1 and 2
    for report in found:
        np.testing.assert_allclose(
            report["last_loss"], ((weight - 1) ** 2 + (weight - 2) ** 2) / 2, rtol=1e-5)
    assert saved_step(tmp_path) == 10


def saved_before_death(directory):
    """Worker 1 died after its third step; a checkpoint is due every two."""
    states = tf.train.get_checkpoint_state(os.path.join(str(directory), "model"))
    steps = [int(path.rsplit("-", 1)[1]) for path in states.all_model_checkpoint_paths]
    return max(step for step in steps if 0 < step <= 3)
