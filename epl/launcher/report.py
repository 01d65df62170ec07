# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The words of the launcher: at the start, when the job is being ended, and at the end."""

import os
import signal
from typing import Iterable, List

from epl.launcher import events

_MAX_TAIL_CHARACTERS = 300


def describe_exit(returncode: int) -> str:
    """In words: an exit code, or -n for signal n."""
    signum = events.deadly_signal(returncode)
    if signum is None:
        return "exited with code {}".format(returncode)
    if returncode > 0:
        return "exited with code {} (128 + {}: {})".format(returncode, signum, _signal_name(signum))
    text = "died by signal " + _signal_name(signum)
    if signum == signal.SIGKILL:
        text += ": from outside, often the kernel's when memory runs out"
    return text


def ending(outcome: events.Outcome, still_running: Iterable[int], grace_s: float) -> str:
    """One line, when the job is being ended: why, and for whom it waits."""
    waiting = sorted(still_running)
    line = "epl-launch: {}".format(_cause(outcome))
    if waiting:
        line += "; ending worker {} (SIGKILL after {:g} s)".format(
            ", ".join(map(str, waiting)), grace_s)
    return line


def closing(outcome: events.Outcome, seconds: float, log_dir: str, tail: Iterable[bytes]) -> str:
    """The last lines of a job.

    Args:
      outcome: how it went.
      seconds: how long it took.
      log_dir: where its logs are.
      tail: the last lines of the failed worker's stderr.
    """
    if isinstance(outcome, events.Succeeded):
        return "epl-launch: done in {:.1f} s; logs in {}".format(seconds, log_dir)
    lines = ["{} after {:.1f} s".format(_cause(outcome), seconds)]
    if isinstance(outcome, events.WorkerFailed):
        shown = [line.decode("utf-8", "replace").rstrip() for line in tail]
        lines.append("last lines of its stderr:" if shown else "it wrote nothing to stderr")
        lines.extend("    " + _shortened(line) for line in shown)
        log_dir = os.path.join(log_dir, str(outcome.worker))
    lines.append("logs in " + log_dir)
    return _box(lines)


def _cause(outcome: events.Outcome) -> str:
    if isinstance(outcome, events.WorkerFailed):
        return "worker {} {}".format(outcome.worker, describe_exit(outcome.returncode))
    if isinstance(outcome, events.Interrupted):
        return "interrupted by {}".format(_signal_name(outcome.signum))
    return "all workers succeeded"


def _signal_name(signum: int) -> str:
    try:
        return "{} ({})".format(signal.Signals(signum).name, signum)
    except ValueError:
        return str(signum)


def _shortened(line: str) -> str:
    if len(line) <= _MAX_TAIL_CHARACTERS:
        return line
    return line[:_MAX_TAIL_CHARACTERS] + " ... ({} characters)".format(len(line))


def _box(lines: List[str]) -> str:
    first, middle, last = lines[0], lines[1:-1], lines[-1]
    return "\n".join(["+-- epl-launch: " + first] + ["|   " + line for line in middle]
                     + ["+-- " + last])
