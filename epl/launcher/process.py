# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker as the operating system sees it: a process group of its own.

The launcher makes itself the *subreaper* of its descendants (Linux): a process whose parent ends
becomes the launcher's child. So it hears of the end of everything in a worker's group, also of
what a script left in the background, and as only it can reap these processes, a group's number
cannot pass to a stranger while the launcher may still signal it.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from epl.errors import ConfigError
from epl.launcher.plan import WorkerPlan
from epl.launcher.watchdog import Watchdog

# Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)

# A stopped process acts on these only when it is continued.
_ASKS_FOR_THE_END = (signal.SIGTERM, signal.SIGINT)
_ONLY_FOR_HANDLERS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


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


def _arrangement(watchdog: Watchdog, cores: Optional[Sequence[int]], terminal: bool
                 ) -> Callable[[], None]:
    """What a new worker calls before its program starts.

    The watchdog kills the whole group; the death signal reaches the script's process only, but
    works even if somebody has killed the watchdog. It imports nothing and takes no lock: a thread
    of the launcher that held one does not exist in the new process.
    """
    launcher = os.getpid()

    def arrange() -> None:
        if terminal:
            os.setpgid(0, 0)
            give_terminal_to(os.getpgrp())
        watchdog.watch_me()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it died before the line above
            os._exit(1)
        if cores is not None:
            os.sched_setaffinity(0, cores)

    return arrange


def give_terminal_to(group: int) -> None:
    """Make `group` the one that reads the terminal on standard input, if there is one."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # sent to who takes it from behind
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, group)
    signal.signal(signal.SIGTTOU, before)


class WorkerProcess:
    """A started worker.

    Args:
      plan: what to start.
      environment: all variables of the process.
      cores: those it may use; None: the launcher's.
      watchdog: ends it should the launcher be killed.

    Attributes:
      plan: as given.
      pipes: "stdout" and "stderr": the reading ends, non-blocking; none if it has the terminal.
      group: number of its process group, which the process of the script leads.

    Raises:
      OSError: it cannot be started.
    """

    def __init__(self, plan: WorkerPlan, environment: Dict[str, str],
                 cores: Optional[Sequence[int]], watchdog: Watchdog):
        self.plan = plan
        pipe = None if plan.terminal else subprocess.PIPE
        self._process = subprocess.Popen(
            plan.command, env=environment, cwd=plan.working_directory, bufsize=0,
            stdin=None if plan.terminal else subprocess.DEVNULL, stdout=pipe, stderr=pipe,
            start_new_session=not plan.terminal,
            preexec_fn=_arrangement(watchdog, cores, plan.terminal))
        self.group = self._process.pid
        self.pipes = {name: file for name, file in (("stdout", self._process.stdout),
                                                    ("stderr", self._process.stderr))
                      if file is not None}
        for file in self.pipes.values():
            os.set_blocking(file.fileno(), False)

    def poll(self) -> Optional[int]:
        """Exit code of the script's process, -n if signal n ended it, None while it runs.

        The process stays a zombie, which keeps the number of the group taken, until `reap_group`.
        """
        info = os.waitid(os.P_PID, self.group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def signal_group(self, signum: int) -> None:
        """As `Host.signal`; not to be called once `reap_group` has returned True."""
        if signum in _ONLY_FOR_HANDLERS:
            self.signal_handlers(signum)
            return
        os.killpg(self.group, signum)
        if signum in _ASKS_FOR_THE_END:
            self.resume()

    def resume(self) -> None:
        """Let processes of the group that were stopped go on."""
        os.killpg(self.group, signal.SIGCONT)

    def signal_handlers(self, signum: int) -> bool:
        """Send `signum` to those processes of the group that handle it; whether there are any."""
        handlers = [pid for pid in _members(self.group) if _handles(pid, signum)]
        for pid in handlers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        return bool(handlers)

    def is_stopped(self) -> bool:
        """Whether a process of the group is stopped, by a signal or a debugger."""
        return any(_state(pid) in ("T", "t") for pid in _members(self.group))

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


def _members(group: int) -> Iterator[int]:
    """The processes of a process group. The launcher keeps `group` from being used anew."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.getpgid(int(name)) == group:
                yield int(name)


def _state(pid: int) -> str:
    """The letter of /proc/<pid>/stat for what the process does; "" if there is none."""
    with contextlib.suppress(OSError, IndexError):
        with open("/proc/{}/stat".format(pid), encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    return ""


def _handles(pid: int, signum: int) -> bool:
    """Whether the process has a handler for the signal (field SigCgt of /proc/<pid>/status)."""
    try:
        with open("/proc/{}/status".format(pid), "rb") as file:
            fields: List[bytes] = [line for line in file if line.startswith(b"SigCgt:")]
    except OSError:
        return False
    return bool(fields) and bool(int(fields[0].split()[1], 16) >> (signum - 1) & 1)
