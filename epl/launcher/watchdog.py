# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Ends the workers when the launcher is killed and cannot do it itself.

The launcher starts this file as a process of its own session. Its standard input brings the process
group of every worker: `+123` when the group starts, `-123` when nothing of it is left.
When the launcher ends, by whatever signal or error, the pipe closes, and the groups still noted are
killed. A death signal set by prctl alone is not enough: it reaches the process that the launcher
started, `bash` for a `.sh` script, but not the Python that this `bash` started.

It runs without site-packages and imports nothing of this package, so that it starts at once.
"""

import contextlib
import os
import signal
import subprocess
import sys


class Watchdog:
    """The launcher's side: tells the watchdog process which groups to watch."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", os.path.abspath(__file__)], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, start_new_session=True)

    def watch_me(self) -> None:
        """Kill the process group of the calling process should the launcher die.

        A worker calls this itself, before its program starts: were it the launcher's task, a
        launcher killed at the wrong moment would leave a group behind that nobody knows.
        """
        self._tell("+{}\n".format(os.getpgrp()))

    def forget(self, group: int) -> None:
        """Nothing of process group `group` is left; its number may be used again."""
        self._tell("-{}\n".format(group))

    def close(self) -> None:
        """End the watchdog process; groups that were not forgotten are killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # Should somebody have killed the watchdog, the workers' own death signal is left.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), line.encode("ascii"))


def main() -> None:
    """Keep note of groups until standard input ends, then kill those that are left."""
    groups = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):  # it ended together with the launcher
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
