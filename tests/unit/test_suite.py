# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The suite is whole."""

import glob
import os
import subprocess
import sys

from tests.support.jobs import ROOT, environment_for


def test_every_test_file_is_found_without_being_named():
    output = subprocess.check_output(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, env=environment_for(), universal_newlines=True, stderr=subprocess.DEVNULL)
    found = {line.split("::")[0] for line in output.splitlines() if "::" in line}
    files = glob.glob(os.path.join(ROOT, "tests", "**", "test_*.py"), recursive=True)
    assert len(files) > 100
    assert found == {os.path.relpath(path, ROOT) for path in files}


def test_jobs_hear_the_signals_that_the_suite_ignores():
    """As in `nohup pytest` and `pytest &`."""
    trap = "trap '' INT HUP; exec \"$@\""
    hears = "tests/dist/test_launcher.py::test_a_signal_to_the_launcher_ends_the_job"
    subprocess.check_call(
        ["bash", "-c", trap, "-", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         hears], cwd=ROOT, env=environment_for(), timeout=60)
