# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that another starter than `epl-launch` has started meet, and train as one.

Each starter is stood for by what it sets; those that are installed start the script themselves.
"""

import concurrent.futures
import os
import random
import shutil
import socket
import subprocess
import sys

import pytest

from epl.cluster import Cluster
from tests.support import jobs

SCRIPT = os.path.join(jobs.JOBS, "starters.py")
AS_ONE = 1.5 * (1 - 0.5 ** 6)  # from 0 half the way to the mean of both rows in each step
LINES = ["worker {} of 2, 2 on this machine: {!r}".format(rank, AS_ONE) for rank in range(2)]


def torchrun(rank, job):
    """Of which an agent listens at its port."""
    return {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost", "MASTER_PORT": "29400", "TORCHELASTIC_RUN_ID": str(job),
            "TORCHELASTIC_USE_AGENT_STORE": "True"}


def mpirun(rank, job):
    return {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            "PMIX_RANK": str(rank), "PMIX_NAMESPACE": str(job)}


def mpiexec(rank, job):
    return {"PMI_RANK": str(rank), "PMI_SIZE": "2", "MPI_LOCALRANKID": str(rank),
            "MPI_LOCALNRANKS": "2", "MASTER_PORT": str(20000 + job % 10000)}


def srun(rank, job):
    return {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": str(rank),
            "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "n1",
            "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}


def with_free_port(starter):
    """The name of a job whose port nobody has."""
    while True:
        job = random.SystemRandom().randrange(10 ** 9)
        host, port = Cluster.described_by(starter(0, job)).hosts[0].split(":")
        with socket.socket() as probe:
            try:
                probe.bind((host, int(port)))
            except OSError:
                continue
            return job


@pytest.mark.parametrize("starter, communicator", [
    (torchrun, "horovod"), (mpirun, "native"), (mpiexec, "horovod"), (srun, "horovod")])
def test_the_workers_of_a_starter_train_as_one(tmp_path, starter, communicator):
    job = with_free_port(starter)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = [pool.submit(jobs.alone, "starters.py", tmp_path / str(rank), warm=True,
                               environment=dict(starter(rank, job),
                                                EPL_COMMUNICATION_COMMUNICATOR=communicator))
                   for rank in range(2)]
        outputs = [job.result().check().output for job in running]
    for line, output in zip(LINES, outputs):
        assert line in output.splitlines()


def test_a_script_in_the_shell_of_an_allocation_is_alone(tmp_path):
    shell = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
             "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}
    result = jobs.alone("starters.py", tmp_path, environment=shell, warm=True).check()
    assert "worker 0 of 1, 1 on this machine: {!r}".format(1 - 0.5 ** 6) in result.output


def started_by(command, **changes):
    """The lines that the script writes under a starter that is installed."""
    program = shutil.which(command[0], path=os.pathsep.join(
        [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]))
    if program is None:
        pytest.skip("{} is not installed".format(command[0]))
    done = subprocess.run([program] + command[1:] + [sys.executable, SCRIPT],
                          env=jobs.environment_for(changes), timeout=jobs.HANG_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, output[-6000:]
    return output


def test_open_mpis_mpirun():
    output = started_by(
        ["mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none"], OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    for line in LINES:
        assert line in output  # perhaps behind what somebody else has written without an end


def test_slurms_srun():
    if shutil.which("sinfo") is None or subprocess.call(["sinfo"]) != 0:
        pytest.skip("there is no cluster of Slurm")
    output = started_by(["srun", "--ntasks", "2", "--overcommit"])
    for line in LINES:
        assert line in output.splitlines()


def test_horovods_runner():
    output = started_by(["horovodrun", "-np", "2", "--gloo", "--start-timeout", "240",
                         "--gloo-timeout-seconds", "240"],
                        EPL_COMMUNICATION_COMMUNICATOR="horovod")  # 'native' has no rendezvous here
    for line in LINES:
        assert line in output  # behind its own prefix
