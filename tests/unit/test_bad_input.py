# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Input of which only the size or the shape is absurd: one line, at once; see also tests/fuzz."""

import errno
import os
import resource
import subprocess
import sys

import pytest

from epl.config import Config
from epl.errors import ConfigError, quoted, shown
from epl.launcher import cli
from epl.launcher.cli import parse
from epl.launcher.variables import read_variables
from tests.support.jobs import environment_for


@pytest.mark.parametrize("text, expected", [
    ("abc", "abc"), ("a\nb\x1b[2J\udc80", "a\\nb\\x1b[2J\\udc80"), ("x" * 81, "x" * 77 + "...")])
def test_quoted(text, expected):
    assert quoted(text) == expected


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("value, expected", [
    (1, "1"), ("a'\n", '"a\'\\n"'), (["x"] * 1000, repr(["x"] * 1000)[:77] + "..."),
    (Unspeakable(), "a Unspeakable that cannot be shown")])
def test_shown(value, expected):
    assert shown(value) == expected


@pytest.mark.parametrize("key, value, limit", [
    ("pipeline.num_micro_batch", 10 ** 9, 10000), ("communication.max_splits", 2 ** 63, 1000000),
    ("pipeline.num_micro_batch", 10 ** 10000, 10000), ("communication.fp16_scale", 65505, 65504),
], ids=range(4))  # Python 3.11 does not write the longest
def test_sizes_of_the_configuration(key, value, limit):
    with pytest.raises(ConfigError, match="is too large: use {} or less".format(limit)) as caught:
        Config({key: value})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("text", ["1_0", "\u0661", "0x10", "1.0", "9" * 5000])
def test_numbers_in_the_environment(monkeypatch, text):
    monkeypatch.setenv("EPL_PIPELINE_NUM_MICRO_BATCH", text)
    with pytest.raises(ConfigError, match="use a whole number"):
        Config()


@pytest.mark.parametrize("flags, message", [
    (["--num_workers", "65537"], "65537 is too large: use 65536 or less"),
    (["--num_workers", "\u0662"], "is not a whole number"),
    (["--num_workers", "1_0"], "is not a whole number"),
    (["--num_workers", "2", "--gpu_per_worker", "9" * 5000], "is not a whole number"),
    (["--num_workers", "2", "--timeout", "1e12"], "at most 1e+09"),
    (["--num_workers", "2", "--grace", "nan"], "use a number of 0 or more"),
    (["--num_workers", "2", "--tee", "\u0661"], "use all, none, or numbers of workers"),
    (["--hosts", "a", "--ssh_port", "65536"], "65536 is too large"),
    (["--num_workers", "2", "--bind=" + "x" * 5000], "ignored explicit argument 'xxx"),
    (["--hosts", "a", "--ssh_args", "-o 'a"], "cannot be taken apart (No closing quotation)"),
    (["--hosts", "a", "--ssh_command", 'ssh "'], "cannot be taken apart (No closing quotation)")])
def test_flags(flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        parse(flags + ["train.py"])
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and len(error) < 600 and error.count("\n") == 1


@pytest.mark.parametrize("hosts", ["localhost:99999999999", "a:65536,b:65536", "a:\u0661",
                                   "a:" + "9" * 5000])
def test_hosts_with_absurd_slots(hosts):
    with pytest.raises(ConfigError, match="of 1 to 65536|use 65536 workers at most") as caught:
        parse(["--hosts", hosts, "train.py"])
    assert len(str(caught.value)) < 300


def test_a_nul_byte_in_a_variable(tmp_path):
    (tmp_path / "vars").write_bytes(b"GOOD=1\nBAD=a\0b\n")
    with pytest.raises(ConfigError, match="vars:2: the value of BAD holds a NUL byte"):
        read_variables([str(tmp_path / "vars")], [], {})


def test_a_file_of_variables_that_is_no_text(tmp_path):
    (tmp_path / "vars").write_bytes(b"GOOD=\xff\n")
    with pytest.raises(ConfigError, match="vars' cannot be read \\(.*can't decode byte 0xff"):
        read_variables([str(tmp_path / "vars")], [], {})


def test_what_the_system_refuses_is_said_in_one_line(monkeypatch, capsys):
    def refuse(*args):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(cli.runner, "run", refuse)
    assert cli.main(["--num_workers", "2", "x.py"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("epl-launch: error: the job cannot be run: ")
    assert "Resource temporarily unavailable" in error and "ulimit -a" in error


def test_too_few_descriptors_are_said(tmp_path):
    (tmp_path / "x.py").write_text("")
    for limit in (8, 12, 16, 20):
        done = subprocess.run(
            [sys.executable, "-m", "epl.launcher", "--num_workers", "2", "--log_dir",
             str(tmp_path / "logs"), str(tmp_path / "x.py")], env=environment_for(), timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (limit, limit)))  # noqa: B023
        error = done.stderr.decode().splitlines()
        assert done.returncode == 2 and "Traceback" not in done.stderr.decode()
        assert error[-1].startswith("epl-launch: error: ") and "Too many open files" in error[-1]
        assert "(ulimit -n 32)" in error[-1]
