# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The verdict on workers that do not get on: who waits for what, and who for nobody."""

import collections
import os
from typing import Collection, List, Mapping, Optional, Sequence

from epl.shared import progress
from epl.shared.progress import Status

_FRAMES = 4
# Code that the user did not write: installed packages, Python itself, EPL.
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3", "\"<frozen ",
              "\"" + os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep)


def describe(worker: int, status: Optional[Status], stopped: bool = False) -> str:
    """One line on how far a worker is; `stopped`: its process is."""
    if status is None:
        words = "has not called epl.init"
    elif status.state == progress.FINISHED:
        words = "has finished training, after {} step(s)".format(status.step)
    elif status.state == progress.FAILED:
        words = "has failed after {} step(s): {}".format(status.step, status.error)
    elif status.state == progress.LEFT:
        words = "has come to the end of its script, after {} step(s)".format(status.step)
    elif status.state == progress.LOST:
        words = "has lost the connection to the others after {} step(s)".format(status.step)
    else:
        words = "{} step(s) done".format(status.step) if status.ready else "not ready to train"
        words += ", waits in " + status.waits_for if status.waits_for else ", waits for nobody"
    return "worker {}: {}{}".format(worker, words, "; its process is stopped" if stopped else "")


def verdict(statuses: Mapping[int, Status], running: Collection[int],
            stacks: Mapping[int, str], stopped: Collection[int] = ()) -> str:
    """Who is to be looked at first.

    Args:
      statuses: what the workers last said; those that are missing have said nothing.
      running: the workers that were running.
      stacks: what they answered when asked for their stacks.
      stopped: those whose processes are stopped.
    """
    if stopped:
        return "{} stopped (by SIGSTOP, a terminal or a debugger): SIGCONT lets it go on".format(
            _names(sorted(stopped)) + (" is" if len(stopped) == 1 else " are"))
    waiting = [w for w in sorted(running) if w in statuses and statuses[w].waits_for]
    others = [w for w in sorted(running) if w not in waiting]
    if waiting and others:
        return "{} not arrive where {} wait(s)".format(_do(others), _names(waiting))
    steps = {statuses[w].step for w in waiting}
    if len(steps) > 1:
        behind = [w for w in waiting if statuses[w].step == min(steps)]
        return "{} step(s) behind: the workers wait in different steps".format(
            _names(behind) + (" is" if len(behind) == 1 else " are"))
    texts = {statuses[w].waits_for for w in waiting}
    if len(texts) > 1:
        return "the workers wait for each other in different places"
    differing = _differing(stacks, running) if waiting else []
    if differing:
        return "the stack of {} is not like the others': look there first".format(
            _names(differing))
    if waiting:
        return "all workers wait in the same place: look at the network between them, and at a " \
               "worker that is stopped"
    return "no worker waits for another: each is busy or hangs by itself; see its stack"


def own_frames(stacks: str) -> List[str]:
    """Where the threads of a worker are, in its own code: the innermost such frame of each.

    Args:
      stacks: a report of `faulthandler`. The main thread, which comes last in it, comes first here.
    """
    frames: List[str] = []
    for thread in reversed(stacks.split("(most recent call first):")[1:]):
        lines = [line.strip() for line in thread.splitlines() if line.startswith("  File ")]
        own = [line for line in lines if not any(part in line for part in _LIBRARIES)]
        frames.extend(line for line in own[:1] if line not in frames)
    return frames[:_FRAMES]


def _differing(stacks: Mapping[int, str], running: Collection[int]) -> List[int]:
    """The workers whose threads are elsewhere than those of most."""
    places = {worker: tuple(own_frames(stacks.get(worker, ""))) for worker in sorted(running)}
    counts = collections.Counter(places.values())
    # Of two workers the one that does more is the busy one.
    most = max(counts, key=lambda place: (counts[place], -len(place)))
    return [worker for worker, place in places.items() if place != most]


def _names(workers: Sequence[int]) -> str:
    return "worker " + ", ".join(map(str, workers))


def _do(workers: Sequence[int]) -> str:
    return _names(workers) + (" does" if len(workers) == 1 else " do")
