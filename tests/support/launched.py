# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A running `epl-launch`, and what can be seen of its processes."""

import os
import signal
import subprocess
import sys
import time

from epl.shared import progress

LAUNCH = [sys.executable, "-m", "epl.launcher"]
# What a wait has as its limit. No measure of speed: what takes a second here may take ten on a busy
# machine, and who waits in vain, for the grace time (30 s) or a sleep (600 s), is over it anyway.
SOON_S = 25.0
WAIT_FOR_CHILD = "python -c 'import time; time.sleep(600)' & echo $! > $EPL_OUTPUT_DIR/pid; wait\n"


class Launched:
    """A running `epl-launch` and the log directory of its job."""

    def __init__(self, command, directory, environment):
        self.directory = str(directory)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment)

    def wait(self, timeout=SOON_S):
        """Exit code, stdout and stderr, once the launcher and all that holds its pipes is gone."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out.decode("utf-8"), err.decode("utf-8")

    def path(self, worker, name):
        return os.path.join(self.directory, str(worker), name)

    def pid(self, worker, name="pid"):
        """The process id that a worker has written to the file `name`."""
        path = self.path(worker, name)
        wait_until(lambda: os.path.exists(path) and read(path).endswith(b"\n"))
        return int(read(path))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def wait_until(condition, timeout=SOON_S):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited {} s in vain".format(timeout)
        time.sleep(0.02)


def status(directory, worker):
    """What a worker of the job with this log directory last said of its progress, or None."""
    return progress.read(os.path.join(str(directory), str(worker), "progress.json"))


def alive(pid):
    return _state(pid) not in "ZX"


def stop(pid):
    """Stop a process with SIGSTOP; it does nothing any more afterwards."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _state(pid) == "T")  # a busy machine may let it go on for a while


def _state(pid):
    """The letter that Linux has for what a process does; X if there is none."""
    try:
        with open("/proc/{}/stat".format(pid)) as status:
            return status.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter between opening and reading
        return "X"
