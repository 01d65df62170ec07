# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`--machine_list` with real launchers; the machines are loopback addresses of this one."""

import re
import socket
import struct
import time

import pytest

from tests.support.jobs import ROOT

PRINT = """
import os
print("worker", *(os.environ.get(name, "None").split(":")[0] for name in (
    "EPL_WORKER_INDEX", "EPL_WORKER_HOSTS", "HOROVOD_GLOO_RENDEZVOUS_ADDR", "TOKEN")))
"""
PREAMBLE = b"\0epl-launch 2\n"
SLACK_S = 40.0  # for a busy machine; who waits in vain does it for ten minutes


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


def connected(machine_list):
    address = machine_list.split(",")[0].split(":")
    deadline = time.monotonic() + SLACK_S
    while True:
        try:
            return socket.create_connection((address[0], int(address[1])), timeout=SLACK_S)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_strangers_change_nothing(join, machine_list):
    """They come first, say this and that, or nothing; the job starts and ends as without them."""
    jobs = [join(0)]
    member = '["0", "3", "2", "0", "", "", "", "cpu"]'
    hello = '{"kind": "hello", "rank": 1, "member": %s, "devices": ["cpu", [""]], "trouble": "", ' \
            '"proof": "%s"}' % (member, "0" * 64)
    strangers = [connected(machine_list) for _ in range(12)]
    sayings = [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100000, said("[" * 60000), said("{}"),
               said('{"kind": ["x"]}'), said('{"kind": "hello", "rank": "x"}'), said(hello),
               said('{"kind": "refused", "reason": "go home"}'), said('{"kind": "knock"}'),
               said('{"kind": "knock", "number": "1"}') + said(hello)[len(PREAMBLE):],
               PREAMBLE + b"\xff" * 8]
    for stranger, saying in zip(strangers, sayings):
        try:
            stranger.sendall(saying)
        except OSError:
            pass  # it was let go already
    jobs += [join(rank) for rank in (1, 2)]
    for code, _, err in outcomes(jobs, 10):
        assert code == 0 and "Traceback" not in err and "go home" not in err, err
    for stranger in strangers:
        stranger.close()


def said(text):
    return PREAMBLE + struct.pack(">II", len(text), 0) + text.encode()


def test_another_secret_is_named_where_it_is(join, tmp_path):
    other = tmp_path / "other"
    other.write_text("this is the secret of somebody else")
    other.chmod(0o600)
    chief = join(0, flags=["--start_timeout", "4"])
    (code, out, err), = outcomes([join(1, environment={"EPL_SECRET_FILE": str(other)})], 4)
    assert code == 2 and out == ""
    assert err.endswith("epl-launch: error: the secret of this machine, {}, is not that of machine "
                        "0 ({}); copy the file from there\n".format(other, machine(0)))
    (code, _, err), = outcomes([chief], 4)
    assert code == 2 and "machine 1 ({}), 2".format(machine(1)) in err
    assert re.search(r"epl-launch: the machine at \S+ has another secret than this one's ", err)
