# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A job as a launcher starts it that wants to hear of progress, and asks for stacks."""

import os
import time

from epl.runtime import stacks
from epl.shared import progress

DIRECTORY = os.environ["EPL_OUTPUT_DIR"]


def listen():
    """Have the worker report to its output directory, whatever started it; before `epl.init`."""
    os.environ.setdefault(progress.VARIABLE, os.path.join(DIRECTORY, "progress.json"))
    os.environ.setdefault(stacks.VARIABLE, os.path.join(DIRECTORY, "stacks.txt"))


def status():
    """The present record."""
    return progress.read(os.environ[progress.VARIABLE])


def wait_for_release():
    """Hang until the test makes the file `release`."""
    while not os.path.exists(os.path.join(DIRECTORY, "release")):
        time.sleep(0.05)
