# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The process that ends the workers of a launcher that was killed."""

import signal
import subprocess

from epl.launcher.watchdog import Watchdog

SOON_S = 12.0


def test_the_groups_that_are_left_are_killed_and_no_others():
    watchdog = Watchdog()
    left, gone = [subprocess.Popen(["sleep", "600"], start_new_session=True,
                                   preexec_fn=watchdog.watch_me) for _ in range(2)]
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        watchdog.forget(gone.pid)
        watchdog.close()
        assert left.wait(SOON_S) == -signal.SIGKILL
        assert gone.poll() is None and stranger.poll() is None
    finally:
        for process in (left, gone, stranger):
            process.kill()
            process.wait()
