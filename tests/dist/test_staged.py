# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two workers with two devices each, as stages or as replicas, equal one device.

All parts are in `tests/loopback/test_staged.py`, with workers that are threads, four with one
device too. Here are real processes, Horovod, and TensorFlow's own optimizers of graphs, with each
kind of exchange.
"""

import pickle

import numpy as np
import pytest

from tests.support import jobs, staged_models

# Both sides add the same 32-bit floats in another order. One addition errs by at most 6e-8
# relative to the larger operand; five steps of a few hundred additions stay within 1e-5 of a
# tensor's largest element. Weights are of order 0.1, their gradients of order 0.01.
RELATIVE = 1e-5
ABSOLUTE = 1e-6

PARTS = ("lookups", "norm-ref", "writes-resource", "terms-ref")
COLUMNS = {"tied": "ids", "lookups": "ids", "positions": "ids", "lstm": "ids", "norm": "image"}


def load(result, worker):
    with open(result.path(worker, "results.pkl"), "rb") as file:
        return pickle.load(file)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load(jobs.alone("staged.py", tmp_path_factory.mktemp("plain"), "plain", *PARTS,
                           warm=True).check(), 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What both workers give, of both kinds: the job initializes EPL for each."""
    result = jobs.launch("staged.py", tmp_path_factory.mktemp("two"), "stages,replicas", *PARTS,
                         devices=2, warm=True).check()
    return [load(result, worker) for worker in (0, 1)]


@pytest.fixture(params=["stages", "replicas"])
def kind(request):
    return request.param


@pytest.fixture(params=PARTS)
def part(request):
    return request.param


@pytest.fixture
def results(plain, trained, kind, part):
    """The results of a part: of plain TensorFlow, and of both workers."""
    return [plain["plain", part]] + [found[kind, part] for found in trained]


def test_variables_equal_one_device_with_the_whole_batch(results):
    assert_variables_equal_one_device(results)


def test_every_worker_sees_the_loss_and_the_norm_of_the_whole_batch(results):
    assert_losses_and_norms_are_those_of_the_whole_batch(results)


def test_statistics_are_those_of_all_clones(results, part):
    if part == "norm-ref":
        assert_statistics_follow_the_data(results)


def test_registered_tensors_come_in_the_order_of_workers_and_clones(results, part):
    assert_registered_in_order(part, results[1])


def assert_variables_equal_one_device(results):
    expected, chief, other = [found[1] for found in results]
    assert set(expected) == set(chief) == set(other) and expected["global_step:0"] == 5
    for name, value in expected.items():
        np.testing.assert_array_equal(chief[name], other[name], err_msg=name)
        np.testing.assert_allclose(chief[name], value, rtol=0, err_msg=name,
                                   atol=RELATIVE * np.max(np.abs(value)) + ABSOLUTE)


def assert_losses_and_norms_are_those_of_the_whole_batch(results):
    expected, chief, other = [found[0] for found in results]
    assert expected[0, 0] != expected[-1, 0]
    np.testing.assert_array_equal(chief, other)
    np.testing.assert_allclose(chief, expected, rtol=RELATIVE, atol=ABSOLUTE)


def assert_statistics_follow_the_data(results):
    plain, chief = results[0][1], results[1][1]
    names = [name for name in plain if "moving_" in name]
    assert len(names) == 4
    for name in names:
        start = 0.0 if "mean" in name else 1.0
        assert not np.allclose(chief[name], start, atol=1e-3)


def assert_registered_in_order(part, chief):
    column = COLUMNS.get(part.split("-")[0], "x")
    rows = staged_models.data((column,))[column][:staged_models.GLOBAL_BATCH]
    found = chief[2]
    np.testing.assert_array_equal(found["GLOBAL_CONCAT"], rows)
    share = len(found["LOCAL_CONCAT"])
    assert share in (len(rows) // 2, len(rows) // 4)
    np.testing.assert_array_equal(found["LOCAL_CONCAT"], rows[:share])
    assert (found["GLOBAL_SUM"], found["LOCAL_SUM"]) == (rows.size, rows[:share].size)


@pytest.mark.parametrize("kind, message", [
    ("other_micro_batches", "worker(s) 1: config pipeline.num_micro_batch = 4"),
    ("not_finite", "the input is not finite"),
    ("odd_rows", "7 rows are fed to 'Placeholder:0'"),
    ("killed", "worker 1"),
])
def test_a_worker_that_goes_another_way_ends_the_job(tmp_path, kind, message):
    result = jobs.launch("staged_failures.py", tmp_path, kind, devices=2, **jobs.PATIENT)
    assert result.code != 0, result.output
    assert message in result.output, result.output
