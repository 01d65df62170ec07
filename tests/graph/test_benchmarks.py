# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that look into the rewrite still find what they measure."""

import json
import os
import subprocess
import sys

from tests.support.jobs import ROOT

ENVIRONMENT = {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_GPU_PER_WORKER": "2",
               "EPL_DEVICE_TYPE": "cpu"}


def run(script, settings):
    return json.loads(subprocess.check_output(
        [sys.executable, os.path.join(ROOT, "benchmarks", script), json.dumps(settings)],
        env=dict(os.environ, **ENVIRONMENT), universal_newlines=True).splitlines()[-1])


def test_the_passes_of_a_rewrite_are_timed():
    found = run("rewrite_step.py", {"layers": 2, "micro_batches": 2, "run": False,
                                    "core": sorted(os.sched_getaffinity(0))[0]})
    assert found["operations"]["rewrite"] > 0.5 * found["operations"]["forward"]
    assert found["seconds"]["rewrite"] > 0
    assert {"partition", "clones", "order", "accumulate", "verify"} <= set(found["passes"])
    assert found["passes"]["clones"] > 0


def test_what_the_optimizer_computes_is_found():
    peak = run("update_groups_step.py", {"layers": 2, "groups": 2, "memory": True,
                                         "cores": sorted(os.sched_getaffinity(0))[:2]})["peak"]
    assert 2 ** 20 < peak < 8 * 2 ** 20  # of one kernel of 1 MiB at a time


def test_the_layers_of_a_cut_by_hand_are_found():
    settings = {"model": "convolutions", "cores": sorted(os.sched_getaffinity(0))[:2]}
    found = run("planner_step.py", dict(settings, task="predict", side="assumed"))
    assert len(found["stages"]) == 2 and found["ms"] is None
    assert found["in_front"] == sorted(found["in_front"]) and len(found["in_front"]) == 7
