# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`run.json`: what it says, when, and what it keeps to itself."""

import json
import os
import subprocess
import sys
from datetime import datetime, timezone

import pytest

import epl.version
from epl.communicators.horovod.rendezvous import NOWHERE
from epl.launcher.devices import DevicePlan
from epl.launcher.options import Options
from epl.launcher.plan import LOCAL, plan_workers
from epl.launcher.record import Record, without_values


@pytest.fixture
def complaints():
    return []


@pytest.fixture
def record(tmp_path, complaints):
    return Record(str(tmp_path), ["--env", "TOKEN=swordfish", "x.py"], complaints.append)


@pytest.fixture
def plans(tmp_path):
    options = Options(2, 1, None, "", "/s/x.py", ["a b"])
    return plan_workers(options, str(tmp_path), [LOCAL, "far"], DevicePlan("cpu", ["", ""]),
                        NOWHERE, "/venv/bin/python")


def written(tmp_path):
    with open(str(tmp_path / "run.json"), encoding="utf-8") as file:
        return json.load(file)


def is_now(text):
    then = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    return abs((datetime.now(timezone.utc) - then).total_seconds()) < 10  # on a busy machine


def test_it_is_there_while_the_job_runs(tmp_path, record, plans):
    record.attempt_begins(plans, ["alpha", "far"])
    found = written(tmp_path)
    assert found["arguments"] == ["--env", "TOKEN=...", "x.py"]
    assert found["working_directory"] == os.getcwd()
    assert is_now(found["start"])
    assert found["end"] is found["exit_code"] is found["error"] is None
    attempt, = found["attempts"]
    assert is_now(attempt["start"]) and attempt["end"] is attempt["outcome"] is None
    assert attempt["workers"] == [
        {"worker": i, "host": host, "command": ["/venv/bin/python", "/s/x.py", "a b"],
         "outputs": str(tmp_path / str(i)), "logs": str(tmp_path / str(i)), "exit_code": None}
        for i, host in enumerate(["alpha", "far"])]


def test_it_has_the_versions_that_an_import_would_bring(tmp_path, record):
    pytest.importorskip("horovod")
    record.ended(0)
    code = "import tensorflow, horovod; print(tensorflow.__version__, horovod.__version__)"
    tensorflow, horovod = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        check=True).stdout.decode().split()
    assert written(tmp_path)["versions"] == {
        "epl": epl.version.__version__, "python": sys.version.split()[0],
        "tensorflow": tensorflow, "horovod": horovod}


def test_it_has_every_attempt_and_the_end(tmp_path, record, plans):
    for codes, outcome in (({"0": 0, "1": 137}, "worker 1 died"), ({"0": 3}, "host far lost")):
        record.attempt_begins(plans, ["alpha", "far"])
        record.attempt_ended(outcome, codes)
    record.ended(137)
    found = written(tmp_path)
    assert found["exit_code"] == 137 and is_now(found["end"]) and found["error"] is None
    assert [[w["exit_code"] for w in attempt["workers"]] for attempt in found["attempts"]] == [
        [0, 137], [3, None]]  # nobody knows what became of a worker on a lost machine
    assert [attempt["outcome"] for attempt in found["attempts"]] == [
        "worker 1 died", "host far lost"]
    assert all(is_now(attempt["end"]) for attempt in found["attempts"])


def test_it_has_the_reason_why_nothing_more_was_started(tmp_path, record, plans):
    record.attempt_begins(plans, ["alpha", "far"])
    record.broken_off(2, "no such host")
    found = written(tmp_path)
    assert (found["exit_code"], found["error"]) == (2, "no such host")
    assert is_now(found["end"]) and is_now(found["attempts"][0]["end"])
    assert found["attempts"][0]["outcome"] == "no such host"


@pytest.mark.parametrize("arguments, expected", [
    (["--env", "K=secret", "x.py"], ["--env", "K=...", "x.py"]),
    (["--env=K=se=cret", "x.py"], ["--env=K=...", "x.py"]),
    (["--env", "K", "--env=L", "x.py"], ["--env", "K", "--env=L", "x.py"]),
    (["--env_file", "a=b", "--log_dir=c=d", "x.py", "e=f"],
     ["--env_file", "a=b", "--log_dir=c=d", "x.py", "e=f"]),
])
def test_values_of_variables_are_kept_back(arguments, expected):
    assert without_values(arguments) == expected


def test_a_reader_never_sees_half_of_it(tmp_path, record, plans, monkeypatch):
    """The file that is there stays until the new one is whole."""
    record.attempt_begins(plans, ["alpha", "far"])
    before = written(tmp_path)
    replace = os.replace

    def look_and_replace(source, target):
        assert written(tmp_path) == before
        with open(source, encoding="utf-8") as file:
            assert json.load(file)["exit_code"] == 7
        replace(source, target)

    monkeypatch.setattr(os, "replace", look_and_replace)
    record.ended(7)
    assert written(tmp_path)["exit_code"] == 7
    assert os.listdir(str(tmp_path)) == ["run.json"]


def test_what_cannot_be_written_is_said_once(tmp_path, complaints, plans):
    (tmp_path / "run.json").mkdir()
    record = Record(str(tmp_path), [], complaints.append)
    record.attempt_begins(plans, ["alpha", "far"])
    record.ended(0)
    complaint, = complaints
    assert complaint.startswith("epl-launch: cannot write {} (".format(tmp_path / "run.json"))
    assert os.listdir(str(tmp_path)) == ["run.json"]  # nothing half-done beside it
