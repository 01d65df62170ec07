# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The words of the launcher: when the job is being ended, and at the end."""

import os
import signal
from typing import Collection, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Union

from epl.launcher import events, stall, tracebacks
from epl.launcher.events import Timer
from epl.shared.check import DIFFERENT_CODE, UNCHECKED_CODE
from epl.shared.progress import Status

_MAX_LINE_CHARACTERS = 300
_SHOWN_LINES = 15


class Evidence(NamedTuple):
    """What is known about an attempt when it has ended.

    Attributes:
      log_dir: where the logs of its workers are, one directory for each.
      hosts: where each worker ran, in words.
      tails: the last lines of every worker's stderr.
      returncodes: exit code of every worker that has exited, -n for signal n.
      status: what workers last said about their progress.
      stacks: their stacks, where they were asked for.
      stalled: the workers that were running when it stalled.
      stalled_status: what they had said then.
      stopped: those of them that were stopped, by a signal or a debugger.
    """

    log_dir: str
    hosts: Sequence[str] = ()
    tails: Mapping[int, Sequence[str]] = {}
    returncodes: Mapping[int, int] = {}
    status: Mapping[int, Status] = {}
    stacks: Mapping[int, str] = {}
    stalled: Collection[int] = ()
    stalled_status: Mapping[int, Status] = {}
    stopped: Collection[int] = ()


def describe_exit(returncode: int) -> str:
    """In words: an exit code, or -n for signal n."""
    signum = events.deadly_signal(returncode)
    if signum is None:
        return "exited with code {}".format(returncode)
    if returncode > 0:
        return "exited with code {} (128 + {}: {})".format(returncode, signum, signal_name(signum))
    return "died by signal " + signal_name(signum)


def signal_name(signum: int) -> str:
    try:
        return "{} ({})".format(signal.Signals(signum).name, signum)
    except ValueError:
        return str(signum)


def ending(outcome: events.Outcome, still_running: Iterable[int], grace_s: float) -> str:
    """One line, when the job is being ended: why, and for whom it waits."""
    waiting = sorted(still_running)
    line = "epl-launch: {}".format(cause(outcome))
    if waiting:
        line += "; ending worker {} (SIGKILL after {:g} s)".format(
            ", ".join(map(str, waiting)), grace_s)
    return line


def cause(outcome: events.Outcome) -> str:
    """How a job ended, in words."""
    if isinstance(outcome, events.WorkerFailed):
        return "worker {} {}".format(outcome.worker, "failed: " + _shortened(outcome.error)
                                     if outcome.error else describe_exit(outcome.returncode))
    if isinstance(outcome, events.LeftEarly):
        return "worker {} left early: its script ended before {}, worker {} misses it".format(
            outcome.worker, outcome.before, outcome.missed_by)
    if isinstance(outcome, events.Stopped):
        return "worker {} is stopped (by SIGSTOP, a terminal or a debugger), worker {} has lost " \
               "the connection to it".format(outcome.worker, outcome.lost_by)
    if isinstance(outcome, events.Interrupted):
        return "interrupted by {}".format(signal_name(outcome.signum))
    if isinstance(outcome, events.LostHost):
        return "host {} lost: {}".format(outcome.host, outcome.reason)
    if isinstance(outcome, events.TimedOut):
        return _TIME_OVER[outcome.timer].format(outcome.seconds)
    if outcome.signum:
        return "all workers stopped after {}".format(signal_name(outcome.signum))
    return "all workers succeeded"


def checked(outcome: events.Outcome) -> str:
    """How a job of `--check` ended if its workers say that, else ""."""
    code = outcome.returncode if isinstance(outcome, events.WorkerFailed) else 0
    return {DIFFERENT_CODE: "the check found differences",
            UNCHECKED_CODE: "not all could be checked"}.get(code, "")


_TIME_OVER = {
    Timer.TIMEOUT: "not done after {:g} s (--timeout)",
    Timer.START: "not every worker was ready to train after {:g} s (--start_timeout)",
    Timer.STALL: "stalled: no worker got on for {:g} s (--stall_timeout)",
}


def closing(outcome: events.Outcome, seconds: float, evidence: Evidence) -> str:
    """The last lines of an attempt.

    Args:
      outcome: how it went.
      seconds: how long it took.
      evidence: what is known about it.
    """
    log_dir = evidence.log_dir
    if isinstance(outcome, events.Succeeded):
        done = "done" if not outcome.signum else cause(outcome) + ", done"
        return "epl-launch: {} in {:.1f} s; logs in {}".format(done, seconds, log_dir)
    lines = ["{} after {:.1f} s".format(cause(outcome), seconds)]
    if isinstance(outcome, events.TimedOut):
        lines[0] = "{}; ended after {:.1f} s".format(cause(outcome), seconds)
        if outcome.timer is not Timer.TIMEOUT:
            lines.extend(_stalled(evidence))
    elif isinstance(outcome, (events.WorkerFailed, events.LeftEarly)):
        lines.extend(_failed(outcome, evidence))
        log_dir = os.path.join(log_dir, str(outcome.worker))
    if isinstance(outcome, events.Stopped):
        for worker in (outcome.worker, outcome.lost_by):
            lines.append(stall.describe(worker, evidence.status.get(worker)))
    if isinstance(outcome, events.LeftEarly) and outcome.missed_by in evidence.status:
        lines.append(stall.describe(outcome.missed_by, evidence.status[outcome.missed_by]))
    if isinstance(outcome, events.LostHost):
        lost = [str(w) for w, host in enumerate(evidence.hosts) if host == outcome.host]
        lines.append("with worker " + ", ".join(lost) if lost else "before any worker ran there")
    return _box(lines + ["logs in " + log_dir])


def _failed(outcome: Union[events.WorkerFailed, events.LeftEarly], evidence: Evidence
            ) -> List[str]:
    """The words of the worker that failed first, and shorter those of others that failed."""
    worker = outcome.worker
    lines = ["on host " + evidence.hosts[worker]] if evidence.hosts else []
    if events.deadly_signal(getattr(outcome, "returncode", 0)) == signal.SIGKILL:
        lines.append("SIGKILL came from outside: often from the kernel, when memory runs out")
    tail = evidence.tails.get(worker, ())
    first = tracebacks.first_error(tail)
    if first is not None:
        lines.append("first error: " + _shortened(first.error))
        lines.extend(["    " + _shortened(first.frame.strip())] if first.frame else [])
        lines.append("while it was dealt with, another one came:")
    own = tracebacks.last_traceback(tail)
    # A traceback that is not among the last lines has been followed by others' complaints.
    shown = tail[-_SHOWN_LINES:]
    if own and own[-1] not in shown:
        shown = own[-_SHOWN_LINES:]
    lines.append("last lines of its stderr:" if shown else "it wrote nothing to stderr")
    lines.extend("    " + _shortened(line.rstrip()) for line in shown)
    return lines + _other_tracebacks(worker, evidence)


def _other_tracebacks(worker: int, evidence: Evidence) -> List[str]:
    lines = []
    for workers, text in tracebacks.groups(evidence.tails):
        others = [w for w in workers if w != worker and evidence.returncodes.get(w, 0) > 0]
        names = "worker " + ", ".join(map(str, others))
        if others and worker in workers:
            lines.append("the same traceback: " + names)
        elif others:
            first = tracebacks.first_error(text)
            lines.append("another traceback: {}: {}".format(
                names, _shortened(first.error if first else text[-1])))
    return lines


def _stalled(evidence: Evidence) -> List[str]:
    lines: List[str] = []
    for worker in sorted(evidence.stalled):
        lines.append(stall.describe(worker, evidence.stalled_status.get(worker),
                                    worker in evidence.stopped))
        lines.extend("    " + frame for frame in
                     stall.own_frames(evidence.stacks.get(worker, "")))
    lines.append("verdict: " + stall.verdict(evidence.stalled_status, evidence.stalled,
                                             evidence.stacks, evidence.stopped))
    lines.append("all stacks: stacks.txt, or the end of stderr.log, of each worker")
    return lines


def exit_codes(returncodes: Dict[int, int]) -> Dict[str, int]:
    """Exit codes as a shell tells them: 128 + n for signal n."""
    return {str(worker): code if code >= 0 else 128 - code
            for worker, code in sorted(returncodes.items())}


def _shortened(line: str) -> str:
    if len(line) <= _MAX_LINE_CHARACTERS:
        return line
    return line[:_MAX_LINE_CHARACTERS] + " ... ({} characters)".format(len(line))


def _box(lines: List[str]) -> str:
    first, middle, last = lines[0], lines[1:-1], lines[-1]
    return "\n".join(["+-- epl-launch: " + first] + ["|   " + line for line in middle]
                     + ["+-- " + last])
