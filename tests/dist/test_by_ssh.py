# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`--hosts` with a program in the place of ssh that runs the agent here, as on a bare machine.

Real ssh between two hosts: `test_hosts.py`.
"""

import os
import shlex
import sys

import pytest

from tests.support.jobs import ROOT
from tests.support.launched import LAUNCH, read

HOST = "192.0.2.1"
# A login elsewhere: another directory, nothing of the caller's environment.
SSH = """#!/bin/bash
echo "$@" > {record}
cd /
exec env -i HOME=/far PATH=/usr/bin:/bin SSH_CONNECTION="127.0.0.1 1 127.0.0.2 22" \\
    PYTHONDONTWRITEBYTECODE=1 bash -c "${{@: -1}}"
"""


@pytest.fixture
def launch(start, script, tmp_path):
    """Starts a job with all its workers on HOST, from the directory of the test."""
    def begin(path, *args, flags=(), ssh=SSH, **more):
        program = script("ssh", ssh.format(record=tmp_path / "ssh_command"))
        os.chmod(program, 0o755)
        own = ["--hosts", HOST + ":2", "--ssh_command", program, "--env", "PYTHONPATH=" + ROOT]
        return start(path, *args, flags=own + list(flags),
                     command=["bash", "-c", "cd {}; exec \"$@\"".format(tmp_path), "in"] + LAUNCH,
                     **more)
    return begin


def test_workers_find_their_directory_and_the_named_variables_alone(launch, script, tmp_path):
    script("vars.txt", "FILE=f\n")
    script("env.py", "import os, sys\nprint(dict(os.environ), os.getcwd(), sys.argv, sep='|')")
    job = launch("env.py", "a b", "-x", environment={"TOKEN": "swordfish", "OTHER": "1"},
                 flags=["--env", "TOKEN", "--env", "SET=x y", "--env_file", "vars.txt"])
    code, out, err = job.wait()
    assert code == 0, err
    assert sorted(line.split("]")[0] for line in out.splitlines()) == [
        "[{}:{}".format(HOST, worker) for worker in (0, 1)]
    for worker in (0, 1):
        variables, directory, argv = read(job.path(worker, "stdout.log")).decode().split("|")
        found = eval(variables)
        assert directory == str(tmp_path)
        assert eval(argv) == [str(tmp_path / "env.py"), "a b", "-x"]
        assert (found["TOKEN"], found["SET"], found["FILE"]) == ("swordfish", "x y", "f")
        assert found["HOME"] == "/far" and "OTHER" not in found
        assert found["EPL_WORKER_INDEX"] == str(worker)
    command = read(str(tmp_path / "ssh_command")).decode()
    assert HOST in command and "BatchMode=yes" in command
    for word in ("swordfish", "x y", "a b", "FILE"):
        assert word not in command


def test_another_interpreter_there(launch, script, tmp_path):
    """It runs the agent and the script, and is the `python` of what the script calls."""
    (tmp_path / "far").mkdir()
    for name in ("python", "python3.far"):
        wrapper = script("far/" + name, "#!/bin/bash\nVIA=$0 exec {} \"$@\"\n".format(
            shlex.quote(sys.executable)))
        os.chmod(wrapper, 0o755)
    script("which.py", "import os, shutil\nprint(os.environ['VIA'], shutil.which('python'))")
    code, out, err = launch("which.py", flags=["--remote_python", wrapper]).wait()
    assert code == 0, err
    assert out.count(" {} {}\n".format(wrapper, tmp_path / "far" / "python")) == 2


def test_a_host_that_does_not_answer_is_named_when_the_time_is_over(launch, script):
    code, _, err = launch(script("no.sh", "exit 0\n"), flags=["--start_timeout", "2"],
                          ssh="#!/bin/bash\nexec sleep 600\n").wait(30)
    assert code == 2
    assert "epl-launch: error: host {} did not answer in 2 s\n".format(HOST) in err


def test_a_dry_run_shows_what_would_run_there(launch, script, tmp_path):
    script("env.py", "import os\nprint(dict(os.environ))")
    flags = ["--gpu_per_worker", "3", "--env", "SET=x y"]
    job = launch("env.py", "a b", flags=flags + ["--dry_run"])
    code, text, err = job.wait()
    assert code == 0, err
    assert not os.path.exists(job.directory)
    real = launch("env.py", "a b", flags=flags)
    assert real.wait()[0] == 0
    for worker in (0, 1):
        lines = text.split("worker {} on {}\n".format(worker, HOST))[1].split("\nworker ")[0]
        lines = lines.splitlines()
        for line in ("  command    {} {} 'a b'".format(sys.executable, tmp_path / "env.py"),
                     "  devices    3 virtual CPU device(s)",
                     "  cores      all of the machine, shared",
                     "  logs       {}".format(job.path(worker, "stdout.log, stderr.log"))):
            assert line in lines
        found = eval(read(real.path(worker, "stdout.log")).decode())
        promised = dict(line[4:].split("=", 1) for line in lines[lines.index("  environment") + 1:])
        for name in ("SET", "EPL_OUTPUT_DIR", "EPL_GPU_PER_WORKER", "EPL_WORKER_HOSTS",
                     "HOROVOD_RANK", "CUDA_VISIBLE_DEVICES"):
            assert shlex.split(promised[name]) == [found[name]]
    bound = launch("env.py", flags=["--dry_run", "--bind"]).wait()[1]
    assert bound.count("  cores      its share of the machine's, bound\n") == 2
