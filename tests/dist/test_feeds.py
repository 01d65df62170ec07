# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two workers feed rows of their own, and the same where their variables would drift apart."""

import pickle

import numpy as np
import pytest

from tests.support import jobs

# 32-bit floats are added in another order than on one device; Adam divides by their roots.
ABSOLUTE = 1e-6

TRAINED = ["{}-{}-2{}".format(o, kind, end) for o in ("sgd", "adam") for kind in ("ref", "resource")
           for end in ("", "-open")] + ["word2vec", "positions-number", "positions-declared"]
REFUSED = {"learning_rate": ("rate:0", "0.10000000", "1.10000002"),
           "learning_rates": ("rates:0", "0.0]", "[0.10000000"),
           "rate_with_a_default": ("rate:0", "(nothing)", "0.5"),
           "norm": ("largest:0", "worker 0: 1.0", "worker 1: 2.0"),
           "condition": ("wanted:0", "True", "False"),
           "constant": ("ids:0", "[0, 1]", "[2, 1]"),
           "computed": ("ids:0", "[0, 1]", "[2, 1]"),
           "number": ("count:0", "worker 0: 1", "worker 1: 2"),
           "declared": ("factor:0", "[1.0]", "[2.0]"),
           "words": ("names:0", "'b'", "'bb'")}


def _loaded(result, worker):
    with open(result.path(worker, "results.pkl"), "rb") as file:
        return pickle.load(file)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    result = jobs.launch("feeds.py", tmp_path_factory.mktemp("workers"), warm=True).check()
    return [_loaded(result, worker) for worker in range(2)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return _loaded(jobs.alone("feeds.py", tmp_path_factory.mktemp("plain"), "plain",
                              warm=True).check(), 0)


@pytest.mark.parametrize("name", TRAINED)
def test_fixed_batches_train_as_the_whole_batch(workers, plain, name):
    for key, expected in plain["trained"][name].items():
        np.testing.assert_array_equal(*[found["trained"][name][key] for found in workers], key)
        np.testing.assert_allclose(workers[0]["trained"][name][key], expected, rtol=1e-5,
                                   atol=ABSOLUTE, err_msg=key)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_drive_the_workers_apart_is_refused_with_both_values(workers, name):
    for found in workers:
        error, _ = found["outcomes"][name]
        for word in ("different values", "jobs/feeds.py:") + REFUSED[name]:
            assert word in error, error
    for key, value in workers[0]["outcomes"][name][1].items():
        np.testing.assert_array_equal(value, workers[1]["outcomes"][name][1][key])


@pytest.mark.parametrize("name", ["reward", "constant_of_own"])
def test_what_only_the_loss_reads_is_each_workers_own(workers, name):
    assert [found["outcomes"][name][0] for found in workers] == ["", ""]
    for key, value in workers[0]["outcomes"][name][1].items():
        np.testing.assert_array_equal(value, workers[1]["outcomes"][name][1][key])
    if name == "reward":
        assert workers[0]["outcomes"][name][1] == {"w:0": 0.75}


def test_callables_of_keras_compare_what_they_are_fed(workers):
    for found in workers:
        assert "'rate:0'" in found["keras"] and "0.25" in found["keras"]
