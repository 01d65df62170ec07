# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs cases, and says what is wrong with how one ended."""

import os
import random
import signal
import traceback

from tests.fuzz.targets import ERRORS, TARGETS, Refused

_SECONDS = 20  # for a busy machine; a case takes milliseconds
_LONGEST = 1200  # a list of all known names is longer than what was wrong


class _Hangs(BaseException):
    """The time of a case is over."""


def run(name, seed, first, cases):
    """The faults found: [(number of the case, what is wrong)]."""
    target = TARGETS[name]()
    faults = []
    here = os.getcwd()
    before = signal.signal(signal.SIGALRM, _time_over)
    try:
        os.chdir(target.directory)
        for number in range(first, first + cases):
            case = target.draw(random.Random("{} {} {}".format(name, seed, number)))
            fault = _fault(target, case)
            if fault:
                faults.append((number, fault, case))
    finally:
        os.chdir(here)
        signal.signal(signal.SIGALRM, before)
        target.close()
    return faults


def _fault(target, case):
    """What is wrong with how `case` ended; None if nothing is."""
    signal.alarm(_SECONDS)
    try:
        taken = target.run(case)
    except ERRORS + (Refused,) as error:
        return _not_one_line(str(error), target.directory)
    except _Hangs:
        return "takes more than {} s".format(_SECONDS)
    except Exception:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None if target.is_good(taken) else "was taken: {!r}".format(taken)[:500]


def _not_one_line(words, directory):
    if not words.strip():
        return "is refused without a word"
    if len(words.splitlines()) > 1 or any(ord(c) < 32 for c in words):
        return "the error is not one line: {!r}".format(words[:500])
    if len(words.replace(directory, "")) > _LONGEST:
        return "the error has {} characters: {}...".format(len(words), words[:200])
    return None


def _time_over(signum, frame):
    raise _Hangs()
