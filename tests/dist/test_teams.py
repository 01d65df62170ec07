# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Model replicas that lie on several workers: the results of one device, sessions, deaths.

All models, which takes a quarter of an hour on two cores:

    EPL_FULL_MATRIX=1 scripts/test.sh tf2 tests/dist/test_teams.py
"""

import json
import os
import pickle
import signal

import numpy as np
import pytest

from tests.graph import devices
from tests.support import jobs, layouts
from tests.support.layouts import BLOCK, SCHEDULES, Case, Layout, Training

# As in `tests/graph/test_equivalence.py`.
RELATIVE = 1e-5
ABSOLUTE = 1e-6

NATIVE = {"EPL_COMMUNICATION_COMMUNICATOR": "native"}
# Ref and resource variables, sparse gradients, loops, UPDATE_OPS, what several stages read.
SOME = ("cond_v2", "l2", "mlp", "names", "tied", "while")
# (workers, devices of each, stages, replicas, cluster.device_place_prefer_intra_node)
LAYOUTS = [(2, 1, 2, 1, True), (4, 1, 2, 2, True), (2, 2, 2, 2, False), (2, 2, 4, 1, True)]
EVERY = bool(os.environ.get("EPL_FULL_MATRIX"))


def cases(stages, replicas, several_teams):
    every = EVERY
    names = [n for n in sorted(layouts.MODELS) if not layouts.MODELS[n].random] if every else SOME
    if several_teams:  # these are fed, and no part of a batch is normalised apart
        names = [n for n in names if layouts.MODELS[n].inputs == "placeholders"
                 and layouts.MODELS[n].by_hand is None]
    optimizers = layouts.OPTIMIZERS
    return [Case(Training(name, optimizers[number % 4], clip=number % 2 == 0,
                          resource=number % 3 == 0),
                 Layout((1,) * stages, replicas, micro_batches, SCHEDULES[number % 3], BLOCK))
            for number, name in enumerate(names) if stages <= layouts.MODELS[name].max_stages
            for micro_batches in ((1, 4) if every else (4 if number % 2 else 1,))]


@pytest.mark.parametrize("workers, own_devices, stages, replicas, prefer_intra_node",
                         LAYOUTS if EVERY else LAYOUTS[:2])
def test_the_results_are_those_of_one_device(workers, own_devices, stages, replicas,
                                             prefer_intra_node, tmp_path):
    chosen = cases(stages, replicas, several_teams=workers > 2)
    source, plain = tmp_path / "cases", tmp_path / "references"
    source.write_bytes(pickle.dumps([
        (case, {"cluster.device_place_prefer_intra_node": prefer_intra_node}) for case in chosen]))
    plain.write_bytes(pickle.dumps([case.reference for case in chosen]))
    jobs.alone("plain_cases.py", tmp_path / "plain", plain, warm=True).check()
    result = jobs.launch("teams.py", tmp_path / "job", source, workers=workers,
                         devices=own_devices, environment=NATIVE, warm=True).check()
    with open(str(tmp_path / "plain" / "0" / "results.pkl"), "rb") as file:
        references = pickle.load(file)
    for worker in range(workers):
        with open(result.path(worker, "results.pkl"), "rb") as file:
            found = pickle.load(file)
        for case, outcome, reference in zip(chosen, found, references):
            assert not outcome.error, "{}: {}".format(case, outcome.error)
            assert_equal(case, outcome, reference)
        assert len(found) == len(chosen) == len(references)


def assert_equal(case, outcome, reference):
    assert {device.partition("/device:")[0] for device in outcome.devices} > {""} or all(
        "/task:" in device for device in outcome.devices)
    np.testing.assert_allclose(outcome.losses, reference.losses, rtol=RELATIVE, err_msg=str(case))
    assert set(outcome.variables) == set(reference.variables)
    for name, value in reference.variables.items():
        np.testing.assert_allclose(
            outcome.variables[name], value, rtol=0,
            atol=RELATIVE * np.max(np.abs(value)) + ABSOLUTE, err_msg="{} {}".format(case, name))


@pytest.mark.parametrize("workers", [2, 4])
def test_every_worker_runs_the_script_to_its_end(workers, tmp_path):
    result = jobs.launch("team_sessions.py", tmp_path / "job", "sessions", tmp_path / "saved",
                         environment=NATIVE, warm=True, workers=workers).check()
    reports = []
    for worker in range(workers):
        with open(result.path(worker, "report.json")) as file:
            reports.append(json.load(file))
    after = devices.weight_after
    for worker, found in enumerate(reports):
        first, second, plain = found["first"], found["second"], found["plain"]
        assert (first["begun"], first["done"]) == (0, [3, after(3)])
        assert (second["begun"], second["done"]) == (3, [5, after(5)])
        assert first["seen"] == ([after(n) for n in (0, 1, 2, 3, 3, 3)] if worker == 1 else [])
        assert second["seen"] == ([after(n) for n in (3, 4, 5, 5, 5)] if worker == 1 else [])
        assert found["end_of_data"] == 2
        assert plain["first"] == [0.0, float(np.mean(devices.ROWS ** 2))]
        if worker < 2:  # other replicas have what the chief restored by their next step
            assert plain["chief"] == (after(1) if worker == 0 else [after(1)] * 2)
        assert plain["last"] == after(2)
        wrong = plain["wrong"]
        assert "ConfigError: worker 1 feeds 'x:0' otherwise than worker 0" in wrong["feed"]
        assert "ValueError: 3 rows are fed to 'x:0'" in wrong["rows"]
        assert "InvalidArgumentError" in wrong["step"] and "not finite" in wrong["step"]
    assert len(reports[1]["first"]["losses"]) == 3 and not reports[0]["first"]["losses"]
    assert sorted(os.listdir(str(tmp_path / "saved")))[0] == "checkpoint"


@pytest.mark.parametrize("victim", [0, 1])
def test_whoever_dies_ends_the_job_and_is_named(victim, tmp_path):
    result = jobs.launch("team_sessions.py", tmp_path, "dies", victim, environment=NATIVE,
                         warm=True)
    assert result.code == 128 + signal.SIGKILL, result.output[-3000:]
    assert "worker {} ".format(victim) in result.output.splitlines()[-1] or any(
        "worker {}".format(victim) in line and "SIGKILL" in line
        for line in result.output.splitlines())
