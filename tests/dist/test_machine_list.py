# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`--machine_list` with real launchers; the machines are loopback addresses of this one."""

import re
import socket
import time

import pytest

from tests.support.jobs import ROOT

PRINT = """
import os
print("worker", *(os.environ.get(name) for name in (
    "EPL_WORKER_INDEX", "EPL_WORKER_HOSTS", "HOROVOD_GLOO_RENDEZVOUS_ADDR", "TOKEN")))
"""
SLACK_S = 10.0  # for a busy machine


def machine(rank):
    return "127.0.0.{}".format(rank + 1)


@pytest.fixture
def machine_list():
    """Three machines; machine 0 finds its port free."""
    with socket.socket() as probe:
        probe.bind((machine(0), 0))
        port = probe.getsockname()[1]
    return ",".join("{}:{}".format(machine(rank), port) for rank in range(3))


@pytest.fixture
def join(start, script, tmp_path, machine_list):
    """Starts the launcher of one machine after the other."""
    jobs = []

    def begin(rank, *args, flags=(), body=PRINT, machines=machine_list, environment=None):
        own = ["--machine_list", machines, "--machine_rank", str(rank),
               "--log_dir", str(tmp_path / "logs{}".format(len(jobs)))]
        path = script("print{}.py".format(len(jobs)), body)
        jobs.append(start(path, *args, workers=3, flags=own + list(flags),
                          environment=environment))
        return jobs[-1]

    return begin


def outcomes(jobs, seconds):
    """(exit code, stdout, stderr) of every launcher, all within `seconds`."""
    begin = time.monotonic()
    found = [job.wait(seconds + SLACK_S) for job in jobs]
    assert time.monotonic() - begin < seconds + SLACK_S
    return found


def test_the_workers_of_all_machines_meet_at_the_first(join):
    tokens = ["a", "b", "c"]
    done = outcomes([join(rank, environment={"TOKEN": tokens[rank]}) for rank in range(3)], 10)
    assert [code for code, _, _ in done] == [0, 0, 0], done
    hosts = ",".join(map(machine, range(3)))
    lines = ["[{}] worker {} {} {} {}".format(
        "{}:{}".format(machine(rank), rank) if rank else "worker 0", rank, hosts, machine(0),
        tokens[rank]) for rank in range(3)]
    assert sorted(done[0][1].splitlines()) == sorted(lines)  # machine 0 shows all, with their names
    for rank in (1, 2):
        assert done[rank][1].splitlines() == [lines[rank]]


def test_everybody_learns_who_is_missing(join):
    """While they wait, and when --start_timeout is over. Machine 1 is there from the beginning."""
    done = outcomes([join(rank, flags=["--start_timeout", "4"]) for rank in (1, 0)], 4)
    for code, out, err in done:
        assert code == 2 and out == ""
        assert "epl-launch: waiting for machine 2 ({})\n".format(machine(2)) in err
        assert "epl-launch: error: machine 2 ({}) did not connect in 4 s\n".format(
            machine(2)) in err


def test_machine_0_is_missing(join, machine_list):
    (code, _, err), = outcomes([join(1, flags=["--start_timeout", "2"])], 2)
    assert code == 2
    assert "epl-launch: waiting for machine 0 ({})\n".format(machine(0)) in err
    assert "error: machine 0 did not answer at {} in 2 s".format(machine_list.split(",")[0]) in err


def test_a_machine_0_that_says_nothing_is_not_waited_for(join, machine_list):
    """Something else has its port, and answers nobody."""
    with socket.socket() as listener:
        listener.bind((machine(0), int(machine_list.split(",")[0].split(":")[1])))
        listener.listen(5)
        (code, _, err), = outcomes([join(1, flags=["--start_timeout", "1"])], 1)
    assert code == 2
    assert "error: machine 0 ({}) did not start the job in 1 s\n".format(machine(0)) in err


def test_a_rank_given_twice_is_found_before_anything_runs(join):
    done = outcomes([join(rank) for rank in (0, 1, 1)], 10)
    for code, out, err in done:
        assert code == 2 and out == ""
        assert re.search(r"error: --machine_rank 1 was given on two machines: \S+ and \S+\n", err)


@pytest.mark.parametrize("what, args, changes", [
    ("the script", [], dict(body=PRINT + "# changed")),
    ("the script's arguments", ["--rate"], {}),
    ("the command line", [], dict(flags=["--gpu_per_worker", "2"])),
    ("the command line", [], dict(flags=["--num_workers", "6"])),
    ("the version of TensorFlow", [], dict(environment={"PYTHONPATH": "another"})),
])
def test_what_differs_is_found_before_anything_runs(join, tmp_path, what, args, changes):
    if "environment" in changes:  # found first, as another version would be
        (tmp_path / "tensorflow-0.0.1.dist-info").mkdir()
        changes = {"environment": {"PYTHONPATH": "{}:{}".format(tmp_path, ROOT)}}
    for code, out, err in outcomes([join(0), join(1, *args, **changes)], 10):
        assert code == 2 and out == "", err
        assert "error: the machines do not fit together: " in err and what in err
