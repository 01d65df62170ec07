# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The record of a worker's progress, as a reader in another process sees it."""

import errno
import os
import signal
import subprocess
import sys
import time
import zlib

import pytest

from epl.runtime import stop
from epl.shared import progress

FULL_DISK = "/dev/full"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The file that the module reports to, as in a process just started."""
    monkeypatch.setattr(progress, "_reporter", None)
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    return str(tmp_path / "progress.json")


def test_a_worker_without_a_launcher_writes_nothing(path, monkeypatch):
    monkeypatch.delenv(progress.VARIABLE)
    progress.start()
    progress.step_done()
    assert not progress.is_reported()
    assert not os.path.exists(path)


def test_the_record_follows_what_the_worker_does(path):
    seen = []

    def look():
        status = progress.read(path)
        seen.append((status.state, status.ready, status.step, status.waits_for))

    progress.start()
    look()
    progress.waiting("agreement to begin")
    look()
    progress.session_ready()
    look()
    progress.step_done()
    progress.waiting_before_step("agreement")
    look()
    progress.step_begins(["a", "b"])
    look()
    progress.step_done()
    look()
    progress.waiting("agreement to read")
    look()
    progress.waited()
    look()
    progress.finished()
    progress.waited()
    look()
    assert seen == [
        ("initialized", False, 0, None), ("waiting", False, 0, "agreement to begin"),
        ("ready", True, 0, None), ("waiting", True, 1, "agreement before step 2"),
        ("waiting", True, 1, "collectives of step 2: a, b"), ("step", True, 2, None),
        ("waiting", True, 2, "agreement to read"), ("step", True, 2, None),
        ("finished", True, 2, None)]


def test_the_record_names_the_process_and_the_time(path):
    progress.start()
    first = progress.read(path)
    assert first.pid == os.getpid()
    assert abs(first.time - os.stat(path).st_mtime) < 1.0
    progress.stops_at_sigterm(True)
    assert progress.read(path).stops_at_sigterm is True


@pytest.mark.parametrize("text", ["x" * 5000, "\u00e4\u6f22\"\\\n" * 1000, ""])
def test_any_text_fits_and_stays_one_line(text):
    status = progress.Status("waiting", True, 10 ** 12, text, 1e9, 1 << 22, False)
    record = progress.encode(status)
    assert len(record) == len(progress.encode(status._replace(waits_for=None)))
    assert record.count(b"\n") == 1
    found = progress.decode(record)
    assert text.startswith(found.waits_for)
    assert found == status._replace(waits_for=found.waits_for)


def test_a_record_that_is_half_another_is_refused():
    status = progress.Status("step", True, 5, None, 1e9, 7, False)
    old, new = progress.encode(status), progress.encode(status._replace(step=6))
    cut = new.index(b'"time"')
    assert progress.decode(new[:cut] + old[cut:]) is None
    assert progress.decode(b"") is None
    assert progress.decode(old) == status


def test_readers_never_see_half_a_record(path):
    writer = subprocess.Popen([sys.executable, "-c", (
        "import sys; from epl.shared import progress as p; p.start()\n"
        "for n in range(200000): p.waiting('a' * (n % 600)); p.step_done()")])
    try:
        steps = []
        while writer.poll() is None:
            status = progress.read(path)
            if status is not None:
                assert status.waits_for is None or set(status.waits_for) <= {"a"}
                steps.append(status.step)
    finally:
        writer.kill()
        writer.wait()
    assert steps == sorted(steps)
    assert progress.read(path).step == 200000


def test_nothing_to_read_yet(path):
    assert progress.read(path) is None


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_a_file_that_cannot_be_read_now_is_no_error(path, monkeypatch, code):
    progress.start()

    def fails(*args):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fails)
        assert progress.read(path) is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", fails)
        assert progress.read(path) is None
    assert progress.read(path).state == "initialized"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
def test_what_is_no_file_is_no_error_and_makes_nobody_wait(path, make):
    make(path)
    assert progress.read(path) is None


@pytest.mark.parametrize("body", [
    b"[" * 100000, b'{"state": "step"', b'{"deep": ' + b"[" * 1500, b"\xff\xfe", b"7", b""])
def test_what_no_worker_has_written_is_no_word_of_one(path, body):
    with open(path, "wb") as file:
        file.write(body + progress._CHECK.encode() + b"%d}" % zlib.crc32(body))
    assert progress.read(path) is None
    with open(path, "rb") as file:
        assert progress.decode(file.read()) is None


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_signs_of_life_do_not_depend_on_a_clock_that_jumps(path, monkeypatch, jump):
    progress.start()
    now, real = time.monotonic(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.5)
    before = progress.read(path)
    progress.alive()
    assert progress.read(path) == before
    monkeypatch.setattr(time, "monotonic", lambda: now + 5.0)
    progress.alive()
    assert progress.read(path) != before


def test_a_full_disk_is_told_once_and_stops_nothing(path, monkeypatch, capfd):
    monkeypatch.setenv(progress.VARIABLE, FULL_DISK)
    progress.start()
    progress.step_done()
    progress.step_done()
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert FULL_DISK in told


def test_a_forked_child_does_not_report(path):
    progress.start()
    child = os.fork()
    if child == 0:
        progress.step_done()
        os._exit(1 if progress.is_reported() else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert progress.read(path).step == 0


@pytest.mark.parametrize("armed", [True, False])
def test_sigterm_means_what_it_did_before_a_failure_was_dealt_with(path, armed):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        progress.start()
        if armed:
            stop.arm()
        meant = signal.getsignal(signal.SIGTERM)
        assert progress.read(path).stops_at_sigterm == (meant is not signal.SIG_DFL) == armed
        with stop.ended_at_once():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert not progress.read(path).stops_at_sigterm
        assert signal.getsignal(signal.SIGTERM) is meant
        assert progress.read(path).stops_at_sigterm == armed
    finally:
        signal.signal(signal.SIGTERM, before)
