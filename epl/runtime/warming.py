# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A run of nothing but exchanges, for communicators that have to make them known first."""

import threading
from typing import Any

from epl.ir.environment import context_of
from epl.runtime import control_plane

_here = threading.local()


def is_apart() -> bool:
    """True in a thread whose run is EPL's own, and no step, whatever it runs."""
    return getattr(_here, "apart", False)


def is_cold(session: Any) -> bool:
    """True if the exchanges in a session's graph have to be made known there."""
    context = context_of(session.graph)
    return context.communicator is not None and context.communicator.is_cold(session)


def warm_up(session: Any) -> None:
    """Make them known; every worker has to call this."""
    def run(ops: Any, fed: Any) -> None:
        _here.apart = True
        try:
            session.run(ops, fed)
        finally:
            _here.apart = False

    connection = context_of(session.graph).connection
    with connection.running(control_plane.end_in_step):
        connection.warm_up(session, run)
