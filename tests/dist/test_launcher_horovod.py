# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch` connects real Horovod workers, and ends them when one of them dies."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.jobs import HANG_S, JOBS, environment_for
from tests.support.launched import SOON_S

SUM_RANKS = """
import os, sys
import tensorflow.compat.v1 as tf
import horovod.tensorflow as hvd
tf.disable_v2_behavior()
hvd.init()
total = hvd.allreduce(tf.constant([hvd.rank() + 1.0]), op=hvd.Sum, name="total")
with tf.Session() as session:
    for step in range(int(sys.argv[1])):
        value = session.run(total)[0]
        if step == 0:
            print("worker", hvd.rank(), "of", hvd.size(), "total", value, "pid", os.getpid())
"""


@pytest.fixture
def start(tmp_path):
    path = tmp_path / "sum_ranks.py"
    path.write_text(SUM_RANKS)
    processes = []

    def launch(steps):
        processes.append(subprocess.Popen(
            [sys.executable, "-m", "epl.launcher", "--num_workers", "2",
             "--log_dir", str(tmp_path / "logs"), str(path), str(steps)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_for()))
        return processes[-1]

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.fast
def test_two_workers_meet_and_end(start):
    process = start(3)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err.decode()
    for worker in (0, 1):
        assert "[worker {0}] worker {0} of 2 total 3.0".format(worker) in out.decode()


@pytest.mark.parametrize("victim", [0, 1])
def test_the_job_ends_when_a_worker_is_killed(start, victim):
    process = start(10 ** 9)
    pids = {}
    while len(pids) < 2:
        words = process.stdout.readline().decode().split()
        assert words, process.stderr.read().decode()
        pids[int(words[1].rstrip("]"))] = int(words[-1])
    os.kill(pids[victim], signal.SIGKILL)
    _, err = process.communicate(timeout=SOON_S)  # less than the grace time
    assert process.returncode == 137, err.decode()
    assert "worker {} died by signal SIGKILL".format(victim) in err.decode()
    for pid in pids.values():
        assert not os.path.exists("/proc/{}".format(pid))


def test_a_stalled_training_names_the_collective_and_the_code_that_hangs(tmp_path):
    """Worker 1's input hangs inside its third step; both workers are inside TensorFlow."""
    process = subprocess.run(
        [sys.executable, "-m", "epl.launcher", "--num_workers", "2", "--stall_timeout", "4",
         "--log_dir", str(tmp_path), os.path.join(JOBS, "waits.py"), "inside_a_step"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_for(), timeout=HANG_S)
    err = process.stderr.decode()
    assert process.returncode == 124, err
    box = err[err.index("+--"):]
    for worker in (0, 1):
        assert ("worker {}: 2 step(s) done, waits in collectives of step 3: epl/gradients".format(
            worker) in box)
    assert "in wait_for_release" in box
    assert "verdict: the stack of worker 1 is not like the others'" in box
