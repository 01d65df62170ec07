# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`run.json` of real jobs."""

import json
import os
import socket
from datetime import datetime

import pytest

from tests.support.launched import read


def record_of(job):
    return json.loads(read(os.path.join(job.directory, "run.json")).decode())


def test_it_tells_what_runs_and_then_how_it_ended(start, script):
    job = start(script("die.sh", """
        echo $$ > $EPL_OUTPUT_DIR/pid
        until [ -e $EPL_OUTPUT_DIR/../go ]; do sleep 0.02; done
        if [ $EPL_WORKER_INDEX = 1 ]; then sleep 1.1; kill -KILL $$; fi
        exec sleep 600\n"""), "a b", flags=["--env", "TOKEN=swordfish"])
    for worker in (0, 1):
        job.pid(worker)
    running = record_of(job)
    assert running["exit_code"] is None and running["end"] is None
    with open(os.path.join(job.directory, "go"), "w"):
        pass
    assert job.wait()[0] == 137
    done = record_of(job)
    assert "swordfish" not in json.dumps(done)
    assert done["arguments"][-1] == "a b" and "TOKEN=..." in done["arguments"]
    assert done["start"] == running["start"] and done["exit_code"] == 137
    begin, end = [datetime.strptime(done[name], "%Y-%m-%dT%H:%M:%S%z") for name in ("start", "end")]
    assert 1 <= (end - begin).total_seconds() < 60
    attempt, = done["attempts"]
    assert [worker["host"] for worker in attempt["workers"]] == [socket.gethostname()] * 2
    # The first to fail, and the one that was ended because of it.
    assert [worker["exit_code"] for worker in attempt["workers"]] == [143, 137]
    for worker in attempt["workers"]:
        assert worker["command"][:1] == ["bash"] and worker["command"][-1] == "a b"
        assert os.path.exists(os.path.join(worker["logs"], "stdout.log"))
        assert os.path.exists(os.path.join(worker["outputs"], "pid"))


@pytest.mark.parametrize("flags, code", [(["--timeout", "1"], 124), ([], 143)])
def test_other_ends(start, script, flags, code):
    job = start(script("wait.sh", "echo $$ > $EPL_OUTPUT_DIR/pid\nexec sleep 600\n"), flags=flags)
    job.pid(0), job.pid(1)
    if not flags:
        job.process.terminate()
    assert job.wait()[0] == code
    done = record_of(job)
    assert done["exit_code"] == code and done["end"] and done["attempts"][0]["outcome"]
