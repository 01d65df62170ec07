# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every kind of session trains data parallel on two workers.

The models of `jobs/session_kinds.py` are one weight w with loss mean((w - x)^2); worker r feeds
x = r + 1; learning rate 0.25 moves w half the way to the mean 1.5. All numbers below are exact.
"""

import concurrent.futures
import json
import os
import socket

import numpy as np
import pytest

from epl.communicators.horovod.rendezvous import serve_rendezvous
from tests.support import jobs


def reports(result):
    result.check()
    found = []
    for worker in range(2):
        with open(result.path(worker, "report.json")) as file:
            found.append(json.load(file))
    return found


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return reports(jobs.launch("session_kinds.py", tmp_path_factory.mktemp("kinds"), warm=True))


@pytest.mark.parametrize("part, expected", [
    ("interactive", 0.75),
    ("callables", [2.5, 1.125]),  # loss before the first step: mean of 1 and 4
    ("two_sessions", [1.125, 0.75]),
    ("what_follows_from_the_loss", [2.5, 3.5, 1.0]),
    ("two_graphs", [1.125, 0.75]),
    ("two_optimizers", [0.75 + 0.75 * 1.5, 0.75]),
    ("different_initial_values", [[0.75, [0, 7]], [0.75, [0, 7]]]),
    # the chief's 4.0 half way to 1.5, then its -1.0 half way to 1.5
    ("written_between_steps", [2.75, 0.25]),
    ("keras", 1.125),  # two steps from the chief's 0
    ("second_init", 1.5),  # sum instead of mean: twice the step
])
def test_both_workers_end_with_the_variables_of_one_device(kinds, part, expected):
    assert kinds[0][part] == expected
    assert kinds[1][part] == expected


def test_gradients_inside_a_loss_are_each_workers_own(kinds):
    for trained, refused in (k["gradient_in_a_loss"] for k in kinds):
        assert trained == -0.125 * (6 - 3)  # d/dw [(w - x)^2 + 3 * 2 (w - x)] at 0 is 6 - 2 x
        assert "'penalty' (Pow)" in refused and "one worker" in refused


def test_hessians_are_left_alone(kinds):
    assert kinds[0]["hessian"] == [[2.0, 0.0], [0.0, 2.0]]
    assert kinds[1]["hessian"] == [[4.0, 0.0], [0.0, 4.0]]


def test_fetches_are_merged_in_a_step_and_keep_their_structure(kinds):
    own, mean, rows, total, trained, fed = zip(*[k["fetches"] for k in kinds])
    assert own == (1.0, 4.0)  # outside a step: each worker's own
    assert mean == (2.5, 2.5)
    assert rows == ([1.0, 2.0], [1.0, 2.0])  # in the order of workers
    assert total == ([6.0], [6.0])
    assert trained == ([None, 0.75], [None, 0.75])
    assert fed == ([1.0], [2.0])


def test_dropout_masks_differ_between_workers(kinds):
    first, second = [np.array(k["dropout_masks"]) for k in kinds]
    assert 0.2 < np.mean(first != second) < 0.8  # independent masks differ in half the places


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """(reports of two workers, report of one worker alone, the job's directories)."""
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    shared = [str(tmp_path_factory.mktemp("shared")), str(tmp_path_factory.mktemp("shared"))]
    result = jobs.launch("monitored.py", two, shared[0], warm=True)
    found = reports(result)
    jobs.alone("monitored.py", one, shared[1], warm=True).check()
    with open(os.path.join(str(one), "0", "report.json")) as file:
        return found, json.load(file), shared[0], result


def test_monitored_session_equals_one_device(monitored):
    (chief, other), alone, _, _ = monitored
    assert chief["variables"] == other["variables"]
    assert set(chief["variables"]) == set(alone["variables"])
    for name, value in alone["variables"].items():
        np.testing.assert_allclose(chief["variables"][name], value, rtol=1e-5, atol=1e-6)
    means = (np.array(chief["losses"]) + np.array(other["losses"])) / 2
    np.testing.assert_allclose(means, alone["losses"], rtol=1e-5)


def test_resumed_workers_see_the_chiefs_global_step_before_any_hook(monitored):
    (chief, other), _, _, _ = monitored
    # worker 1 resumed from an empty directory of its own
    assert chief["started_at"] == other["started_at"] == [[0], [5]]


def test_only_the_chief_writes(monitored):
    (chief, other), _, shared, result = monitored
    steps = {name.split(".")[1][5:] for name in os.listdir(shared) if name.endswith(".index")}
    assert {"10", "9", "7"} <= steps  # every two steps, and the last
    assert len([n for n in os.listdir(shared) if "tfevents" in n]) == 1
    assert "graph.pbtxt" in os.listdir(shared)
    written = [sorted(os.listdir(result.path(w, ""))) for w in range(2)]
    assert any(name.startswith("mine-9.index") for name in written[0])
    assert [n for n in written[1] if not n.endswith((".log", ".json", "stacks.txt"))] == []
    assert [os.path.basename(p) for p in chief["paths"]] == ["mine-4", "mine-9"]
    assert [os.path.basename(p) for p in other["paths"]] == ["mine-4", "mine-9"]


def test_a_worker_whose_session_is_lost_goes_on_with_the_others(tmp_path):
    result = jobs.launch("recovery.py", tmp_path)
    chief, other = reports(result)
    assert chief["sessions"] == 1 and other["sessions"] == 2
    assert chief["weights"] == other["weights"] == 1.5 * (1 - 0.5 ** 6)
    assert chief["step"] == other["step"] == 6


def test_tf_config_alone_connects_the_workers(tmp_path):
    """Two processes without a launcher: the chief's address serves the rendezvous."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    addresses = {"chief": ["127.0.0.1:{}".format(port)],
                 "worker": ["127.0.0.1:{}".format(port + 1)]}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = [pool.submit(
            jobs.alone, "recovery.py", tmp_path / kind, environment={"TF_CONFIG": json.dumps(
                {"cluster": addresses, "task": {"type": kind, "index": 0}})})
            for kind in ("chief", "worker")]
        results = [job.result().check() for job in running]
    for result in results:
        with open(result.path(0, "report.json")) as file:
            assert json.load(file)["weights"] == 1.5 * (1 - 0.5 ** 6)


def test_a_worker_with_another_secret_than_the_chiefs_says_so(tmp_path):
    server = serve_rendezvous(None, ["127.0.0.1"] * 2, "127.0.0.1", "of another cluster")
    addresses = {"chief": ["127.0.0.1:{}".format(server.port)], "worker": ["127.0.0.1:1"]}
    worker = jobs.alone("recovery.py", tmp_path, environment={"TF_CONFIG": json.dumps(
        {"cluster": addresses, "task": {"type": "worker", "index": 0}})})
    server.stop()
    assert worker.code == 1
    assert "ConfigError: the secret of this worker's machine, {}, is not that of".format(
        jobs.environment_for()["EPL_SECRET_FILE"]) in worker.output


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    directories = [str(tmp_path_factory.mktemp("model")) for _ in range(2)]
    ignored = {"TF_CONFIG": json.dumps({
        "cluster": {"chief": ["a:1"], "ps": ["b:1"], "worker": ["c:1"]},
        "task": {"type": "worker", "index": 0}})}  # would start parameter-server training
    two = reports(jobs.launch("estimator.py", tmp_path_factory.mktemp("two"), directories[0],
                              environment=ignored, warm=True))
    one = tmp_path_factory.mktemp("one")
    jobs.alone("estimator.py", one, directories[1], warm=True).check()
    with open(os.path.join(str(one), "0", "report.json")) as file:
        return two, json.load(file), directories[0]


@pytest.mark.parametrize("metrics", ["after_train", "metrics", "last"])
def test_estimator_metrics_equal_one_device_on_every_worker(estimator, metrics):
    two, one, _ = estimator
    assert two[0][metrics] == two[1][metrics]
    for name, value in one[metrics].items():
        np.testing.assert_allclose(two[0][metrics][name], value, rtol=2e-5, err_msg=name)
    assert one[metrics]["global_step"] == {"after_train": 4, "metrics": 10, "last": 26}[metrics]


def test_estimator_predictions_equal_one_device(estimator):
    two, one, _ = estimator
    for found in two:
        np.testing.assert_allclose(found["predictions"], one["predictions"], rtol=1e-4, atol=1e-5)


def test_estimator_writes_one_set_of_events(estimator):
    two, _, directory = estimator
    assert two[0]["is_chief"] is True
    events = [n for n in os.listdir(directory) if "tfevents" in n]
    assert len(events) == 1
