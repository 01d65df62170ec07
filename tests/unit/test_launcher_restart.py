# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which attempts are followed by another."""

import pytest

from epl.launcher.events import (
    Interrupted,
    LeftEarly,
    LostHost,
    Succeeded,
    TimedOut,
    Timer,
    WorkerFailed,
)
from epl.launcher.restart import decide


@pytest.mark.parametrize("outcome, ready, attempt, allowed, restart, words", [
    (WorkerFailed(1, 7), True, 0, 1, True, ""),
    (WorkerFailed(1, -9), True, 1, 2, True, ""),
    (LeftEarly(1, 0), True, 0, 1, True, ""),
    (LostHost("a", "silent"), True, 0, 1, True, ""),
    (TimedOut(Timer.STALL, 9.0), True, 0, 1, True, ""),
    (WorkerFailed(1, 7), True, 2, 2, False, "2 restart(s) were allowed"),
    (WorkerFailed(1, 7), False, 0, 5, False, "no worker had become ready"),
    (TimedOut(Timer.START, 9.0), False, 0, 5, False, "no worker had become ready"),
    (WorkerFailed(1, 7), True, 0, 0, False, ""),
    (TimedOut(Timer.TIMEOUT, 9.0), True, 0, 5, False, ""),
    (Interrupted(15), True, 0, 5, False, ""),
    (Succeeded(), True, 0, 5, False, ""),
])
def test_table(outcome, ready, attempt, allowed, restart, words):
    decision = decide(outcome, ready, attempt, allowed)
    assert decision.restart == restart
    assert words in decision.reason and bool(words) == bool(decision.reason)


def test_who_wanted_the_end_of_a_failed_attempt_wants_no_other():
    decision = decide(WorkerFailed(1, 7), True, 0, 5, interrupted_by=2)
    assert not decision.restart
    assert decision.reason == "not restarted: interrupted by SIGINT (2)"
