# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The worker's process: what `epl.init` arranges for its life and its end."""

import atexit
import os
import sys

from epl.runtime import agreement, progress, stacks

_arranged = False


def arrange() -> None:
    """Report to the launcher, if there is one, and meet the other workers at the end."""
    global _arranged
    progress.start()
    stacks.start()
    if not _arranged:
        atexit.register(_at_exit, os.getpid())
        _arranged = True


def _at_exit(worker: int) -> None:
    """A script that ends while others go on with training is told from one that has finished."""
    failed = getattr(sys, "last_value", None) is not None  # an exception ends the script
    if os.getpid() != worker or failed or progress.is_lost():
        return
    if agreement.script_ended():
        progress.finished()
