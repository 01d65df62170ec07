# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The words at the end of a job."""

import pytest

from epl.launcher import report
from epl.launcher.events import Interrupted, Succeeded, WorkerFailed


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
    assert "memory" in report.describe_exit(-9)


def test_success():
    text = report.closing(Succeeded(), 1.25, "/logs", [])
    assert text == "epl-launch: done in 1.2 s; logs in /logs"


def test_failure_has_worker_code_last_lines_and_logs():
    text = report.closing(WorkerFailed(3, 7), 1.5, "/logs", [b"Traceback\n", b"  \xc3\xa9\xff\n"])
    assert text.splitlines() == [
        "+-- epl-launch: worker 3 exited with code 7 after 1.5 s",
        "|   last lines of its stderr:",
        "|       Traceback",
        "|         \u00e9\ufffd",
        "+-- logs in /logs/3",
    ]


def test_failure_without_a_word():
    assert "it wrote nothing to stderr" in report.closing(WorkerFailed(0, 1), 1.5, "/logs", [])


def test_a_very_long_line_is_shortened():
    text = report.closing(WorkerFailed(0, 1), 1.5, "/logs", [b"x" * 5000 + b"\n"])
    assert "x ... (5000 characters)" in text
    assert max(map(len, text.splitlines())) < 400


def test_interrupted():
    assert report.closing(Interrupted(2), 3.0, "/logs", []).splitlines() == [
        "+-- epl-launch: interrupted by SIGINT (2) after 3.0 s", "+-- logs in /logs"]


def test_ending_names_who_is_waited_for():
    assert report.ending(WorkerFailed(1, 7), {2, 0}, 30.0) == (
        "epl-launch: worker 1 exited with code 7; ending worker 0, 2 (SIGKILL after 30 s)")
    assert report.ending(WorkerFailed(0, 7), set(), 30.0) == (
        "epl-launch: worker 0 exited with code 7")
