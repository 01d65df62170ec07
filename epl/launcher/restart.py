# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether a job that has ended is started again."""

from typing import NamedTuple

from epl.launcher import events, report


class Decision(NamedTuple):
    """Attributes:
      restart: start the whole job once more.
      reason: why not, for the user; "" where nobody would ask.
    """

    restart: bool
    reason: str = ""


def decide(outcome: events.Outcome, became_ready: bool, attempt: int, max_restarts: int,
           interrupted_by: int = 0) -> Decision:
    """What follows on an attempt.

    Args:
      outcome: how it ended.
      became_ready: whether a worker had begun to train in it. If none had, the cause is most
        likely a mistake that the next attempt would make again.
      attempt: its number, 0-based.
      max_restarts: how often the job may be started again.
      interrupted_by: the signal that asked for the end while the attempt was being ended; or 0.
    """
    wanted = not isinstance(outcome, (events.Succeeded, events.Interrupted)) and not (
        isinstance(outcome, events.TimedOut) and outcome.timer is events.Timer.TIMEOUT)
    if not max_restarts or not wanted:
        return Decision(False)
    if interrupted_by:
        return Decision(False, "not restarted: {}".format(
            report.cause(events.Interrupted(interrupted_by))))
    if not became_ready:
        return Decision(False, "not restarted: no worker had become ready to train")
    if attempt >= max_restarts:
        return Decision(False, "not restarted: {} restart(s) were allowed (--max_restarts)".format(
            max_restarts))
    return Decision(True)
