# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

import signal


def pytest_configure(config):
    """Jobs that tests start hear Ctrl-C and the end of their terminal.

    Whoever runs the suite under nohup or in the background of a script has these signals ignored,
    and ignored signals, unlike handled ones, stay so in the processes that are started.
    """
    for signum in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)
