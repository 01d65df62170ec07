# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is planned for every worker: command, environment, directories, cores; nothing starts."""

import os
from datetime import datetime

import pytest

from epl.communicators.horovod.rendezvous import Meeting
from epl.errors import ConfigError
from epl.launcher import cores, dry_run
from epl.launcher.devices import DevicePlan
from epl.launcher.directories import default_name, make_log_dir, make_worker_directories
from epl.launcher.options import Options
from epl.launcher.plan import (
    LOCAL,
    plan_from_json,
    plan_to_json,
    plan_workers,
    process_environment,
)
from epl.launcher.program import check_program

OPTIONS = Options(2, 1, None, "", "train.sh", [])
CPU = DevicePlan("cpu", ["", ""])
NOW = datetime(2026, 3, 4, 5, 6, 7)


def plans_for(options, devices=CPU, attempt=0, placement=None):
    return plan_workers(options, "/logs", placement or [LOCAL] * options.num_workers, devices,
                        Meeting("127.0.0.1", 4000, ""), "/venv/bin/python", attempt)


def environment_of(plan, inherited=None, available=(0, 1, 2, 3)):
    return process_environment(plan, inherited or {}, available)


def test_scripts_that_cannot_run(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "dir.sh").mkdir()
    for name, message in (("missing.sh", "does not exist"), ("dir.sh", "is not a file"),
                          ("notes.txt", r"must end in \.sh .* or \.py .* or be executable")):
        with pytest.raises(ConfigError, match=message):
            check_program(OPTIONS._replace(script=str(tmp_path / name)), "/usr/bin:/bin")
    with pytest.raises(ConfigError, match="does not exist .* and in PATH"):
        check_program(OPTIONS._replace(script="no_such_program"), "/usr/bin:/bin")


def test_programs_that_run(tmp_path):
    program = tmp_path / "tool"
    program.write_text("")
    program.chmod(0o755)
    for name in (str(program), "env"):
        check_program(OPTIONS._replace(script=name), "/usr/bin:/bin")
    check_program(OPTIONS._replace(script="any.module", module=True), "")


def test_commands(tmp_path, monkeypatch):
    first, second = plans_for(OPTIONS._replace(script="/s/train.sh", script_args=["a b", "--c"]))
    assert first.command == ["bash", "/s/train.sh", "/logs/0", "a b", "--c"]
    assert second.command == ["bash", "/s/train.sh", "/logs/1", "a b", "--c"]
    for script, module, command in (
            ("train.py", False, ["/venv/bin/python", os.path.abspath("train.py"), "--c"]),
            ("pkg.train", True, ["/venv/bin/python", "-m", "pkg.train", "--c"]),
            ("env", False, ["env", "--c"])):
        options = OPTIONS._replace(script=script, module=module, script_args=["--c"])
        assert plans_for(options)[0].command == command
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tool").write_text("")
    assert plans_for(OPTIONS._replace(script="tool"))[0].command == [str(tmp_path / "tool")]


def test_environment():
    devices = DevicePlan("gpu", ["0,1", "2,3"])
    plan = plans_for(OPTIONS._replace(gpu_per_worker=2, environment={"MINE": "a b"}), devices)[1]
    inherited = {"PATH": "/usr/bin", "HOME": "/h", "HOROVOD_CYCLE_TIME": "3", "MINE": "x"}
    environment = environment_of(plan, inherited)
    assert {k: v for k, v in environment.items() if not k.startswith("HOROVOD_")} == {
        "HOME": "/h", "PATH": "/venv/bin:/usr/bin", "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1", "MINE": "a b",
        "CUDA_VISIBLE_DEVICES": "2,3", "EPL_NUM_WORKERS": "2", "EPL_WORKER_INDEX": "1",
        "EPL_GPU_PER_WORKER": "2", "EPL_WORKER_HOSTS": "127.0.0.1,127.0.0.1",
        "EPL_OUTPUT_DIR": "/logs/1", "EPL_DEVICE_TYPE": "gpu", "EPL_RESTART_COUNT": "0",
        "EPL_PROGRESS_FILE": "/logs/1/progress.json", "EPL_STACKS_FILE": "/logs/1/stacks.txt"}
    assert environment["HOROVOD_CYCLE_TIME"] == "3"
    assert environment["HOROVOD_RANK"] == "1"
    assert "HOME" not in plan.environment  # what another machine would be sent


@pytest.mark.parametrize("script, module", [
    ("train.sh", False), ("train.py", False), ("env", False), ("pkg.train", True)])
def test_the_output_directory_is_told_to_every_kind_of_program(script, module):
    for index, plan in enumerate(plans_for(OPTIONS._replace(script=script, module=module))):
        assert plan.environment["EPL_OUTPUT_DIR"] == plan.directory == "/logs/{}".format(index)


def test_one_worker_does_not_join_the_job_around_it():
    environ = {"HOROVOD_RANK": "3", "HOROVOD_SIZE": "4", "HOROVOD_GLOO_RENDEZVOUS_PORT": "1",
               "HOROVOD_CYCLE_TIME": "3"}
    environment = environment_of(plans_for(OPTIONS._replace(num_workers=1))[0], environ)
    assert sorted(k for k in environment if k.startswith("HOROVOD_")) == ["HOROVOD_CYCLE_TIME"]


@pytest.mark.parametrize("name", ["EPL_OUTPUT_DIR", "HOROVOD_RANK", "CUDA_VISIBLE_DEVICES"])
def test_the_users_variables_cannot_be_the_launchers(name):
    with pytest.raises(ConfigError, match="--env {}: the launcher sets this".format(name)):
        plans_for(OPTIONS._replace(environment={name: "x"}))


def test_gpu_per_worker_0_is_one_cpu_device():
    plan = plans_for(OPTIONS._replace(gpu_per_worker=0))[0]
    assert plan.environment["EPL_GPU_PER_WORKER"] == "1"
    assert plan.environment["EPL_DEVICE_TYPE"] == "cpu"


def test_attempts_have_their_own_logs_and_the_same_outputs():
    for attempt in (0, 1):
        plan = plans_for(OPTIONS._replace(max_restarts=1), attempt=attempt)[1]
        assert plan.directory == plan.environment["EPL_OUTPUT_DIR"] == "/logs/1"
        assert plan.log_directory == "/logs/attempt_{}/1".format(attempt)
        assert plan.progress_file == "/logs/attempt_{}/1/progress.json".format(attempt)
        assert plan.environment["EPL_RESTART_COUNT"] == str(attempt)
    assert plans_for(OPTIONS)[1].log_directory == "/logs/1"


def test_a_plan_survives_json():
    for plan in plans_for(OPTIONS._replace(bind=True, debug=True, script_args=["\u00e9", "a\nb"])):
        assert plan_from_json(plan_to_json(plan)) == plan
        assert "\n" not in plan_to_json(plan)


def test_the_debuggers_terminal_is_worker_0s():
    assert [p.terminal for p in plans_for(OPTIONS._replace(debug=True))] == [True, False]
    assert [p.terminal for p in plans_for(OPTIONS)] == [False, False]
    with pytest.raises(ConfigError, match="--debug: worker 0 would run on far"):
        plans_for(OPTIONS._replace(debug=True), placement=["far", LOCAL])


@pytest.mark.parametrize("available, count, shares", [
    ((0, 1, 2, 3), 2, [[0, 1], [2, 3]]),
    ((3, 1, 7), 2, [[1, 3], [7]]),
    (range(8), 3, [[0, 1, 2], [3, 4, 5], [6, 7]]),
    ((5,), 1, [[5]]),
])
def test_cores_are_divided(available, count, shares):
    assert [cores.share(available, index, count) for index in range(count)] == shares


def test_fewer_cores_than_workers_is_an_error():
    with pytest.raises(ConfigError, match=r"3 worker\(s\) on 2 core\(s\)"):
        cores.share([0, 1], 0, 3)


def test_ranges_of_cores():
    assert cores.as_ranges([8, 0, 1, 2, 10, 9, 5]) == "0-2,5,8-10"


@pytest.mark.parametrize("users, expected", [
    ({}, {"TF_NUM_INTRAOP_THREADS": "4", "TF_NUM_INTEROP_THREADS": "4"}),
    ({"OMP_NUM_THREADS": "1"}, {}),
    ({"TF_NUM_INTRAOP_THREADS": "3"}, {"TF_NUM_INTRAOP_THREADS": "3"}),
])
def test_threads_of_a_bound_worker(users, expected):
    plan = plans_for(OPTIONS._replace(bind=True))[0]
    environment = environment_of(plan, users, range(8))
    assert {k: v for k, v in environment.items() if k.startswith("TF_NUM")} == expected
    assert "TF_NUM_INTRAOP_THREADS" not in environment_of(plans_for(OPTIONS)[0])


def test_a_worker_elsewhere_finds_its_interface_there():
    near, far = plans_for(OPTIONS, placement=[LOCAL, "127.0.0.2"])
    assert near.environment["HOROVOD_GLOO_IFACE"] == "lo"
    assert "HOROVOD_GLOO_IFACE" not in far.environment
    assert environment_of(far)["HOROVOD_GLOO_IFACE"] == "lo"
    assert (far.local_index, far.local_size) == (0, 1)


def test_dry_run_tells_what_the_plans_have():
    options = OPTIONS._replace(script="/s/train.py", script_args=["a b"], bind=True,
                               environment={"MINE": "x y"})
    text = dry_run.describe(plans_for(options), {"HOME": "/h", "PATH": "/usr/bin"}, [0, 1, 2, 3])
    second = text[text.index("worker 1 on localhost"):]
    for line in ("  command    /venv/bin/python /s/train.py 'a b'", "  cores      2-3",
                 "  devices    1 virtual CPU device(s)", "  outputs    /logs/1",
                 "    EPL_WORKER_INDEX=1", "    MINE='x y'", "    TF_NUM_INTRAOP_THREADS=2",
                 "    HOROVOD_GLOO_RENDEZVOUS_PORT='(chosen at the start)'"):
        assert line in second.splitlines()
    assert "HOME" not in text


def test_dry_run_of_gpus_shared_cores_and_restarts():
    options = OPTIONS._replace(gpu_per_worker=2, max_restarts=1)
    text = dry_run.describe(plans_for(options, DevicePlan("gpu", ["0,1", "2,3"])), {}, [0, 1, 3])
    second = text[text.index("worker 1 on localhost"):].splitlines()
    for line in ("  directory  " + os.getcwd(), "  devices    GPU 2,3",
                 "  cores      0-1,3, shared by 2 worker(s)",
                 "  logs       /logs/attempt_0/1/stdout.log, stderr.log"):
        assert line in second


@pytest.mark.parametrize("bind, cores_there", [
    (False, "all of the machine, shared"), (True, "its share of the machine's, bound")])
def test_dry_run_of_another_machine_tells_what_is_known_here(bind, cores_there):
    plans = plans_for(OPTIONS._replace(bind=bind, environment={"MINE": "x"}),
                      placement=[LOCAL, "far"])
    text = dry_run.describe(plans, {"MINE": "x", "HOME": "/h"}, [0])
    second = text[text.index("worker 1 on far"):].splitlines()
    assert "  cores      " + cores_there in second
    assert {line.split("=")[0].strip() for line in second[second.index("  environment") + 1:]} == \
        set(plans[1].environment)


def test_dry_run_of_a_terminal():
    text = dry_run.describe(plans_for(OPTIONS._replace(debug=True)), {}, [0])
    assert text.count("  logs       the terminal (--debug)\n") == 1


def test_default_directory_name():
    assert default_name(OPTIONS._replace(script="/a/b/train.sh"), NOW) == os.path.join(
        "experiments", "20260304-050607_2w1g_train")
    assert default_name(OPTIONS._replace(task_label="big run/2"), NOW).endswith("_train_big-run-2")
    assert default_name(OPTIONS._replace(script="pkg.train", module=True), NOW).endswith(
        "_pkg.train")


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
    for field in ("directory", "log_directory"):
        plans = [plan._replace(directory=str(tmp_path), log_directory=str(tmp_path))._replace(
            **{field: str(tmp_path / "0")}) for plan in plans_for(OPTIONS)]
        with pytest.raises(ConfigError, match="cannot be made .* --log_dir"):
            make_worker_directories(plans)


def test_every_worker_is_told_of_a_check():
    for plan in plans_for(OPTIONS._replace(check=3)):
        assert plan.environment["EPL_CHECK_STEPS"] == "3"
    assert not any("EPL_CHECK_STEPS" in plan.environment for plan in plans_for(OPTIONS))
