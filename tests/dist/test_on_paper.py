# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch --plan`: what a script would be on machines that are not there."""

import os

import pytest

from epl.plan.parallel_plan import make_plan
from tests.support import warm
from tests.support.jobs import ROOT, environment_for

SCRIPT = os.path.join(ROOT, "tests", "dist", "jobs", "on_paper.py")


def planned(directory, layout, kind):
    """(exit code, lines of the only worker)."""
    done = warm.run(["-m", "epl.launcher", "--plan", layout, "--log_dir", str(directory / "logs"),
                     SCRIPT, kind], environment_for(), 120, text=True)
    return done.returncode, [line[len("[worker 0] "):] for line in done.stdout.splitlines()
                             if line.startswith("[worker 0] ")]


def test_the_plan_and_the_memory_are_printed_and_nothing_is_run(tmp_path):
    code, lines = planned(tmp_path, "3x4", "stages")
    plan = make_plan([("part_0", 1), ("part_1", 1)], 3, 4, 4)
    assert code == 0 and plan.num_replicas == 6
    text = "\n".join(lines)
    assert plan.describe() in text and "replicas of this job: 3" in text
    memory, = [line.split() for line in lines if line.strip().startswith("0:3 ")]
    assert float(memory[-1]) > 0.2  # MiB of a device of worker 0: gradients of 256 x 256 weights
    assert "a session was made" not in text and "Traceback" not in text
    assert "layouts of 12 device(s) for the same 24 micro-batch(es) in a step" in text


def test_one_worker_with_gpus(tmp_path):
    code, lines = planned(tmp_path, "1x2:gpu", "stages")
    assert code == 0 and "devices: 2 gpu" in lines
    assert make_plan([("part_0", 1), ("part_1", 1)], 1, 2, 4).describe() in "\n".join(lines)


def test_replicas_that_lie_on_several_workers(tmp_path):
    code, lines = planned(tmp_path, "2x1", "stages")
    assert code == 0 and "workers 0 1 hold replica(s) 0 together; worker 0 leads them" in lines
    assert "Traceback" not in "".join(lines)


@pytest.mark.parametrize("kind, words", [
    ("no_strategy", "no strategy is set: the script runs on one device"),
    ("plain", "no strategy is set: the script runs on one device"),
    ("one_stage", "memory of this worker's devices"),
    ("nothing", "no plan: the script ended before a session ran a graph with variables to train")])
def test_what_has_no_plan_is_not_trained_either(tmp_path, kind, words):
    code, lines = planned(tmp_path, "1x1", kind)
    assert code == 0 and words in "\n".join(lines)
    assert "a session was made" not in lines
