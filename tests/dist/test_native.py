# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The communicator on TensorFlow's own collectives: what it owes its servers and its links."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from epl.communicators.native import backend
from tests.support import jobs


def by_hand(*args, workers=3, **changes):
    """Workers that only `TF_CONFIG` describes: no launcher ends those that one leaves behind."""
    probes = [socket.socket() for _ in range(workers)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    addresses = ["127.0.0.1:{}".format(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return [subprocess.Popen(
        [sys.executable, os.path.join(jobs.JOBS, "native.py")] + list(args),
        env=jobs.environment_for(dict(changes, TF_CONFIG=json.dumps({
            "cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}))),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for index in range(workers)]


@pytest.mark.parametrize("victim", [0, 1])
def test_whoever_is_left_ends_when_a_worker_dies_in_a_step(victim):
    workers = by_hand("dies", VICTIM=str(victim))
    try:
        for index, worker in enumerate(workers):
            output = worker.communicate(timeout=jobs.HANG_S)[0].decode()
            if index == victim:
                assert worker.returncode == -signal.SIGKILL, output
                continue
            assert worker.returncode == 1, output
            assert "step 2 done" in output and "step 3 done" not in output
            assert "WorkerLostError" in output
            assert "worker {} has ended".format(victim) in output or "Unavailable" in output
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_whoever_is_left_ends_in_a_step_behind_the_script(monkeypatch):
    """There Python 3.12 and later start no thread any more."""
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    watch, ended, causes = backend._Watch(), threading.Event(), []
    watch.start()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with watch.running(lambda why: (causes.append(why), ended.set())):
        watch.lost("worker 1 has ended")
        assert ended.wait(jobs.HANG_S)
    assert causes == ["worker 1 has ended"]


def test_sessions_run_on_the_server_and_keep_their_variables_to_themselves(tmp_path):
    result = jobs.launch("native.py", tmp_path, "sessions").check()
    for worker in range(2):
        with open(result.path(worker, "report.json")) as file:
            found = json.load(file)
        assert "call epl.init() first" in found["made_early"]
        assert "'grpc://localhost:2222'" in found["other"] and "leave the target" in found["other"]
        assert found["weights"] == [0.75, 0.0]
        assert len(found["warned"]) == 1
        assert found["warned"][0].startswith("inter_op_parallelism_threads of a session's")


@pytest.mark.parametrize("name", ["rows", "longer"])
def test_rows_of_other_sizes_are_named(tmp_path, name):
    """Also where a worker has no rows at all."""
    result = jobs.launch("native.py", tmp_path, "sizes", warm=True,
                         environment={"OF": name}).check()
    told = []
    for worker in range(2):
        with open(result.path(worker, "report.json")) as file:
            found = json.load(file)
        assert found["joined"] == [[0.0] * 3] * 2 + [[1.0] * 3] * 3
        assert found["longer"] == [1, 4, 2]
        told.append(found["refused"])
    # One that was in another exchange by then learns only that this one has failed.
    named = [text for text in told if "the rows of '{}' (tests/dist/jobs/native.py:".format(
        name) in text]
    assert named and all(text.startswith("a step failed on worker") for text in named), told
    assert all("Pad to a fixed length" in text for text in named)
