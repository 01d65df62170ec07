# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that another starter than `epl-launch` has started: what its variables mean."""

import json
import os
import re

import pytest

from epl.cluster import Cluster, read_environment
from epl.communicators import starters
from epl.errors import ConfigError
from tests.support.jobs import ROOT, without_foreign

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "alpha", "MASTER_PORT": "29500"}
MPIRUN = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2",
          "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
          "PMIX_RANK": "1", "PMIX_NAMESPACE": "2814050305"}
MPIEXEC = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2",
           "MASTER_PORT": "29500"}
SRUN = {"SLURM_PROCID": "4", "SLURM_STEP_NUM_TASKS": "5", "SLURM_LOCALID": "0",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_STEP_NODELIST": "n[007-008,12]",
        "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "5"}


def place(environ):
    """Workers, this one, workers of its machine, where they meet."""
    cluster = Cluster.described_by(environ)
    return (cluster.worker_num, cluster.worker_index, cluster.local_worker_num, cluster.hosts[0])


def without(environ, *names, **changes):
    return dict({name: value for name, value in environ.items() if name not in names}, **changes)


def tf_config(workers, index):
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers},
                                     "task": {"type": "worker", "index": index}})}


@pytest.mark.parametrize("environ, workers, index, local, meets", [
    (TORCHRUN, 4, 3, 2, r"alpha:29500"),
    (without(TORCHRUN, "LOCAL_RANK", "LOCAL_WORLD_SIZE"), 4, 3, 1, r"alpha:29500"),  # PyTorchJob
    (without(TORCHRUN, "LOCAL_RANK", "LOCAL_WORLD_SIZE", MASTER_ADDR="localhost"), 4, 3, 4,
     r"127.0.0.1:29500"),
    (dict(TORCHRUN, TORCHELASTIC_USE_AGENT_STORE="True"), 4, 3, 2, r"alpha:2\d{4}"),
    (MPIRUN, 2, 1, 2, r"127.0.0.1:2\d{4}"),
    (dict(MPIRUN, MASTER_PORT="29500"), 2, 1, 2, r"127.0.0.1:29500"),
    (dict(MPIRUN, OMPI_COMM_WORLD_SIZE="4", MASTER_ADDR="alpha"), 4, 1, 2, r"alpha:2\d{4}"),
    (MPIEXEC, 2, 1, 2, r"127.0.0.1:29500"),
    (SRUN, 5, 4, 1, r"n007:2\d{4}"),
    (dict(SRUN, SLURM_PROCID="2"), 5, 2, 2, r"n007:2\d{4}"),
    (dict(SRUN, MASTER_ADDR="n007-ib", MASTER_PORT="29500"), 5, 4, 1, r"n007-ib:29500"),
    (dict(SRUN, SLURM_STEP_TASKS_PER_NODE="5", SLURM_LOCALID="4"), 5, 4, 5, r"127.0.0.1:2\d{4}"),
])
def test_the_place_of_a_worker(environ, workers, index, local, meets):
    found = place(environ)
    assert found[:3] == (workers, index, local)
    assert re.fullmatch(meets, found[3]), found[3]


@pytest.mark.parametrize("environ", [
    {"RANK": "0", "WORLD_SIZE": "1"},
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
    # Within the shell of an allocation, and within `srun --pty bash`.
    {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0",
     "SLURM_STEP_NODELIST": "n1", "SLURM_STEP_TASKS_PER_NODE": "1", "PMIX_RANK": "0"},
    dict(TORCHRUN, EPL_STARTER="none"), dict(SRUN, RANK="1", EPL_STARTER="none"),
    {"LOCAL_RANK": "3", "MASTER_ADDR": "alpha", "MASTER_PORT": "1"}])  # nobody is started by these
def test_one_worker_needs_no_rendezvous(environ):
    assert place(environ) == (1, 0, 1, "localhost")


def test_every_worker_finds_the_same_and_other_jobs_another():
    def meets(**changes):
        return place(dict(MPIRUN, **changes))[3]

    first = meets(OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_LOCAL_RANK="0")
    assert meets() == first
    other = dict(MPIRUN, PMIX_NAMESPACE="2814050306")
    assert place(other)[3] != first and starters.job(other) != starters.job(MPIRUN)
    assert starters.job(SRUN) == ["4711", "0"]
    assert starters.job(tf_config(["a:1"], 0)) == starters.job({}) == []


def test_who_is_nearest_to_the_process_counts():
    launched = {"EPL_NUM_WORKERS": "3", "EPL_WORKER_INDEX": "2"}
    assert place(dict(TORCHRUN, **launched))[:2] == (3, 2)
    runner = {"HOROVOD_SIZE": "3", "HOROVOD_RANK": "1", "HOROVOD_LOCAL_SIZE": "3"}
    assert place(dict(MPIRUN, **runner))[:2] == (3, 1)
    assert place(dict(SRUN, **MPIRUN))[:2] == (2, 1)  # mpirun starts one of its own on each node
    assert place(dict(SRUN, **TORCHRUN))[:2] == (4, 3)
    assert place(dict(SRUN, **tf_config(["a:1", "b:1"], 0)))[:2] == (2, 0)


def test_those_who_say_the_same_may_all_speak():
    derived = {"RANK": "4", "WORLD_SIZE": "5", "MASTER_ADDR": "n007", "MASTER_PORT": "29500",
               "PMI_RANK": "4", "PMI_SIZE": "5"}
    assert place(dict(SRUN, **derived)) == (5, 4, 1, "n007:29500")  # srun knows the machines
    same = tf_config(["a:1", "b:1"], 1)
    assert place(dict(MPIRUN, **same)) == (2, 1, 1, "a:1")


@pytest.mark.parametrize("starter, expected", [
    ("mpirun", (2, 1)), ("torchrun", (4, 3)), ("tf_config", (3, 0)), ("SRUN", (5, 4))])
def test_the_user_says_which_counts(starter, expected):
    every = dict(TORCHRUN, **dict(MPIRUN, **dict(SRUN, **tf_config(["a:1", "b:1", "c:1"], 0))))
    assert place(dict(every, EPL_STARTER=starter))[:2] == expected


@pytest.mark.parametrize("environ, messages", [
    ({"RANK": "1"}, ["RANK = '1', but WORLD_SIZE is not set", "unset RANK", "EPL_STARTER=none"]),
    ({"WORLD_SIZE": "4"}, ["WORLD_SIZE = '4', but RANK is not set", "unset WORLD_SIZE"]),
    (without(MPIRUN, "OMPI_COMM_WORLD_SIZE"), ["OMPI_COMM_WORLD_SIZE is not set"]),
    (without(SRUN, "SLURM_PROCID"), ["SLURM_STEP_NUM_TASKS = '5', but SLURM_PROCID is not set"]),
    ({"PMIX_RANK": "1"}, ["PMIX_RANK = '1', but nobody says how many", "mpirun or srun"]),
    ({"HOROVOD_RANK": "1"}, ["HOROVOD_SIZE = ''"]),
    (dict(TORCHRUN, RANK="4"), ["RANK = 4, but WORLD_SIZE = 4: ranks are 0 to 3"]),
    (dict(TORCHRUN, RANK="-1"), ["RANK = '-1': a whole number"]),
    (dict(TORCHRUN, WORLD_SIZE="four"), ["WORLD_SIZE = 'four': a whole number"]),
    (dict(TORCHRUN, WORLD_SIZE="0"), ["WORLD_SIZE = 0: use 1 to"]),
    (dict(TORCHRUN, WORLD_SIZE="999999"), ["WORLD_SIZE = 999999: use 1 to"]),
    (dict(TORCHRUN, RANK="9" * 5000), ["RANK = '999"]),
    (dict(TORCHRUN, LOCAL_WORLD_SIZE="3"), ["LOCAL_WORLD_SIZE = 3, but WORLD_SIZE = 4: start the "
                                            "same number"]),
    (dict(TORCHRUN, LOCAL_WORLD_SIZE="0"), ["LOCAL_WORLD_SIZE = 0"]),
    (dict(TORCHRUN, LOCAL_RANK="0"), ["LOCAL_RANK = 0", "that is number 1", "--nproc_per_node"]),
    (without(TORCHRUN, "LOCAL_WORLD_SIZE"), ["RANK = 3 and LOCAL_RANK = 1, but with 1 worker"]),
    (without(TORCHRUN, "MASTER_PORT"), ["MASTER_PORT is not set"]),
    (without(TORCHRUN, "MASTER_ADDR"), ["MASTER_ADDR is not set: set it to the machine of rank 0"]),
    (dict(TORCHRUN, MASTER_PORT="65536"), ["MASTER_PORT = 65536: use 1 to 65535"]),
    (dict(TORCHRUN, MASTER_PORT="soon"), ["MASTER_PORT = 'soon'"]),
    (dict(TORCHRUN, MASTER_ADDR="alpha:1"), ["MASTER_ADDR = 'alpha:1'", "without a port"]),
    (dict(TORCHRUN, MASTER_ADDR="::1"), ["MASTER_ADDR = '::1'"]),
    (dict(TORCHRUN, MASTER_ADDR="a b"), ["'a b' is no host name"]),
    (dict(MPIRUN, OMPI_COMM_WORLD_SIZE="4"), ["OMPI_COMM_WORLD_SIZE = 4 on several machines",
                                              "mpirun -x MASTER_ADDR"]),
    (dict(MPIRUN, OMPI_COMM_WORLD_LOCAL_RANK="0"), ["mpirun --map-by slot"]),
    (without(MPIRUN, "PMIX_NAMESPACE"), ["MASTER_PORT is not set", "mpirun -x"]),
    (without(MPIEXEC, "MASTER_PORT"), ["PMI_SIZE = 2, but MASTER_PORT is not set", "-genv"]),
    (dict(SRUN, SLURM_LOCALID="1"), ["SLURM_LOCALID = 1", "srun --distribution=block"]),
    (dict(SRUN, SLURM_STEP_TASKS_PER_NODE="2(x2)"), ["SLURM_STEP_TASKS_PER_NODE = '2(x2)'"]),
    (dict(SRUN, SLURM_STEP_TASKS_PER_NODE="2(x999999999)"), ["does not tell on which nodes"]),
    (dict(SRUN, SLURM_STEP_TASKS_PER_NODE="x"), ["= 'x' does not tell on which nodes"]),
    (without(SRUN, "SLURM_STEP_NODELIST"), ["SLURM_STEP_NUM_TASKS = 5 on several machines"]),
    (without(SRUN, "SLURM_JOB_ID", "SLURM_STEP_ID"), ["MASTER_PORT is not set"]),
    (dict(MPIRUN, RANK="0", WORLD_SIZE="2"), [
        "RANK = 0 and WORLD_SIZE = 2 (torchrun), but OMPI_COMM_WORLD_RANK = 1 and "
        "OMPI_COMM_WORLD_SIZE = 2 (mpirun)", "EPL_STARTER=torchrun, EPL_STARTER=mpirun, or"]),
    (dict(MPIRUN, **tf_config(["a:1", "b:1", "c:1"], 0)), [
        "TF_CONFIG says worker 0 of 3, but OMPI_COMM_WORLD_RANK = 1 and OMPI_COMM_WORLD_SIZE = 2 "
        "(mpirun)", "EPL_STARTER=tf_config, EPL_STARTER=mpirun"]),
    ({"EPL_STARTER": "mpirum"}, ["EPL_STARTER = 'mpirum' is no starter", "'mpirun'"]),
    (dict(MPIRUN, EPL_STARTER="srun"), ["EPL_STARTER = 'srun', but SLURM_STEP_NUM_TASKS is not"]),
    (dict(MPIRUN, EPL_STARTER="tf_config"), ["EPL_STARTER = 'tf_config', but TF_CONFIG is not"]),
])
def test_what_is_half_said_or_contradicts_itself_is_refused(environ, messages):
    with pytest.raises(ConfigError) as caught:
        Cluster.described_by(environ)
    for message in messages:
        assert message in str(caught.value)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize("nodes, first", [
    ("alpha", "alpha"), ("n[1-3]", "n1"), ("n[007,12],m1", "n007"), ("r[1-2]n[3-4]-ib", "r1n3-ib"),
    ("alpha,beta[1-2]", "alpha"), ("10.0.0.1,10.0.0.2", "10.0.0.1")])
def test_the_first_of_slurms_nodes(nodes, first):
    assert place(dict(SRUN, SLURM_STEP_NODELIST=nodes))[3].split(":")[0] == first


def test_kubeflows_tf_config():
    """A TFJob with a master; and one whose workers come and go, of whom nobody knows all."""
    task = {"type": "worker", "index": 0}
    spec = read_environment({"TF_CONFIG": json.dumps({
        "cluster": {"master": ["j-master-0.n.svc:2222"], "worker": ["j-worker-0.n.svc:2222"]},
        "task": task, "environment": "cloud"})})
    assert spec.hosts == ["j-master-0.n.svc:2222", "j-worker-0.n.svc:2222"]
    assert spec.worker_index == 1
    with pytest.raises(ConfigError, match="'sparseCluster', of which nobody knows all workers"):
        read_environment({"TF_CONFIG": json.dumps({
            "sparseCluster": {"worker": {"0": "j-worker-0.n.svc:2222"}}, "task": task})})


def test_tests_see_no_starter():
    kept = without_foreign(dict(TORCHRUN, **dict(MPIRUN, **dict(MPIEXEC, **dict(SRUN, HOME="/")))))
    assert kept == {"HOME": "/"}


def test_the_page_names_every_variable():
    with open(os.path.join(ROOT, "docs", "starters.md"), encoding="utf-8") as file:
        page = file.read()
    for words in starters.WORDS.values():
        for name in words[:4]:
            assert not name or "`{}`".format(name) in page
    for name in list(starters.WORDS) + [starters.TF_CONFIG, starters.NONE]:
        assert "`{}`".format(name) in page
