# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The Python stacks of all threads, written when the launcher asks with a signal.

They are written inside the C signal handler, so it works while the main thread waits in a
collective and Python's own handlers would not be called.
"""

import faulthandler
import os
import signal
import sys
from typing import Any

from epl import private

VARIABLE = "EPL_STACKS_FILE"
SIGNAL = signal.SIGRTMIN + 5  # TensorFlow, Horovod and Python's libraries use none of these

_file: Any = None  # kept open as long as the process


def start() -> None:
    """Write stacks to the end of `EPL_STACKS_FILE`, if set, whenever `SIGNAL` comes."""
    global _file
    path = os.environ.get(VARIABLE)
    if not path or _file is not None:
        return
    try:
        _file = open(private.open_to_append(path), "ab")
    except OSError as error:
        sys.stderr.write("epl: {} cannot be opened ({}): stacks go to stderr\n".format(
            path, error.strerror))
        _file = sys.stderr
    faulthandler.register(SIGNAL, file=_file, all_threads=True, chain=False)
