# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Model replicas that lie on several workers: the results of one device, sessions, deaths.

All models in all layouts, which takes hours on two cores:

    EPL_FULL_MATRIX=1 scripts/test.sh tf2 tests/dist/test_teams.py
"""

import functools
import json
import os
import pickle
import re
import signal

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.campaign import __main__ as campaign
from tests.dist.jobs import relayout
from tests.graph import devices
from tests.support import jobs, layouts
from tests.support.layouts import BLOCK, SCHEDULES, Case, Layout, Training

# As in `tests/graph/test_equivalence.py`.
RELATIVE = 1e-5
ABSOLUTE = 1e-6

NATIVE = {"EPL_COMMUNICATION_COMMUNICATOR": "native"}
# Ref and resource variables, sparse gradients, rows that all share, loops, UPDATE_OPS, what several
# stages read.
SOME = ("cond_v2", "encoder", "l2", "names", "tied", "while")
# (workers, devices of each, stages, replicas, cluster.device_place_prefer_intra_node)
LAYOUTS = [(2, 1, 2, 1, True), (4, 1, 2, 2, True), (2, 2, 4, 1, True), (2, 2, 2, 2, False),
           (3, 2, 3, 2, True), (4, 2, 4, 2, True), (4, 2, 2, 4, False)]
EVERY = bool(os.environ.get("EPL_FULL_MATRIX"))
PARTS = 6  # of the models, each a job of its own
LONG_S = 1800.0  # far above what a job of some twelve cases takes


def cases(stages, replicas, part):
    """Of all models each with all schedules, if `EVERY`; else some in turn."""
    names = [n for n in sorted(layouts.MODELS) if not layouts.MODELS[n].random] if EVERY else SOME
    found = []
    for number, name in enumerate(names):
        if stages <= layouts.MODELS[name].max_stages and (not EVERY or number % PARTS == part):
            training = Training(name, layouts.OPTIMIZERS[number % 4], clip=number % 2 == 0,
                                resource=number % 3 == 0)
            one = SCHEDULES[number % 3]
            # Of one micro-batch all schedules make the same.
            chosen = [(1, one)] + [(4, each) for each in SCHEDULES] if EVERY \
                else [(4 if number % 2 else 1, one)]
            found += [Case(training, Layout((1,) * stages, replicas, micro_batches, each, BLOCK))
                      for micro_batches, each in chosen]
    return found


@pytest.mark.timeout(2 * LONG_S)
@pytest.mark.parametrize("workers, own_devices, stages, replicas, prefer_intra_node",
                         LAYOUTS if EVERY else LAYOUTS[:2])
@pytest.mark.parametrize("part", range(PARTS if EVERY else 1))
def test_the_results_are_those_of_one_device(workers, own_devices, stages, replicas,
                                             prefer_intra_node, part, tmp_path):
    chosen = cases(stages, replicas, part)
    source, plain = tmp_path / "cases", tmp_path / "references"
    source.write_bytes(pickle.dumps([
        (case, {"cluster.device_place_prefer_intra_node": prefer_intra_node}) for case in chosen]))
    plain.write_bytes(pickle.dumps([case.reference for case in chosen]))
    jobs.alone("plain_cases.py", tmp_path / "plain", plain, warm=True, timeout=LONG_S).check()
    result = jobs.launch("teams.py", tmp_path / "job", source, workers=workers,
                         devices=own_devices, environment=NATIVE, warm=True,
                         timeout=LONG_S).check()
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


def kinds(tmp_path, workers, parts, victim=0):
    """A job of `team_kinds.py`."""
    return jobs.launch("team_kinds.py", tmp_path / "job", tmp_path / "models", parts, victim,
                       environment=NATIVE, warm=True, workers=workers)


def reports(result, workers):
    found = []
    for worker in range(workers):
        with open(result.check().path(worker, "report.json")) as file:
            found.append(json.load(file))
    return found


def losses(*steps):
    """Of a `Fit` after so many steps, each."""
    return [float(np.mean((devices.ROWS - devices.weight_after(step)) ** 2)) for step in steps]


@functools.lru_cache()
def plain_layers():
    """What the models of Keras in `team_kinds` come to, by hand."""
    features, labels = devices.data(16)
    weights = [np.full([3, 4], 0.1), np.zeros(4), np.full([4, 1], 0.2), np.zeros(1)]
    found = []
    for _ in range(3):
        hidden = np.tanh(features @ weights[0] + weights[1])
        apart = hidden @ weights[2] + weights[3] - labels
        found.append(float(np.mean(apart ** 2)))
        if len(found) < 3:
            output = 2 * apart / len(labels)
            inner = output @ weights[2].T * (1 - hidden ** 2)
            slopes = [features.T @ inner, inner.sum(0), hidden.T @ output, output.sum(0)]
            weights = [weight - 0.25 * slope for weight, slope in zip(weights, slopes)]
    return found, [weight.ravel().tolist() for weight in weights]


@pytest.mark.parametrize("workers", [2, 4])
def test_all_kinds_of_sessions_train_as_on_one_device(workers, tmp_path):
    after = devices.weight_after
    for worker, found in enumerate(reports(kinds(tmp_path, workers, "all"), workers)):
        assert found["interactive"] == [after(1), after(1)]
        assert found["callables"] == losses(0, 1) + [after(2)]
        for kind in ("two_sessions", "two_graphs", "two_optimizers"):
            assert found[kind] == [after(2), after(1)], kind
        assert found["session_after_another"] == [after(1), after(1)]
        logged, events = found["hooks"]
        assert events == 1
        assert logged == ([[loss, step + 1] for step, loss in enumerate(losses(0, 1, 2))]
                          if worker == workers - 1 else [])
        evaluations, predicted, served, read = found["estimator"]
        assert [each["global_step"] for each in evaluations] == [3, 5, 7]
        np.testing.assert_allclose(
            [[each["loss"], each["mean"]] for each in evaluations],
            [[loss, 4.5] for loss in losses(3, 5, 7)], rtol=1e-6)
        assert predicted == [after(7)] * len(devices.ROWS) and read == after(7)
        assert served == ([after(7)] * 2 if worker == 0 else None)
        expected, weights = plain_layers()
        trained, values, evaluated = found["keras"]
        np.testing.assert_allclose(trained + [evaluated], expected, rtol=1e-5)
        for one in (values, found["keras_layers"][1]):
            assert len(one) == len(weights)
            for value, weight in zip(one, weights):
                np.testing.assert_allclose(value, weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["keras_layers"][0], expected[:2], rtol=1e-5)


@pytest.mark.parametrize("part, workers, victim", [
    ("request_stop", 2, 1), ("sigterm", 4, 3)] + EVERY * [
        ("request_stop", 4, 0), ("request_stop", 4, 3), ("sigterm", 2, 0), ("sigterm", 2, 1)])
def test_a_stop_of_any_worker_saves_and_ends_all_after_the_same_step(part, workers, victim,
                                                                     tmp_path):
    for found in reports(kinds(tmp_path, workers, part, victim), workers):
        assert found[part] == [4, devices.weight_after(4)]


@pytest.mark.parametrize("part, workers, victim, words", [
    ("recovery", 2, 1, "this worker has lost its session"),
    ("trains_in_every_mode", 2, 0, "let the model_fn ask for gradients in mode TRAIN only")
    ] + EVERY * [("recovery", 4, 0, "this worker has lost its session")])
def test_what_is_not_available_ends_the_job_by_name(part, workers, victim, words, tmp_path):
    result = kinds(tmp_path, workers, part, victim)
    assert result.code == 1
    assert "epl-launch: worker {} ".format(victim) in result.output, result.output[-3000:]
    assert words in result.of_worker(victim)


@pytest.mark.parametrize("workers, stages", [(2, 2), (4, 2)] + EVERY * [(3, 3), (4, 4)])
def test_what_is_sent_is_what_the_plan_says(workers, stages, tmp_path):
    """Counted are the values that TensorFlow's own graphs of each worker send in a step."""
    found = reports(jobs.launch("team_links.py", tmp_path, stages, environment=NATIVE, warm=True,
                                workers=workers), workers)
    counted, summed = [{key: size for each in found for key, size in each[what].items()}
                       for what in ("sent", "summed")]
    predicted = {}
    for line in found[0]["plan"].splitlines():
        said = re.match(r"  worker (\d+) to worker (\d+): ([\d.]+)$", line)
        if said:
            link = "{} {}".format(*said.groups())
            predicted[link] = float(said.group(3)) * 2 ** 10
            assert abs(predicted[link] - counted[link]) < 64  # a loss, a count of rows
        said = re.match(r"  workers ([\d ]+) add up gradients of stage \d: ([\d.]+) of each$", line)
        for worker in said.group(1).split() if said else ():
            assert abs(summed.pop(worker) - float(said.group(2)) * 2 ** 10) < 64
    assert set(predicted) == set(counted) and not summed


# (workers, devices of each, stages)
RELAYOUTS = [(2, 1, 2), (1, 2, 2), (1, 1, 1), (4, 1, 2), (2, 1, 2), (2, 1, 1)]


def test_a_training_goes_on_from_its_checkpoint_in_another_layout(tmp_path):
    begun = 0
    for workers, own_devices, stages in RELAYOUTS:
        result = jobs.launch("relayout.py", tmp_path / str(begun), tmp_path / "model", stages,
                             begun + 2, environment=NATIVE, warm=True, workers=workers,
                             devices=own_devices)
        found = reports(result, workers)
        assert [each["begun"] for each in found] == [begun] * workers
        begun += 2
        if workers > 1:
            np.testing.assert_allclose(found[-1]["losses"], found[0]["losses"], rtol=1e-6)
    expected = devices.run(None, plain_steps(begun))
    path = tf.train.latest_checkpoint(str(tmp_path / "model"))
    assert path.endswith("-{}".format(begun))
    for name, value in expected.items():
        np.testing.assert_allclose(tf.train.load_variable(path, name), value, rtol=0,
                                   atol=RELATIVE * np.max(np.abs(value)) + ABSOLUTE, err_msg=name)


def plain_steps(steps):
    """A script: all variables after so many steps of the model of `relayout.py`."""
    def script(stage):
        x, y, _, _, train = relayout.model(stage)
        with devices.session() as session:
            for step in range(steps):
                session.run(train, dict(zip((x, y), relayout.rows(step))))
            return session.run({v.op.name: v for v in tf.global_variables()})

    return script


@pytest.mark.parametrize("seed, kind, layout", [
    (1, "SIGKILL", "across4"), (2, "hang", "across2"), (3, "SIGTERM", "across2")])
def test_a_random_death_is_told_and_leaves_what_a_restart_ends_equal_with(seed, kind, layout):
    """More of them: scripts/campaign.sh tf2 --layouts across2,across4"""
    found = campaign.die(seed, [kind], {layout: campaign.undisturbed(layout)})
    assert campaign.good(found), found


@pytest.mark.parametrize("victim", [0, 1])
def test_whoever_dies_ends_the_job_and_is_named(victim, tmp_path):
    result = jobs.launch("team_sessions.py", tmp_path, "dies", victim, environment=NATIVE,
                         warm=True)
    assert result.code == 128 + signal.SIGKILL, result.output[-3000:]
    assert "worker {} ".format(victim) in result.output.splitlines()[-1] or any(
        "worker {}".format(victim) in line and "SIGKILL" in line
        for line in result.output.splitlines())
