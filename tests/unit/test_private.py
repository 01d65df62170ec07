# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of a job: nobody else chooses where they are, or reads them."""

import os
import stat
from datetime import datetime

import pytest

from epl import private
from epl.communicators.horovod.rendezvous import NOWHERE
from epl.errors import ConfigError
from epl.launcher.devices import DevicePlan
from epl.launcher.directories import make_directories, make_log_dir, warning_of
from epl.launcher.options import Options
from epl.launcher.plan import LOCAL, plan_workers
from epl.launcher.record import Record
from epl.launcher.sinks import Sinks
from epl.shared.progress import READY, Reporter, read

OPENERS = [private.open_to_append, private.open_in_place, private.open_new]


@pytest.fixture(autouse=True)
def generous():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_file_is_its_owners_alone(tmp_path, opener):
    os.close(opener(str(tmp_path / "file")))
    assert mode(tmp_path / "file") == 0o600


@pytest.mark.parametrize("opener", OPENERS + [private.open_to_read])
@pytest.mark.parametrize("there", ["link", "link to nothing", "fifo", "directory"])
def test_what_somebody_else_has_put_there_is_not_used(tmp_path, opener, there):
    path, target = tmp_path / "file", tmp_path / "target"
    if there.startswith("link"):
        path.symlink_to(target)
    if there == "link":
        target.write_text("precious")
    elif there == "fifo":
        os.mkfifo(str(path))
    elif there == "directory":
        path.mkdir()
    with pytest.raises(OSError):
        opener(str(path))
    assert not target.exists() or target.read_text() == "precious"


def test_a_new_file_is_none_that_was_there(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileExistsError):
        private.open_new(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"


@pytest.fixture
def plans(tmp_path):
    options = Options(1, 1, None, "", "/s/x.py", ["--password", "swordfish"])
    made = plan_workers(options, str(tmp_path / "logs"), [LOCAL], DevicePlan("cpu", [""]),
                        NOWHERE, "/venv/bin/python")
    make_directories(plan.log_directory for plan in made)
    return made


def test_files_that_hold_arguments_or_outputs(tmp_path, plans):
    Sinks(plans, None, _Console()).close()
    record = Record(str(tmp_path / "logs"), [], print)
    (tmp_path / "logs" / "run.json.new").symlink_to(tmp_path / "target")
    record.attempt_begins(plans, ["here"])
    record.ended(0)
    files = [os.path.join(root, name) for root, _, names in os.walk(str(tmp_path))
             for name in names]
    assert {os.path.basename(path) for path in files} == {
        "run.json", "combined.log", "stdout.log", "stderr.log"}
    assert {mode(path) for path in files} == {0o600}
    assert {mode(os.path.dirname(path)) for path in files} == {0o755}


class _Console:
    def say(self, text):
        raise AssertionError(text)


@pytest.mark.parametrize("name", ["../combined.log", "stdout.log"])
def test_a_log_that_is_a_link_is_refused(tmp_path, plans, name):
    path = os.path.join(plans[0].log_directory, name)
    os.symlink(str(tmp_path / "target"), path)
    with pytest.raises(ConfigError, match="it is a symbolic link; remove it"):
        Sinks(plans, None, _Console())
    assert not (tmp_path / "target").exists()


def test_progress_is_not_written_through_a_link(tmp_path, capsys):
    (tmp_path / "progress").symlink_to(tmp_path / "target")
    Reporter(str(tmp_path / "progress")).update(state=READY)
    assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()
    Reporter(str(tmp_path / "other")).update(state=READY)
    assert mode(tmp_path / "other") == 0o600 and read(str(tmp_path / "other")).state == READY


def test_directories_that_others_can_write_to_are_warned_of(tmp_path):
    options = Options(1, 1, str(tmp_path / "a" / "b"), "", "/s/x.py", [])
    path = make_log_dir(options, datetime.now())
    assert warning_of(path) is None and mode(path) == 0o755
    os.chmod(path, 0o777)
    assert "can be written to by everybody (mode 777): they could replace" in warning_of(path)
    os.chmod(path, 0o775)  # a group shares it
    assert warning_of(path) is None
    assert warning_of(str(tmp_path / "nowhere")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_of_somebody_else_is_warned_of(tmp_path):
    os.chown(str(tmp_path), 12345, -1)
    assert "belongs to another user (number 12345)" in warning_of(str(tmp_path))
