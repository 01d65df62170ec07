# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker as the operating system sees it: a process group of its own.

The launcher makes itself the *subreaper* of its descendants (Linux): a process whose parent ends
becomes the launcher's child. So it hears of the end of everything in a worker's group, also of
what a script left in the background, and as only it can reap these processes, a group's number
cannot pass to a stranger while the launcher may still signal it.
"""

import ctypes
import os
import signal
import subprocess
import sys
from typing import Callable, Optional

from epl.errors import ConfigError
from epl.launcher.guard import Guard
from epl.launcher.output import Console, LogFile, WorkerStream
from epl.launcher.plan import WorkerPlan

# Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process.

    Raises:
      ConfigError: this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError("epl-launch needs Linux to end all processes of a job; this is {}".format(
            sys.platform))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, argument: int) -> None:
    if _LIBC.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl({}, {}) failed".format(option, argument))


def _die_with_the_launcher(guard: Guard) -> Callable[[], None]:
    """What a new worker calls before its program starts.

    The guard kills the whole group; the death signal reaches the script's process only, but works
    even if somebody has killed the guard. It imports nothing and takes no lock: a thread of the
    launcher that held one does not exist in the new process.
    """
    launcher = os.getpid()

    def arrange() -> None:
        guard.watch_me()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it died before the line above
            os._exit(1)

    return arrange


class WorkerProcess:
    """A started worker.

    Args:
      plan: what to start.
      stdout, stderr: the consoles that show its output.
      guard: ends it should the launcher be killed.

    Attributes:
      plan: as given.
      stdout, stderr: its output pipes.
      group: number of its process group, which the process of the script leads.

    Raises:
      OSError: it cannot be started, or its logs cannot be opened.
    """

    def __init__(self, plan: WorkerPlan, stdout: Console, stderr: Console, guard: Guard):
        self.plan = plan
        logs = [LogFile(os.path.join(plan.directory, name), stderr.say)
                for name in ("stdout.log", "stderr.log")]
        self._process = subprocess.Popen(
            plan.command, env=plan.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
            preexec_fn=_die_with_the_launcher(guard))
        self.group = self._process.pid
        assert self._process.stdout is not None and self._process.stderr is not None
        prefix = "[worker {}] ".format(plan.worker)
        self.stdout = WorkerStream(self._process.stdout, prefix, stdout, logs[0])
        self.stderr = WorkerStream(self._process.stderr, prefix, stderr, logs[1])

    def poll(self) -> Optional[int]:
        """Exit code of the script's process, -n if signal n ended it, None while it runs.

        The process stays a zombie, which keeps the number of the group taken, until `reap_group`.
        """
        info = os.waitid(os.P_PID, self.group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def signal_group(self, signum: int) -> None:
        """Send `signum` to all processes of the group; not to be called once it is empty."""
        os.killpg(self.group, signum)

    def reap_group(self) -> bool:
        """Collect the group's dead processes; True if none, dead or alive, is left.

        Only to be called after `poll` has returned an exit code.
        """
        try:
            while True:
                pid, status = os.waitpid(-self.group, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == self.group:
                    self._process.returncode = status  # tells Popen that it is collected
        except ChildProcessError:
            return True
