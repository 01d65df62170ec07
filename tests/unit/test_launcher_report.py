# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The words at the end of a job."""

import json

import pytest

from epl.launcher import report, tracebacks
from epl.launcher.events import (
    ARRIVAL,
    Interrupted,
    LeftEarly,
    LostHost,
    Stopped,
    Succeeded,
    TimedOut,
    Timer,
    WorkerFailed,
)
from epl.launcher.plan import LOCAL, WorkerPlan
from epl.launcher.record import Record, without_values
from epl.launcher.report import Evidence
from epl.shared.progress import Status

TRACEBACK = ["Traceback (most recent call last):", "  File \"a.py\", line 3, in <module>",
             "    f()", "ValueError: no data"]


def closing(outcome, seconds=1.5, **evidence):
    return report.closing(outcome, seconds, Evidence("/logs", **evidence)).splitlines()


@pytest.mark.parametrize("returncode, text", [
    (7, "exited with code 7"),
    (128, "exited with code 128"),
    (137, "exited with code 137 (128 + 9: SIGKILL (9))"),
    (255, "exited with code 255"),
    (-15, "died by signal SIGTERM (15)"),
    (-35, "died by signal 35"),
])
def test_exits(returncode, text):
    assert report.describe_exit(returncode) == text


def test_sigkill_hints_at_memory():
    for returncode in (-9, 137):
        assert any("memory" in line for line in closing(WorkerFailed(0, returncode),
                                                        returncodes={0: returncode}))
    assert not any("memory" in line for line in closing(WorkerFailed(0, 1), returncodes={0: 1}))


def test_success():
    assert closing(Succeeded(), 1.25) == ["epl-launch: done in 1.2 s; logs in /logs"]
    assert closing(Succeeded(15)) == [
        "epl-launch: all workers stopped after SIGTERM (15), done in 1.5 s; logs in /logs"]


def test_failure_has_worker_host_code_last_lines_and_logs():
    assert closing(WorkerFailed(1, 7), hosts=["near", "far"],
                   tails={1: ["Traceback", "  \u00e9\ufffd"]}) == [
        "+-- epl-launch: worker 1 exited with code 7 after 1.5 s",
        "|   on host far",
        "|   last lines of its stderr:",
        "|       Traceback",
        "|         \u00e9\ufffd",
        "+-- logs in /logs/1",
    ]


def test_only_the_last_lines_are_shown():
    text = closing(WorkerFailed(0, 1), tails={0: ["line {}".format(n) for n in range(100)]})
    assert [line.split()[-1] for line in text if "line " in line] == list(map(str, range(85, 100)))


def test_a_traceback_is_shown_even_if_much_followed():
    text = closing(WorkerFailed(0, 1), tails={0: TRACEBACK + ["bye"] * 100})
    assert "|       ValueError: no data" in text and "|       bye" not in text


def test_failure_without_a_word():
    assert "|   it wrote nothing to stderr" in closing(WorkerFailed(0, 1))


def test_identical_tracebacks_are_shown_once_with_their_workers():
    other = TRACEBACK[:-1] + ["KeyError: 'x'"]
    text = closing(WorkerFailed(2, 1), tails={0: TRACEBACK, 1: other, 2: ["noise"] + TRACEBACK,
                                              3: TRACEBACK, 4: TRACEBACK},
                   returncodes={0: 1, 1: 1, 2: 1, 3: 1, 4: -15})
    assert sum("ValueError" in line for line in text) == 1
    assert "|   the same traceback: worker 0, 3" in text  # worker 4 died by our SIGTERM
    assert "|   another traceback: worker 1: KeyError: 'x'" in text


def test_tracebacks_are_compared_without_addresses():
    first = TRACEBACK[:-1] + ["ValueError: <object at 0x7f01>"]
    second = TRACEBACK[:-1] + ["ValueError: <object at 0x7e99>"]
    assert tracebacks.groups({0: first, 1: second}) == [([0, 1], first)]


def test_chained_tracebacks_belong_together():
    lines = (["before"] + TRACEBACK + ["", "During handling of the above exception, another "
             "exception occurred:", ""] + TRACEBACK + ["after"])
    assert tracebacks.last_traceback(lines) == lines[1:-1]
    assert tracebacks.last_traceback(TRACEBACK + ["x"] + TRACEBACK) == TRACEBACK
    assert tracebacks.last_traceback(["nothing"]) == []
    assert tracebacks.last_traceback(TRACEBACK[:1]) == TRACEBACK[:1]


LINK = ["", "During handling of the above exception, another exception occurred:", ""]
LOST = ["Traceback (most recent call last):", "  File \"b.py\", line 9, in close", "    meet()",
        "epl.errors.WorkerLostError: the workers differ:", "  worker 0: a step"]


def test_the_first_error_of_a_chain_comes_first():
    for tail in (TRACEBACK + LINK + LOST, TRACEBACK + LINK + TRACEBACK + LINK + LOST,
                 ["x"] + TRACEBACK[1:] + LINK + LOST):  # the last without its first line
        text = closing(WorkerFailed(1, 1), tails={1: tail})
        assert text[1:5] == [
            "|   first error: ValueError: no data", "|       File \"a.py\", line 3, in <module>",
            "|   while it was dealt with, another one came:", "|   last lines of its stderr:"]
        assert "|         worker 0: a step" in text


def test_the_first_error_of_another_workers_chain():
    text = closing(WorkerFailed(0, 1), tails={0: TRACEBACK, 1: TRACEBACK + LINK + LOST},
                   returncodes={0: 1, 1: 1})
    assert "|   another traceback: worker 1: ValueError: no data" in text
    assert not any("first error" in line for line in text)


def test_an_error_that_tensorflow_raises_again_is_one():
    again = TRACEBACK[:-1] + ["package.ValueError: no data, at node x"]
    for tail in (TRACEBACK + LINK + again, TRACEBACK, TRACEBACK + ["x"] + LOST, ["nothing"], [],
                 LINK + TRACEBACK[:1], LINK + LOST):
        assert tracebacks.first_error(tail) is None


def test_a_very_long_line_is_shortened():
    text = closing(WorkerFailed(0, 1), tails={0: ["x" * 5000]})
    assert any("x ... (5000 characters)" in line for line in text)
    assert max(map(len, text)) < 400


def test_interrupted():
    assert closing(Interrupted(2), 3.0) == [
        "+-- epl-launch: interrupted by SIGINT (2) after 3.0 s", "+-- logs in /logs"]


def test_left_early():
    waits = Status("waiting", True, 4, "collectives of step 5", 0.0, 1, False)
    text = closing(LeftEarly(1, 0), status={0: waits}, tails={1: ["bye"]})
    assert text[0] == ("+-- epl-launch: worker 1 left early: its script ended before its training "
                       "was finished, worker 0 misses it after 1.5 s")
    assert "|   worker 0: 4 step(s) done, waits in collectives of step 5" in text
    assert "|       bye" in text and text[-1] == "+-- logs in /logs/1"


def test_who_never_came_to_epl_init():
    assert report.cause(LeftEarly(1, 0, ARRIVAL)) == (
        "worker 1 left early: its script ended before epl.init, worker 0 misses it")


def test_a_worker_that_was_lost_because_it_is_stopped():
    text = closing(Stopped(1, 0), status={0: Status("lost", True, 4, None, 0.0, 1, False),
                                          1: Status("step", True, 4, None, 0.0, 1, False)})
    assert text == [
        "+-- epl-launch: worker 1 is stopped (by SIGSTOP, a terminal or a debugger), worker 0 has "
        "lost the connection to it after 1.5 s", "|   worker 1: 4 step(s) done, waits for nobody",
        "|   worker 0: has lost the connection to the others after 4 step(s)", "+-- logs in /logs"]


def test_a_failure_of_a_process_that_did_not_end():
    """The launcher has killed it, and does not take that for the cause."""
    text = closing(WorkerFailed(1, 1, "ValueError: no data"), returncodes={1: -9},
                   tails={1: TRACEBACK})
    assert text[0] == "+-- epl-launch: worker 1 failed: ValueError: no data after 1.5 s"
    assert not any("SIGKILL" in line for line in text)
    assert "|       ValueError: no data" in text


def test_a_lost_host_and_its_workers():
    text = closing(LostHost("far", "silent for 10 s"), hosts=["near", "far", "far"])
    assert text == ["+-- epl-launch: host far lost: silent for 10 s after 1.5 s",
                    "|   with worker 1, 2", "+-- logs in /logs"]


def test_a_stall_has_a_verdict():
    waits = Status("waiting", True, 4, "collectives of step 5", 0.0, 1, False)
    busy = Status("step", True, 4, None, 0.0, 1, False)
    lost = Status("lost", True, 4, None, 0.0, 1, False)  # when the job was ended
    stacks = "Current thread 0x1 (most recent call first):\n  File \"a.py\", line 3 in slow\n"
    text = closing(TimedOut(Timer.STALL, 60.0), 75.0, stalled_status={0: waits, 1: busy},
                   status={0: lost}, stalled=[0, 1], stacks={1: stacks})
    assert text == [
        "+-- epl-launch: stalled: no worker got on for 60 s (--stall_timeout); ended after 75.0 s",
        "|   worker 0: 4 step(s) done, waits in collectives of step 5",
        "|   worker 1: 4 step(s) done, waits for nobody",
        "|       File \"a.py\", line 3 in slow",
        "|   verdict: worker 1 does not arrive where worker 0 wait(s)",
        "|   all stacks: stacks.txt, or the end of stderr.log, of each worker",
        "+-- logs in /logs"]
    text = closing(TimedOut(Timer.STALL, 60.0), stalled_status={0: waits, 1: waits},
                   stalled=[0, 1], stopped=[1])
    assert text[1:4] == [
        "|   worker 0: 4 step(s) done, waits in collectives of step 5",
        "|   worker 1: 4 step(s) done, waits in collectives of step 5; its process is stopped",
        "|   verdict: worker 1 is stopped (by SIGSTOP, a terminal or a debugger): SIGCONT lets it "
        "go on"]


def test_ending_names_who_is_waited_for():
    assert report.ending(WorkerFailed(1, 7), {2, 0}, 30.0) == (
        "epl-launch: worker 1 exited with code 7; ending worker 0, 2 (SIGKILL after 30 s)")
    assert report.ending(WorkerFailed(0, 7), set(), 30.0) == (
        "epl-launch: worker 0 exited with code 7")


def test_exit_codes_are_a_shells():
    assert report.exit_codes({1: -9, 0: 3}) == {"0": 3, "1": 137}


def test_the_record(tmp_path):
    plan = WorkerPlan(0, LOCAL, 0, 1, ["true"], {"SECRET": "s3cret"}, "", "/", "/o", "/l")
    record = Record(str(tmp_path), ["--num_workers", "1"], pytest.fail)
    record.attempt_begins([plan], ["near"])
    path = tmp_path / "run.json"
    assert json.loads(path.read_text())["exit_code"] is None
    record.attempt_ended("worker 0 exited with code 3", {"0": 3})
    record.ended(3)
    content = json.loads(path.read_text())
    assert content["exit_code"] == 3 and content["arguments"] == ["--num_workers", "1"]
    assert set(content["versions"]) == {"epl", "python", "tensorflow", "horovod"}
    assert content["start"] and content["end"]
    worker = content["attempts"][0]["workers"][0]
    assert worker["exit_code"] == 3 and worker["host"] == "near" and worker["logs"] == "/l"
    assert "s3cret" not in path.read_text()


def test_the_record_of_a_job_that_cannot_go_on(tmp_path):
    plan = WorkerPlan(0, LOCAL, 0, 1, ["true"], {}, "", "/", "/o", "/l")
    record = Record(str(tmp_path), [], pytest.fail)
    record.attempt_begins([plan], ["near"])
    record.broken_off(2, "worker 0 cannot be started")
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["end"] and content["exit_code"] == 2
    assert content["error"] == content["attempts"][0]["outcome"] == "worker 0 cannot be started"
    assert content["attempts"][0]["end"]


def test_the_record_keeps_no_values_of_variables():
    arguments = ["--env", "TOKEN=s3cret", "--env=KEY=s3cret", "--env", "HOME", "a.py", "x=y"]
    assert without_values(arguments) == [
        "--env", "TOKEN=...", "--env=KEY=...", "--env", "HOME", "a.py", "x=y"]


def test_a_record_that_cannot_be_written_is_a_complaint(tmp_path):
    complaints = []
    record = Record(str(tmp_path / "none"), [], complaints.append)
    record.attempt_begins([], [])
    record.ended(0)
    assert len(complaints) == 1 and "run.json" in complaints[0]
