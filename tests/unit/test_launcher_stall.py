# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Verdicts on workers that do not get on."""

import pytest

from epl.launcher import stall
from epl.launcher.local import _StacksFile
from epl.shared.progress import Status


def status(state, step=0, waits_for=None, ready=True):
    return Status(state, ready, step, waits_for, 0.0, 1, False)


WAITS = status("waiting", 4, "collectives of step 5")


@pytest.mark.parametrize("value, words", [
    (None, "has not called epl.init"),
    (status("initialized", ready=False), "not ready to train, waits for nobody"),
    (status("waiting", 0, "broadcast", False), "not ready to train, waits in broadcast"),
    (status("step", 3), "3 step(s) done, waits for nobody"),
    (WAITS, "4 step(s) done, waits in collectives of step 5"),
    (status("waiting", 0, "epl.init", False), "not ready to train, waits in epl.init"),
    (status("failed", 3)._replace(error="E: x"), "has failed after 3 step(s): E: x"),
    (status("left", 3), "has come to the end of its script, after 3 step(s)"),
    (status("lost", 3), "has lost the connection to the others after 3 step(s)"),
    (status("finished", 3), "has finished training, after 3 step(s)"),
])
def test_descriptions(value, words):
    assert stall.describe(2, value) == "worker 2: " + words


@pytest.mark.parametrize("statuses, running, words", [
    ({0: WAITS, 1: status("step", 4)}, [0, 1], "worker 1 does not arrive where worker 0 wait(s)"),
    ({0: WAITS, 3: WAITS}, [0, 1, 2, 3], "worker 1, 2 do not arrive where worker 0, 3 wait(s)"),
    ({0: WAITS, 1: status("waiting", 3, "x")}, [0, 1], "worker 1 is step(s) behind"),
    ({0: WAITS, 1: status("waiting", 4, "x")}, [0, 1], "wait for each other in different places"),
    ({0: WAITS, 1: WAITS}, [0, 1], "all workers wait in the same place"),
    ({0: status("step", 4), 1: status("step", 4)}, [0, 1], "no worker waits for another"),
    ({}, [0, 1], "no worker waits for another"),
])
def test_verdicts(statuses, running, words):
    assert words in stall.verdict(statuses, running, {})


@pytest.mark.parametrize("statuses", [
    {0: WAITS, 1: WAITS, 2: WAITS}, {0: WAITS, 1: status("step", 4), 2: WAITS}, {}])
def test_a_worker_that_is_stopped_is_the_cause_wherever_it_is(statuses):
    assert "worker 1 is stopped" in stall.verdict(statuses, [0, 1, 2], {}, stopped={1})
    assert "worker 0, 2 are stopped" in stall.verdict(statuses, [0, 1, 2], {}, stopped={2, 0})


def report(*threads):
    """As `faulthandler` writes it: innermost frames first, the main thread last."""
    return "\n".join("Thread 0x{} (most recent call first):\n{}".format(number, "".join(
        "  File \"{}\", line {} in f\n".format(*frame) for frame in frames))
        for number, frames in enumerate(threads))


MAIN = [("/v/lib/python3.7/threading.py", 1), ("/v/site-packages/tensorflow/session.py", 2),
        ("/home/train.py", 3), ("/home/train.py", 4)]
INPUT = [("/home/input.py", 7), ("/v/site-packages/tensorflow/script_ops.py", 8)]


def test_frames_are_the_innermost_of_the_users_own_code():
    assert stall.own_frames(report(INPUT, MAIN, MAIN)) == [
        "File \"/home/train.py\", line 3 in f", "File \"/home/input.py\", line 7 in f"]
    assert stall.own_frames(report([(stall.__file__, 1)])) == []
    assert stall.own_frames("") == []


@pytest.mark.parametrize("stacks, words", [
    ([report(MAIN), report(INPUT, MAIN)], "the stack of worker 1 is not like the others'"),
    ([report(INPUT, MAIN), report(MAIN)], "the stack of worker 0 is not like"),
    ([report(INPUT, MAIN), report(INPUT, MAIN), report(MAIN)], "the stack of worker 2 is not"),
    ([report(MAIN), report(MAIN), ""], "the stack of worker 2 is not"),  # it does not answer
    ([report(MAIN), report(MAIN)], "all workers wait in the same place"),
])
def test_who_is_elsewhere_is_looked_at_first(stacks, words):
    running = range(len(stacks))
    assert words in stall.verdict({w: WAITS for w in running}, running, dict(enumerate(stacks)))


def test_an_answer_is_whole_when_nothing_has_come_for_a_while(tmp_path):
    path = tmp_path / "stacks.txt"
    file = _StacksFile(str(path))
    assert not file.is_quiet(10.0)
    path.write_text("Thread")
    assert not file.is_quiet(11.0) and not file.is_quiet(11.1)
    path.write_text("Thread 0x1")
    assert not file.is_quiet(11.3)
    assert file.is_quiet(11.6) and file.text() == "Thread 0x1"
