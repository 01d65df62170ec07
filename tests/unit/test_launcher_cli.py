# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line; nothing is started."""

import os
import re

import pytest

from epl.errors import ConfigError
from epl.launcher import placement
from epl.launcher.cli import parse
from epl.launcher.options import Options
from epl.launcher.variables import read_variables
from tests.support.jobs import ROOT

OPTIONS = Options(2, 1, None, "", "train.sh", [])
TWO = ["--num_workers", "2"]


@pytest.mark.parametrize("argv, options", [
    (["--num_workers", "2", "train.sh"], OPTIONS),
    (["--num_workers=2", "--gpu_per_worker=1", "--", "train.sh"], OPTIONS),
    (["--num_workers", "2", "--log_dir", "d", "--task_label", "x y", "--gpu_per_worker", "4",
      "a.py"],
     Options(2, 4, "d", "x y", "a.py", [])),
    # All that follows the script is the script's, whatever it looks like.
    (TWO + ["train.sh", "--num_workers", "9", "--help", "--", "-x", "-m", "", "a b"],
     OPTIONS._replace(script_args=["--num_workers", "9", "--help", "--", "-x", "-m", "", "a b"])),
    (TWO + ["--", "-odd.sh", "--"], OPTIONS._replace(script="-odd.sh", script_args=["--"])),
    (TWO + ["-m", "pkg.train", "-m", "--tee", "x"],
     OPTIONS._replace(script="pkg.train", script_args=["-m", "--tee", "x"], module=True)),
    (TWO + ["--gpu_per_worker", "0", "train.sh"], OPTIONS._replace(gpu_per_worker=0)),
    (TWO + ["--grace", "0", "--timeout", "1.5", "--start_timeout=60", "--stall_timeout", "9",
            "--max_restarts", "3", "--bind", "--dry_run", "train.sh"],
     OPTIONS._replace(grace=0.0, timeout=1.5, start_timeout=60.0, stall_timeout=9.0,
                      max_restarts=3, bind=True, dry_run=True)),
    (TWO + ["--tee", "all", "train.sh"], OPTIONS),
    (TWO + ["--tee", "none", "train.sh"], OPTIONS._replace(tee=frozenset())),
    (TWO + ["--tee", "1,0", "train.sh"], OPTIONS._replace(tee=frozenset([0, 1]))),
    # The debugger's terminal belongs to worker 0 alone, unless the user wants more.
    (TWO + ["--debug", "train.sh"], OPTIONS._replace(debug=True, tee=frozenset())),
    (TWO + ["--debug", "--tee=all", "train.sh"], OPTIONS._replace(debug=True)),
    (TWO + ["--debug", "--no-debug", "train.sh"], OPTIONS),
    # As the original has it, but for False, which there is true as well.
    (TWO + ["--debug=True", "--tee=all", "train.sh"], OPTIONS._replace(debug=True)),
    (TWO + ["--debug", "True", "--tee=all", "train.sh"], OPTIONS._replace(debug=True)),
    (TWO + ["--debug=False", "train.sh"], OPTIONS),
    (TWO + ["--debug", "false", "train.sh"], OPTIONS),
    (TWO + ["--env", "A=b=c d", "--env", "E=", "train.sh"],
     OPTIONS._replace(environment={"A": "b=c d", "E": ""})),
])
def test_command_line(argv, options):
    assert parse(argv) == options


@pytest.mark.parametrize("argv, fields", [
    (["--machine_list", "10.0.0.1:5000,10.0.0.2:5000", "--machine_rank", "1"],
     dict(machine_list="10.0.0.1:5000,10.0.0.2:5000", machine_rank=1)),
    (["--hosts", "h1:1,h2", "--ssh_port", "22", "--ssh_args", "-i key", "--ssh_command", "rsh",
      "--remote_python", "/p", "--host_timeout", "5"],
     dict(hosts="h1:1,h2", ssh_port=22, ssh_args="-i key", ssh_command="rsh", remote_python="/p",
          host_timeout=5.0)),
])
def test_machines(argv, fields, monkeypatch):
    """They give the number of workers."""
    monkeypatch.setattr(placement, "is_this_machine", lambda name: False)
    assert parse(argv + ["train.sh"]) == OPTIONS._replace(**fields)


def test_a_hostfile(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "is_this_machine", lambda name: False)
    path = tmp_path / "hosts"
    path.write_text("h1 slots=2\n")
    assert parse(["--hostfile", str(path), "train.sh"]) == OPTIONS._replace(hostfile=str(path))


@pytest.fixture
def help_text(capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse(["--help"])
    assert exit_info.value.code == 0
    return capsys.readouterr().out


def documented_flags(name):
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
        return set(re.findall(r"--[a-z][a-z_]+", file.read()))


def test_help_explains_every_flag(help_text):
    options = help_text[help_text.index("\noptions:") if "\noptions:" in help_text else
                        help_text.index("\noptional arguments:"):help_text.index("\nWhat runs:")]
    entries = [entry.split() for entry in re.split(r"(?m)^  (?=-)", options)[1:]]
    assert all(len(entry) > 3 for entry in entries)  # more than the flag and its value
    flags = set(Options._fields) - {"script", "script_args", "module", "environment"}
    assert {entry[0] for entry in entries} == {"-h,", "-m"} | {
        "--" + name for name in flags | {"env", "env_file", "no-debug", "version"}}


def test_every_flag_is_in_the_documents(help_text):
    flags = set(re.findall(r"(?m)^  (--[a-z_]+)", help_text))
    assert flags and flags <= documented_flags("launcher.md") | documented_flags("hosts.md")


def test_the_examples_of_the_help_are_right(help_text, monkeypatch):
    monkeypatch.setattr(placement, "is_this_machine", lambda name: False)
    examples = re.findall(r"(?m)^  epl-launch (.*)$", help_text)
    assert len(examples) >= 3
    for example in examples:
        assert parse(example.split()).num_workers > 1


def test_defaults():
    options = parse(TWO + ["train.sh"])
    assert (options.gpu_per_worker, options.grace, options.max_restarts, options.host_timeout) == (
        1, 30.0, 0, 10.0)
    assert (options.timeout, options.start_timeout, options.stall_timeout) == (None, None, None)
    assert not (options.bind or options.debug or options.dry_run)


@pytest.mark.parametrize("argv, message", [
    ([], "a script to run is missing"),
    (["train.sh"], "--num_workers is missing"),
    (["--num_workers", "2"], "a script to run is missing"),
    (["--num_workers", "2", "-m"], "-m needs the name of a module"),
    (["--num_workers"], "expected one argument"),
    (["--num_workers", "0", "train.sh"], "0 is too small: use 1 or more"),
    (["--num_workers", "-3", "train.sh"], "--num_workers"),
    (["--num_workers", "two", "train.sh"], "'two' is not a whole number"),
    (TWO + ["--gpu_per_worker", "-1", "train.sh"], "_worker: -1 is too small"),
    (["--num-workers", "2", "train.sh"], "unknown flag --num-workers; did you mean '--num_w"),
    (["--num", "2", "train.sh"], "unknown flag --num; did you mean"),
    (TWO + ["--check=0", "train.py"], "0 is too small"),
    (TWO + ["--check", "--max_restarts", "1", "train.py"], "do not go together"),
    (TWO + ["--plan", "4x8", "train.py"], "--plan and --num_workers do not go together: it says"),
    (["--plan", "4x8", "--check", "train.py"], "--check do not go together: nothing is trained"),
    (["--plan", "4", "train.py"], "'4': write workers x devices of each, such as 4x8 or 4x8:gpu"),
    (["--plan", "4x8:tpu", "train.py"], "'4x8:tpu': write workers x devices of each"),
    (["--plan", "4x5000", "train.py"], "'4x5000': write workers x devices of each"),
    (TWO + ["--max_restart", "2", "train.sh"], "did you mean '--max_restarts'"),
    (TWO + ["--log_dir", "", "train.sh"], "it is empty; leave it out or give a name"),
    (TWO + ["--timeout", "0", "train.sh"], "--timeout: 0 seconds: use a number of more than 0"),
    (TWO + ["--timeout", "nan", "train.sh"], "--timeout: nan seconds"),
    (TWO + ["--stall_timeout", "soon", "train.sh"], "'soon' is no number of seconds"),
    (TWO + ["--grace", "-1", "train.sh"], "--grace: -1 seconds: use a number of 0 or more"),
    (TWO + ["--tee", "some", "train.sh"], "'some': use all, none, or numbers of workers"),
    (TWO + ["--tee", "0,2", "train.sh"], "--tee 2: there are workers 0 to 1"),
    (TWO + ["--debug", "--stall_timeout", "9", "train.sh"], "--debug and --stall_timeout do not"),
] + [(TWO + [flag, "9", "train.sh"], flag + " has no effect without --hosts or --hostfile")
     for flag in ("--ssh_port", "--ssh_args", "--ssh_command", "--remote_python", "--host_timeout")
])
def test_wrong_usage_is_one_line_and_exit_code_2(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse(argv)
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("epl-launch: error: ") and message in err


def test_variables_of_files_and_words(tmp_path):
    first, second = tmp_path / "a.env", tmp_path / "b.env"
    first.write_text("# comment\n\nA=1\nHERE\nQUOTED=\"x y\" # kept\n  C=3\n", encoding="utf-8")
    second.write_text("A=2\nU=\u00e9\u4e16\n", encoding="utf-8")
    assert read_variables([str(first), str(second)], ["C=4", "THERE"],
                          {"HERE": "h", "THERE": "t=t"}) == {
        "A": "2", "HERE": "h", "QUOTED": "\"x y\" # kept", "C": "4", "U": "\u00e9\u4e16",
        "THERE": "t=t"}


@pytest.mark.parametrize("words, message", [
    (["NOT_SET"], "--env NOT_SET: NOT_SET is not set here; set it, or write NOT_SET=VALUE"),
    (["1A=x"], "'1A' is no name of a variable"),
    (["=secret"], "'' is no name"),
])
def test_variables_that_are_refused(words, message):
    with pytest.raises(ConfigError, match=message) as error:
        read_variables([], words, {})
    assert "secret" not in str(error.value)


def test_files_of_variables_that_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.env"
    path.write_text("A=1\nno name\n")
    with pytest.raises(ConfigError, match=r"x.env:2: 'no name' is no name of a variable"):
        read_variables([str(path)], [], {})
    monkeypatch.chdir(tmp_path)  # a long name would be shortened
    with pytest.raises(ConfigError, match="'missing.env' cannot be read"):
        read_variables(["missing.env"], [], {})


def test_a_plan_is_made_by_one_process_without_devices():
    options = parse(["--plan", "4x8", "train.py", "--plan"])
    assert (options.plan, options.num_workers, options.gpu_per_worker) == ("4x8", 1, 0)
    assert options.script_args == ["--plan"]


@pytest.mark.parametrize("flag, steps", [([], None), (["--check"], 3), (["--check=7"], 7)])
def test_check_never_takes_the_script_for_its_number(flag, steps):
    options = parse(TWO + flag + ["train.py", "--check"])
    assert (options.check, options.script, options.script_args) == (steps, "train.py", ["--check"])
