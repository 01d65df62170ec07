# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line and what it plans; nothing is started."""

import os
from datetime import datetime

import pytest

from epl.errors import ConfigError
from epl.launcher.cli import parse
from epl.launcher.devices import DevicePlan
from epl.launcher.directories import default_name, make_log_dir, make_worker_directories
from epl.launcher.plan import Options, check_script, plan_workers

OPTIONS = Options(2, 1, None, "", "train.sh", [])
CPU = DevicePlan("cpu", ["", ""])
NOW = datetime(2026, 3, 4, 5, 6, 7)


def plans_for(options, environ=None, devices=CPU):
    return plan_workers(options, "/logs", devices, ("127.0.0.1", 4000), environ or {},
                        "/venv/bin/python")


@pytest.mark.parametrize("argv, options", [
    (["--num_workers", "2", "train.sh"], OPTIONS),
    (["--num_workers=2", "--gpu_per_worker=1", "--", "train.sh"], OPTIONS),
    (["--num_workers", "2", "--log_dir", "d", "--task_label", "x y", "--gpu_per_worker", "4",
      "a.py"],
     Options(2, 4, "d", "x y", "a.py", [])),
    # All that follows the script is the script's, whatever it looks like.
    (["--num_workers", "2", "train.sh", "--num_workers", "9", "--help", "--", "-x", "", "a b"],
     OPTIONS._replace(script_args=["--num_workers", "9", "--help", "--", "-x", "", "a b"])),
    (["--num_workers", "2", "--", "-odd.sh", "--"],
     OPTIONS._replace(script="-odd.sh", script_args=["--"])),
])
def test_command_line(argv, options):
    assert parse(argv) == options


@pytest.mark.parametrize("argv, message", [
    ([], "--num_workers is missing"),
    (["train.sh"], "--num_workers is missing"),
    (["--num_workers", "2"], "a script to run is missing"),
    (["--num_workers"], "expected one argument"),
    (["--num_workers", "0", "train.sh"], "0 is too small: use 1 or more"),
    (["--num_workers", "-3", "train.sh"], "--num_workers"),
    (["--num_workers", "two", "train.sh"], "'two' is not a whole number"),
    (["--num_workers", "2", "--gpu_per_worker", "0", "train.sh"], "_worker: 0 is too small"),
    (["--num-workers", "2", "train.sh"], "unknown flag --num-workers; did you mean '--num_w"),
    (["--num", "2", "train.sh"], "unknown flag --num; did you mean '--num_workers'"),
    (["--num_workers", "2", "--log_dir", "", "train.sh"], "an empty name is no directory"),
])
def test_wrong_usage_is_one_line_and_exit_code_2(argv, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse(argv)
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("epl-launch: error: ") and message in err


def test_scripts_that_cannot_run(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "dir.sh").mkdir()
    for name, message in (("missing.sh", "does not exist"), ("dir.sh", "is not a file"),
                          ("notes.txt", r"must end in \.sh .* or \.py")):
        with pytest.raises(ConfigError, match=message):
            check_script(str(tmp_path / name))


def test_commands():
    first, second = plans_for(OPTIONS._replace(script="/s/train.sh", script_args=["a b", "--c"]))
    assert first.command == ["bash", "/s/train.sh", "/logs/0", "a b", "--c"]
    assert second.command == ["bash", "/s/train.sh", "/logs/1", "a b", "--c"]
    python = plans_for(OPTIONS._replace(script="train.py", script_args=["--c"]))[0]
    assert python.command == ["/venv/bin/python", os.path.abspath("train.py"), "--c"]


def test_environment():
    devices = DevicePlan("gpu", ["0,1", "2,3"])
    options = OPTIONS._replace(gpu_per_worker=2)
    inherited = {"PATH": "/usr/bin", "HOME": "/h", "HOROVOD_CYCLE_TIME": "3"}
    environment = plans_for(options, inherited, devices)[1].environment
    assert {k: v for k, v in environment.items() if not k.startswith("HOROVOD_")} == {
        "HOME": "/h", "PATH": "/venv/bin:/usr/bin", "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "2,3", "EPL_NUM_WORKERS": "2", "EPL_WORKER_INDEX": "1",
        "EPL_GPU_PER_WORKER": "2", "EPL_WORKER_HOSTS": "127.0.0.1,127.0.0.1",
        "EPL_OUTPUT_DIR": "/logs/1", "EPL_DEVICE_TYPE": "gpu"}
    assert environment["HOROVOD_CYCLE_TIME"] == "3"
    assert environment["HOROVOD_RANK"] == "1"


def test_one_worker_does_not_join_the_job_around_it():
    environ = {"HOROVOD_RANK": "3", "HOROVOD_SIZE": "4", "HOROVOD_GLOO_RENDEZVOUS_PORT": "1",
               "HOROVOD_CYCLE_TIME": "3"}
    environment = plans_for(OPTIONS._replace(num_workers=1), environ)[0].environment
    assert sorted(k for k in environment if k.startswith("HOROVOD_")) == ["HOROVOD_CYCLE_TIME"]


def test_default_directory_name():
    assert default_name(OPTIONS._replace(script="/a/b/train.sh"), NOW) == os.path.join(
        "experiments", "20260304-050607_2w1g_train")
    assert default_name(OPTIONS._replace(task_label="big run/2"), NOW).endswith("_train_big-run-2")


def test_two_jobs_in_one_second_get_two_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = make_log_dir(OPTIONS, NOW), make_log_dir(OPTIONS, NOW)
    assert first == str(tmp_path / "experiments" / "20260304-050607_2w1g_train")
    assert second == first + "-2"
    assert os.path.isdir(first) and os.path.isdir(second)


def test_a_chosen_directory_is_used_again(tmp_path):
    options = OPTIONS._replace(log_dir=str(tmp_path / "run"))
    assert make_log_dir(options, NOW) == make_log_dir(options, NOW) == str(tmp_path / "run")


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below"):
        with pytest.raises(ConfigError, match="cannot be made .* --log_dir"):
            make_log_dir(OPTIONS._replace(log_dir=str(tmp_path / name)), NOW)
    (tmp_path / "0").write_text("")
    plans = [plan._replace(directory=str(tmp_path / "0")) for plan in plans_for(OPTIONS)]
    with pytest.raises(ConfigError, match="cannot be made .* --log_dir"):
        make_worker_directories(plans)
