# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Start a script through the real `epl-launch`, or alone, and look at what became of it."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Dict, Mapping, NamedTuple, Optional

from tests.support import warm as copies

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JOBS = os.path.join(ROOT, "tests", "dist", "jobs")

# After so many seconds what would wait for ever ends, and fails its test: far above what anything
# here takes on a busy machine.
HANG_S = 240.0
# Options of `launch`: neither Gloo nor the launcher loses patience, so that a job ends only by what
# its workers know, or hangs.
PATIENT: Dict[str, Any] = {"environment": {"HOROVOD_GLOO_TIMEOUT_SECONDS": "3600"},
                           "flags": ("--grace", "3600")}

# Jobs of the suite run with another communicator, if this says which: TESTED_COMMUNICATOR=native
COMMUNICATOR = "TESTED_COMMUNICATOR"

_secrets: Optional[str] = None


class Result(NamedTuple):
    """How a job ended.

    Attributes:
      code: its exit code.
      output: what it printed, standard output and error together.
      directory: its log directory; worker i's output directory is `directory/i`.
    """

    code: int
    output: str
    directory: str

    def path(self, worker: int, name: str) -> str:
        return os.path.join(self.directory, str(worker), name)

    def of_worker(self, worker: int) -> str:
        """The lines of one worker, without the launcher's prefix."""
        prefix = "[worker {}] ".format(worker)
        return "\n".join(line[len(prefix):] for line in self.output.splitlines()
                         if line.startswith(prefix))

    def check(self) -> "Result":
        assert self.code == 0, self.output[-6000:]
        return self


def launch(script, directory, *args, workers=2, devices=1, timeout=HANG_S,
           environment=None, flags=(), warm=False) -> Result:
    """Run `script` (a file in tests/dist/jobs, or a path) under `epl-launch`.

    Without GPUs every worker gets `devices` virtual CPU devices. If `warm`, its processes are
    copies of one that has TensorFlow imported; see `tests.support.warm`.
    """
    path = script if os.path.isabs(script) else os.path.join(JOBS, script)
    command = [sys.executable, "-m", "epl.launcher", "--num_workers", str(workers),
               "--gpu_per_worker", str(devices), "--log_dir", str(directory)] + list(flags) + [path]
    command += [str(a) for a in args]
    return _run(command, str(directory), timeout, environment, warm)


def alone(script, directory, *args, timeout=HANG_S, environment=None, warm=False) -> Result:
    """Run `script` without a launcher; its output directory is `directory/0`. `warm` as above."""
    os.makedirs(os.path.join(str(directory), "0"), exist_ok=True)
    variables = {"EPL_OUTPUT_DIR": os.path.join(str(directory), "0")}
    variables.update(environment or {})
    command = [sys.executable, os.path.join(JOBS, script)] + [str(a) for a in args]
    return _run(command, str(directory), timeout, variables, warm)


def environment_for(changes: Optional[Dict[str, str]] = None) -> Dict[str, str]:
    """This process's environment without anything of a launcher, and with the repository's code."""
    variables = without_foreign(os.environ)
    variables.update(PYTHONPATH=ROOT, TF_CPP_MIN_LOG_LEVEL="1", CUDA_VISIBLE_DEVICES="",
                     PYTHONWARNINGS="ignore", EPL_SECRET_FILE=_secret_file())
    if os.environ.get(COMMUNICATOR):
        variables["EPL_COMMUNICATION_COMMUNICATOR"] = os.environ[COMMUNICATOR]
    variables.update(changes or {})
    return variables


def _secret_file() -> str:
    """The secret of the machines of jobs that tests start; not in the home directory."""
    global _secrets
    if _secrets is None:
        _secrets = tempfile.mkdtemp(prefix="epl-secret-")
        atexit.register(shutil.rmtree, _secrets, ignore_errors=True)
    path = os.path.join(_secrets, "secret")
    if not os.path.exists(path):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("this is the secret of the tests\n")
    return path


def without_foreign(variables: Mapping[str, str]) -> Dict[str, str]:
    """Those environment variables that steer no launcher, EPL, Horovod, Python or pip."""
    foreign = re.compile(r"^(EPL_|HOROVOD_|TF_CONFIG$|OMPI_|PMIX?_|MPI_LOCAL|SLURM_|TORCHELASTIC_"
                         r"|(LOCAL_)?(RANK|WORLD_SIZE)$|MASTER_|PYTHON(PATH|HOME|STARTUP|OPTIMIZE)$"
                         r"|PIP_(TARGET|PREFIX|USER)$|PYTEST_ADDOPTS$)")
    return {name: value for name, value in variables.items() if not foreign.match(name)}


def _run(command, directory, timeout, environment, warm) -> Result:
    variables = environment_for(environment)
    if warm:
        done = copies.run(command[1:], variables, timeout)
    else:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout, env=variables)
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"), directory)
