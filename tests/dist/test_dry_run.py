# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`--dry_run` says what the same command does without it: all of it, and nothing else."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from epl.launcher.cores import as_ranges
from tests.support.jobs import environment_for
from tests.support.launched import LAUNCH, read

# The port is another one in every job.
PORT, ADDRESS = "HOROVOD_GLOO_RENDEZVOUS_PORT", "HOROVOD_GLOO_RENDEZVOUS_ADDR"
BIND = pytest.param(["--bind"], marks=pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one core cannot be divided"))
MORE = {"HOROVOD_CYCLE_TIME": "3", "HOROVOD_RANK": "9", "MINE": "m"}


def blocks_of(text):
    """For every worker {"host": ..., "command": ..., "environment": {name: value}}."""
    found = []
    for block in re.split(r"(?m)^worker \d+ on ", text)[1:]:
        lines = block.splitlines()
        at = lines.index("  environment")
        fields = dict(line.strip().split(None, 1) for line in lines[1:at])
        fields["environment"] = {name: shlex.split(value)[0] for name, value in (
            line[4:].split("=", 1) for line in lines[at + 1:])}
        fields["host"] = lines[0]
        found.append(fields)
    return found


def inherited(environment):
    """What a launcher in this environment has, Python's own additions included."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    return json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE,
                                     env=environment_for(environment)).stdout.decode())


@pytest.mark.parametrize("flags", [
    [], ["--env", "MINE", "--env", "SET=a b", "--max_restarts", "1"], BIND])
def test_the_environment_is_the_whole_truth(start, flags):
    """A worker finds what is promised, and apart from that what the launcher itself has."""
    dry = start("env", "-0", flags=flags + ["--dry_run"], environment=MORE)
    promised = blocks_of(dry.wait()[1])
    assert len(promised) == 2
    job = start("env", "-0", flags=flags, environment=MORE)
    assert job.wait()[0] == 0
    before = inherited(MORE)
    with open(os.path.join(job.directory, "run.json")) as file:
        attempt, = json.load(file)["attempts"]
    for worker, block in enumerate(promised):
        output = read(os.path.join(attempt["workers"][worker]["logs"], "stdout.log")).decode()
        found = dict(entry.split("=", 1) for entry in output.rstrip("\0").split("\0"))
        expected = dict(before, **block["environment"])
        assert found.pop(PORT).isdigit() and expected.pop(PORT) == "(chosen at the start)"
        # Port and secret, both drawn at the start, stand behind the address.
        assert re.match(re.escape(expected.pop(ADDRESS)) + r":\d+/[0-9a-f]{32}$",
                        found.pop(ADDRESS))
        assert found == expected


@pytest.mark.parametrize("flags", [[], ["--max_restarts", "1"], BIND])
def test_commands_directories_cores_and_logs_are_those_of_the_run(start, script, flags):
    path = script("what.py", "import json, os, sys\nprint(json.dumps([os.getcwd(), sorted("
                             "os.sched_getaffinity(0)), os.environ['EPL_OUTPUT_DIR']]))")
    dry = start(path, "a b", flags=flags + ["--dry_run"])
    promised = blocks_of(dry.wait()[1])
    assert not os.path.exists(dry.directory)
    job = start(path, "a b", flags=flags)
    assert job.wait()[0] == 0
    with open(os.path.join(job.directory, "run.json")) as file:
        attempt, = json.load(file)["attempts"]
    assert len(promised) == 2
    for block, worker in zip(promised, attempt["workers"]):
        assert block["host"] == "localhost"
        assert shlex.split(block["command"]) == worker["command"]
        assert block["outputs"] == worker["outputs"]
        assert block["devices"] == "1 virtual CPU device(s)"
        logs, errors = block["logs"].split(", ")
        assert errors == "stderr.log" and os.path.dirname(logs) == worker["logs"]
        directory, cores, outputs = json.loads(read(logs).decode())
        assert block["directory"] == directory and block["outputs"] == outputs
        shared = "" if "--bind" in flags else ", shared by 2 worker(s)"
        assert block["cores"] == as_ranges(cores) + shared


def test_without_log_dir_the_new_directory_is_named_and_not_made(tmp_path, script):
    done = subprocess.run(
        LAUNCH + ["--num_workers", "1", "--dry_run", "--task_label", "try", script("x.sh", "")],
        stdout=subprocess.PIPE, env=environment_for(), cwd=str(tmp_path), check=True)
    block, = blocks_of(done.stdout.decode())
    assert re.match(re.escape(str(tmp_path)) + r"/experiments/\d{8}-\d{6}_1w1g_x_try/0$",
                    block["outputs"])
    assert os.listdir(str(tmp_path)) == ["x.sh"]


@pytest.mark.parametrize("rank, hosts", [(0, ["localhost", "127.0.0.2"]),
                                         (1, ["127.0.0.1", "127.0.0.2"])])
def test_machines_that_are_not_there_are_not_waited_for(start, rank, hosts):
    """On any of them it shows the workers of all."""
    job = start("env", flags=["--machine_list", "127.0.0.1:1,127.0.0.2:1", "--machine_rank",
                              str(rank), "--dry_run"])
    code, out, err = job.wait()
    assert code == 0, err
    blocks = blocks_of(out)
    assert [block["host"] for block in blocks] == hosts
    for block in blocks:
        assert block["environment"]["EPL_WORKER_HOSTS"] == "127.0.0.1,127.0.0.2"
        assert block["environment"]["HOROVOD_GLOO_RENDEZVOUS_ADDR"] == "127.0.0.1"
