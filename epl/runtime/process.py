# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The worker's process: what `epl.init` arranges for its life and its end."""

import atexit
import os
import sys
import types
from typing import Any, Optional, Type

from epl.env import Env
from epl.errors import WorkerLostError
from epl.runtime import coordination, stacks
from epl.shared import progress

_begun = _arranged = False


def begin(meets_others: bool) -> None:
    """Report to the launcher, if there is one.

    Args:
      meets_others: the worker is about to wait for others.
    """
    global _begun
    progress.start(arriving=meets_others)
    stacks.start()
    if not _begun:
        _report_errors()
        _begun = True


def arrange(env: Env) -> None:
    """The other workers have been met; meet them again at the end."""
    global _arranged
    progress.initialized()
    if not _arranged:
        # After Horovod's own, which closes the connection, and so called before it.
        atexit.register(_at_exit, os.getpid(), env)
        _arranged = True


def _report_errors() -> None:
    """Let the launcher know of the exception that ends the script, however long the end takes."""
    show, worker = sys.excepthook, os.getpid()

    def report(kind: Type[BaseException], error: BaseException,
               trace: Optional[types.TracebackType]) -> None:
        show(kind, error, trace)
        if os.getpid() == worker and isinstance(error, Exception):
            lost = _loss(error)
            if lost is None:
                progress.failed(error)
            elif lost.began_here:
                progress.failed(lost.__cause__ or lost)
            else:
                progress.connection_lost()

    sys.excepthook = report


def _loss(error: Optional[BaseException]) -> Optional[WorkerLostError]:
    """The loss of another worker that `error` came of, if it did."""
    seen: Any = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, WorkerLostError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _at_exit(worker: int, env: Env) -> None:
    """A script that ends while others go on with training is told from one that has finished."""
    failed = getattr(sys, "last_value", None) is not None  # an exception ends the script
    if os.getpid() != worker or failed or progress.is_lost():
        return
    if coordination.script_ended(env.context):
        progress.finished()
    else:
        progress.left()
