# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Ends the workers when the launcher is killed and cannot do it itself.

The launcher starts this file as a process of its own session and writes the process group of every
worker to its standard input: `+123` when the group starts, `-123` when nothing of it is left.
When the launcher dies, by whatever signal, the pipe closes, and the groups still noted are
killed. A death signal set by prctl alone is not enough: it reaches the process that the launcher
started, `bash` for a `.sh` script, but not the Python that this `bash` started.

It runs without site-packages and imports nothing of this package, so that it starts at once.
"""

import os
import signal
import subprocess
import sys


class Guard:
    """The launcher's side: tells the guard process which groups to watch."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", os.path.abspath(__file__)], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, start_new_session=True)

    def watch(self, group: int) -> None:
        """Kill process group `group` should the launcher die."""
        self._tell("+{}\n".format(group))

    def forget(self, group: int) -> None:
        """Nothing of process group `group` is left; its number may be used again."""
        self._tell("-{}\n".format(group))

    def close(self) -> None:
        """End the guard process; groups that were not forgotten are killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line.encode("ascii"))
        except BrokenPipeError:
            pass  # somebody killed the guard; the workers' own death signal is left


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
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended together with the launcher


if __name__ == "__main__":
    main()
