# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What one worker does by itself beside the steps of all: evaluations, threads, hooks that stop."""

import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import jobs


def reports(result, workers=2):
    found = []
    for worker in range(workers):
        with open(result.check().path(worker, "report.json")) as file:
            found.append(json.load(file))
    return found


def weight_after(steps):
    """Of two workers, half the way to the mean 1.5 at every step; exact in 32-bit floats."""
    return 1.5 * (1 - 0.5 ** steps)


def test_estimator_whose_model_builds_the_training_step_in_every_mode(tmp_path):
    models = [str(tmp_path / "model_{}".format(n)) for n in range(2)]
    two = reports(jobs.launch("purposes.py", tmp_path / "two", "estimator", models[0],
                              warm=True))
    alone = jobs.alone("purposes.py", tmp_path / "one", "estimator", models[1],
                       warm=True)
    one, = reports(alone, 1)
    assert two[0]["between"] == {} and two[0]["lasts"] == two[1]["lasts"]
    assert one["between"]["global_step"] == 4
    assert [last["global_step"] for last in one["lasts"]] == [16, 20]  # stopped early
    for name, value in one["between"].items():
        np.testing.assert_allclose(two[1]["between"][name], value, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(two[1]["predictions"], one["predictions"], rtol=1e-4, atol=1e-5)
    for found, expected in zip(two[0]["lasts"], one["lasts"]):
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-5, err_msg=name)
    assert two[0]["exported"] == one["exported"] == ["latest", "final"]


def test_a_supervisors_threads_are_no_steps(tmp_path):
    two = reports(jobs.launch("purposes.py", tmp_path, "supervisor", str(tmp_path / "logs"),
                              warm=True))
    assert [found["weight"] for found in two] == [pytest.approx(weight_after(30))] * 2
    assert [found["steps"] for found in two] == [30, 30]
    # The chief's own gradient, of its number 1, at the weights that training went through.
    own = [abs(2 * (weight_after(step) - 1)) for step in range(31)]
    assert len(two[0]["norms"]) >= 2
    for norm in two[0]["norms"]:
        assert np.isclose(norm, own, rtol=1e-6).any()
    by_slim = two[0]["by_slim"]
    if tf.__version__.startswith("1."):
        assert by_slim == pytest.approx(weight_after(20))


def test_hooks_of_one_worker_end_training_on_all_after_the_same_step(tmp_path):
    logs = str(tmp_path / "logs")
    result = jobs.launch("purposes.py", tmp_path, "asked", logs, warm=True)
    found = reports(result)
    assert [report["runs"] for report in found] == [[3, 2, 2]] * 2
    assert [report["weight"] for report in found] == [weight_after(7)] * 2
    steps = {name.split(".")[1][5:] for name in os.listdir(logs) if name.endswith(".index")}
    assert {"3", "5", "7"} <= steps
    assert "a hook of worker 1 asked for it" in result.of_worker(0)
    assert "a hook of worker 0 asked for it" in result.of_worker(1)
    assert "epl.request_stop()" in result.output
