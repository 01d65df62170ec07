# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What launched workers find: their GPUs, their virtual devices, their share of the cores.

`nvidia-smi` is a stand-in, and TensorFlow is not asked about GPUs.
"""

import json
import os

import pytest

from tests.support.jobs import launch
from tests.support.launched import read

CORES = len(os.sched_getaffinity(0))
NVIDIA_SMI = "#!/bin/sh\nprintf '0\\n1\\n2\\n3\\n'\n"
SEES = "echo $EPL_DEVICE_TYPE $EPL_GPU_PER_WORKER \"<${CUDA_VISIBLE_DEVICES-unset}>\"\n"

SESSIONS = """
import tensorflow.compat.v1 as tf
import epl
from tests.dist.jobs.common import report, start

start()


def described(session):
    config = session._config or tf.ConfigProto()
    return [config.intra_op_parallelism_threads, config.inter_op_parallelism_threads,
            sum(device.device_type == "CPU" for device in session.list_devices())]


with tf.Session() as session:
    plain = described(session)
with tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=3)) as session:
    chosen = described(session)
tf.train.get_or_create_global_step()
with tf.train.MonitoredTrainingSession() as session:
    monitored = described(session._tf_sess())
report(plain=plain, chosen=chosen, monitored=monitored)
"""


@pytest.fixture
def with_gpus(start, script, tmp_path):
    """Starts a script on a machine whose nvidia-smi lists four GPUs."""
    (tmp_path / "bin").mkdir()
    os.chmod(script("bin/nvidia-smi", NVIDIA_SMI), 0o755)

    def begin(visible, **more):
        return start(script("sees.sh", SEES), environment={
            "PATH": "{}:{}".format(tmp_path / "bin", os.environ["PATH"]),
            "CUDA_VISIBLE_DEVICES": visible}, **more)
    return begin


@pytest.mark.parametrize("visible, flags, expected", [
    ("0,1,2,3", ["--gpu_per_worker", "2"], ["gpu 2 <0,1>", "gpu 2 <2,3>"]),
    ("3,1", [], ["gpu 1 <3>", "gpu 1 <1>"]),
    ("0,1", ["--gpu_per_worker", "0"], ["cpu 1 <>", "cpu 1 <>"]),
])
def test_every_worker_sees_its_own_gpus(with_gpus, visible, flags, expected):
    code, out, err = with_gpus(visible, flags=flags).wait()
    assert code == 0
    assert sorted(out.splitlines()) == [
        "[worker {}] {}".format(worker, text) for worker, text in enumerate(expected)]
    assert "GPU" not in err


def test_more_gpus_than_cuda_visible_devices_has_start_nothing(with_gpus):
    job = with_gpus("1,2,3", flags=["--gpu_per_worker", "2"])
    code, out, err = job.wait()
    assert code == 2 and out == "" and err.count("\n") == 1
    assert "2 worker(s) x 2 GPU(s) = 4 GPUs are asked for, 3 are there: 1,2,3" in err
    assert not os.path.exists(job.directory)


def test_hidden_gpus_are_named_in_the_one_line(with_gpus):
    code, out, err = with_gpus("").wait()
    assert code == 0 and out.count("cpu 1 <>\n") == 2
    assert [line for line in err.splitlines() if "GPU" in line] == [
        "epl-launch: no GPU (CUDA_VISIBLE_DEVICES='' hides them): each worker uses 1 virtual CPU "
        "device(s)"]


def test_one_line_says_that_there_is_no_gpu_whatever_happens(start, script):
    """Also if the job is started several times."""
    job = start(script("again.py", """if True:
        import os, sys
        from epl.shared import progress
        progress.start()
        progress.session_ready()
        progress.step_done()
        sys.exit(0 if os.environ["EPL_RESTART_COUNT"] == "2" else 5)"""),
                flags=["--max_restarts", "2"], workers=1)
    code, _, err = job.wait()
    assert code == 0 and "restart 2 of at most 2" in err
    assert sum("no GPU" in line for line in err.splitlines()) == 1


# Through shared memory exchanges wait in further threads of the sessions.
HOROVOD = {"EPL_COMMUNICATION_COMMUNICATOR": "horovod"}


def reports(directory, **options):
    path = directory / "sessions.py"
    path.write_text(SESSIONS)
    done = launch(str(path), directory / "logs", **options).check()
    return [json.loads(read(done.path(worker, "report.json")).decode())
            for worker in range(options.get("workers", 2))]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_cores_are_divided_between_the_threads_of_the_workers_sessions(tmp_path, workers):
    """Without --bind; a worker alone has them all, and what the script chooses stays."""
    share = max(1, CORES // workers)
    threads = [share, max(2, share)] if workers > 1 else [0, 0]  # 0: TensorFlow takes all cores
    for found in reports(tmp_path, workers=workers, environment=HOROVOD):
        assert found["plain"][:2] == found["monitored"][:2] == threads
        assert found["chosen"][:2] == [3, threads[1]]


def test_variables_of_the_user_decide_on_threads(tmp_path):
    for found in reports(tmp_path, environment=dict(HOROVOD, OMP_NUM_THREADS="1")):
        assert found["plain"][:2] == [0, 0]


def test_virtual_devices_are_devices_of_the_session(tmp_path):
    found, = reports(tmp_path, workers=1, devices=3)
    assert found["plain"][2] == found["chosen"][2] == found["monitored"][2] == 3
