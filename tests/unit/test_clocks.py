# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Clocks that somebody sets (NTP, an administrator, a machine that wakes up) decide nothing."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.jobs import ROOT, environment_for

# What is written down for people, by module and how often.
_FOR_PEOPLE = {"shared/progress.py": 1, "launcher/channel.py": 1, "launcher/runner.py": 2,
               "launcher/follow.py": 1, "launcher/record.py": 1}
# What gives away the time of day.
_TIME_OF_DAY = re.compile(
    r"\btime\.time\(\)|\.(now|utcnow|today)\(\)|\b(localtime|gmtime|ctime)\(\)"
    r"|strftime\(\"[^\"]*\"\)|from time import|from datetime import date\b")

# A launcher whose time of day jumps by an hour, to and fro, whenever it is asked for.
_JUMPING = """
import itertools, sys, time
real, jumps = time.time, itertools.cycle((3600.0, -3600.0))
time.time = lambda: real() + next(jumps)
from epl.launcher.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_time_of_day_is_for_people():
    found = {}
    for root, _, files in os.walk(os.path.join(ROOT, "epl")):
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(root, name)
                with open(path, encoding="utf-8") as file:
                    count = len(_TIME_OF_DAY.findall(file.read()))
                if count:
                    found[os.path.relpath(path, os.path.join(ROOT, "epl"))] = count
    assert found == _FOR_PEOPLE


@pytest.mark.parametrize("body, flags, code", [
    ("import time; time.sleep(1.0)", ["--timeout", "600"], 0),
    ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
     ["--timeout", "0.5", "--grace", "0.5"], 124)])
def test_the_limits_of_a_job_do_not_jump(tmp_path, body, flags, code):
    (tmp_path / "script.py").write_text(body)
    done = subprocess.run(
        [sys.executable, "-c", _JUMPING, "--num_workers", "1", "--log_dir", str(tmp_path / "logs")]
        + flags + [str(tmp_path / "script.py")], env=environment_for(), timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == code, done.stdout.decode()
