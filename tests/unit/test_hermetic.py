# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests see nothing of the shell that steers what they test."""

import json
import os
import subprocess
import sys

from tests.support.jobs import ROOT

FOREIGN = {"EPL_NUM_WORKERS": "3", "EPL_PIPELINE_NUM_MICRO_BATCH": "x", "HOROVOD_RANK": "7",
           "TF_CONFIG": "none", "PYTHONPATH": "/nowhere", "PYTEST_ADDOPTS": ""}
_SHOW = """
import json, os
import tests.conftest
tests.conftest.pytest_configure(None)
print(json.dumps(dict(os.environ)))
"""


def test_what_steers_epl_horovod_or_python_from_outside_is_forgotten():
    shell = dict(os.environ, EPL_FULL_MATRIX="13", KEPT="too", **FOREIGN)
    seen = subprocess.check_output([sys.executable, "-c", _SHOW], cwd=ROOT, env=shell)
    found = json.loads(seen.decode())
    assert {name for name in FOREIGN if name in found} == {"PYTHONPATH"}
    assert (found["PYTHONPATH"], found["EPL_FULL_MATRIX"], found["KEPT"]) == (ROOT, "13", "too")


def test_this_process_has_forgotten_it():
    assert os.environ["PYTHONPATH"] == ROOT
    assert not [name for name in os.environ if name.startswith("HOROVOD_")]
