# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that are late, that never come, and that take long to end: who is named, and how soon."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from epl.shared import progress
from tests.support import jobs
from tests.support.launched import wait_until

SECONDS = jobs.HANG_S
GLOO_S = "5"  # instead of 30; what is waited for here takes longer, connecting far less


def box(result):
    return result.output[result.output.index("+-- epl-launch:"):]


def test_a_worker_that_is_late_is_waited_for(tmp_path):
    jobs.launch("arrivals.py", tmp_path, "late", timeout=SECONDS,
                environment={"HOROVOD_GLOO_TIMEOUT_SECONDS": GLOO_S}).check()


@pytest.mark.parametrize("kind, words", [
    ("leaves", "worker 1 left early: its script ended before epl.init, worker 0 misses it"),
    ("slow_error", "worker 1 failed: ValueError: invalid literal for int()"),
    ("slow_exit", "worker 1 left early: its script ended before its training was finished"),
    ("exits", "worker 1 left early: its script ended before its training was finished"),
])
def test_who_is_the_cause_is_the_headline(tmp_path, kind, words):
    """Nobody waits for a process that takes long to end, and none of them has to be killed."""
    result = jobs.launch("arrivals.py", tmp_path, kind, timeout=SECONDS,
                         flags=jobs.PATIENT["flags"])
    assert result.code == 1, result.output
    assert "+-- epl-launch: " + words in result.output
    assert os.path.join(str(tmp_path), "1") in box(result)


def test_a_worker_that_is_stopped_is_the_cause_of_what_the_others_lose(tmp_path):
    result = jobs.launch("arrivals.py", tmp_path, "stops", timeout=SECONDS,
                         environment={"HOROVOD_GLOO_TIMEOUT_SECONDS": GLOO_S})
    assert result.code == 1, result.output
    assert "+-- epl-launch: worker 1 is stopped (by SIGSTOP, a terminal" in result.output


def free_addresses():
    """Two addresses of this machine that nobody listens at."""
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        return ["127.0.0.1:{}".format(probe.getsockname()[1]) for probe in (one, two)]


def started_by_hand(index, addresses, **changes):
    """A process that `TF_CONFIG` makes worker `index`."""
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    variables = dict(changes, TF_CONFIG=json.dumps(config), HOROVOD_GLOO_TIMEOUT_SECONDS=GLOO_S)
    code = ("from tests.dist.jobs.common import start\nprint('worker', start()[0], 'met')")
    return subprocess.Popen([sys.executable, "-c", code], env=jobs.environment_for(variables),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_chief_that_comes_late_and_one_that_does_not(tmp_path):
    """Without a launcher: the wait has a limit, and ends with an error of Python's."""
    path, addresses = str(tmp_path / "progress.json"), free_addresses()
    early = started_by_hand(1, addresses, EPL_PROGRESS_FILE=path)
    alone = started_by_hand(1, free_addresses(), EPL_START_TIMEOUT="1")
    try:
        wait_until(lambda: progress.read(path) is not None, SECONDS)
        time.sleep(2.0)
        late = started_by_hand(0, addresses)
        assert b"worker 0 met" in late.communicate(timeout=SECONDS)[0]
        assert b"worker 1 met" in early.communicate(timeout=SECONDS)[0]
        output = alone.communicate(timeout=SECONDS)[0]
        assert alone.returncode == 1
        assert b"WorkerLostError: worker 0 did not come to epl.init in 1 s" in output
    finally:
        for process in (early, alone):
            process.kill()
            process.communicate()


def test_a_machine_whose_name_stands_for_no_address(tmp_path):
    named = ["unshare", "--uts", "sh", "-c", "hostname nobody.invalid && exec \"$@\"", "sh"]
    if subprocess.run(named + ["true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this user cannot give a machine another name")
    job = [sys.executable, "-m", "epl.launcher", "--num_workers", "2", "--log_dir", str(tmp_path),
           os.path.join(jobs.JOBS, "monitored.py"), str(tmp_path / "model")]
    done = subprocess.run(named + job, env=jobs.environment_for(), timeout=SECONDS,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
