# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The suite is whole."""

import glob
import os
import subprocess
import sys

import pytest

from tests.support import warm
from tests.support.combinations import FEATURES
from tests.support.jobs import ROOT, environment_for

# What `scripts/test.sh --fast` runs something of: how the names of its tests begin.
FAST_PARTS = ("tests/unit/test_plan.py::", "tests/unit/test_schedule.py::",
              "tests/unit/test_launcher_job.py::", "tests/graph/test_pass_partition.py::",
              "tests/graph/test_pass_order.py::",
              "tests/graph/test_equivalence.py::test_equals_one_device_with_the_whole_batch[",
              "tests/dist/test_launcher_horovod.py::test_two_workers_meet_and_end")


def collected(*arguments, below="tests"):
    """The names of the tests that pytest would run."""
    argv = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--rootdir", ROOT,
            os.path.join(ROOT, below)] + list(arguments)
    done = warm.run(argv, environment_for(), 240, stderr=subprocess.PIPE, text=True)
    done.check_returncode()
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("part", FAST_PARTS)
def test_the_fast_tests_have_something_of_each_part(fast, part):
    assert [name for name in fast if name.startswith(part)]


def test_the_fast_tests_leave_out_what_takes_long(fast):
    directories = [name.split("/")[1] for name in fast]
    assert "tooling" not in directories
    assert directories.count("dist") == 1 and directories.count("examples") < 10
    cases = [name for name in fast if name.startswith(FAST_PARTS[5])]
    assert len(cases) < 25


@pytest.fixture(scope="module")
def fast():
    with open(os.path.join(ROOT, "scripts", "test.sh")) as script:
        assert "-m fast" in script.read()
    return collected("-m", "fast")


def test_the_two_halves_are_the_whole():
    """Every case is in one of them, and each has about half of those with any feature."""
    below = "tests/loopback/test_combinations.py"
    even, odd, whole = [set(collected(*half, below=below)) for half in (
        ["--half", "even"], ["--half", "odd"], [])]
    assert even | odd == whole
    assert not [name for name in even & odd if "test_trains_as_one_device" in name]
    for feature in FEATURES:
        shares = [sum(feature in name for name in half) for half in (even, odd)]
        assert min(shares) >= 3, feature


def test_every_test_file_is_found_without_being_named():
    found = {name.split("::")[0] for name in collected()}
    files = glob.glob(os.path.join(ROOT, "tests", "**", "test_*.py"), recursive=True)
    assert len(files) > 100
    assert found == {os.path.relpath(path, ROOT) for path in files}


def test_jobs_hear_the_signals_that_the_suite_ignores():
    """As in `nohup pytest` and `pytest &`."""
    trap = "trap '' INT HUP; exec \"$@\""
    hears = "tests/dist/test_launcher.py::test_a_signal_to_the_launcher_ends_the_job"
    subprocess.check_call(
        ["bash", "-c", trap, "-", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         hears], cwd=ROOT, env=environment_for(), timeout=300)
