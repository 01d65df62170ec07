# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the communication options change, and that they change nothing else. Three workers."""

import pickle

import numpy as np
import pytest

from tests.support import jobs

WORKERS = 3


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    result = jobs.launch("options.py", tmp_path_factory.mktemp("options"), workers=WORKERS,
                         warm=True).check()
    found = []
    for worker in range(WORKERS):
        with open(result.path(worker, "results.pkl"), "rb") as file:
            found.append(pickle.load(file))
    return found


def assert_close(results, name, relative):
    for key, value in results[0]["default"][0].items():
        found = results[0][name][0][key]
        np.testing.assert_allclose(found, value, rtol=0, err_msg=key,
                                   atol=relative * np.max(np.abs(value)) + 1e-7)


@pytest.mark.parametrize("name", ["default", "one_split", "as_they_are", "dense", "fp16", "sum",
                                  "fp16_sum"])
def test_all_workers_hold_the_same_bits(results, name):
    for other in results[1:]:
        for key, value in results[0][name][0].items():
            np.testing.assert_array_equal(other[name][0][key], value)


def test_two_runs_give_the_same_bits(results):
    for key, value in results[0]["default"][0].items():
        np.testing.assert_array_equal(results[0]["again"][0][key], value)


@pytest.mark.parametrize("name", ["one_split", "dense", "sum"])
def test_options_do_not_change_the_result(results, name):
    assert_close(results, name, 1e-6)


@pytest.mark.parametrize("name", ["fp16", "fp16_sum"])
def test_sixteen_bit_gradients_are_as_exact_as_sixteen_bits(results, name):
    # A 16-bit float has 11 significant bits: each worker's gradient is rounded by up to 5e-4 of
    # itself. Their mean may be several times smaller than they are, and so is a bias after 3 steps.
    assert_close(results, name, 5e-3)
    assert not np.array_equal(results[0][name][0]["dense/kernel:0"],
                              results[0]["default"][0]["dense/kernel:0"])


def test_dense_gradients_are_fused_and_sparse_ones_gathered(results):
    kinds = [line.split()[0] for line in results[0]["default"][1]]
    assert 2 <= kinds.count("all_reduce") <= 5  # communication.max_splits
    assert kinds.count("all_gather") == 2  # rows and indices of the embedding
    assert [line.split()[0] for line in results[0]["one_split"][1]] == \
        ["all_reduce", "all_gather", "all_gather"]


def test_gradients_of_a_small_model_travel_together(results):
    assert results[0]["as_they_are"][1] == results[0]["one_split"][1]


def test_sparse_as_dense_gathers_nothing(results):
    assert all(line.startswith("all_reduce") for line in results[0]["dense"][1])


def test_fp16_travels_as_sixteen_bits(results):
    *gradients, loss = [line for line in results[0]["fp16"][1] if line.startswith("all_reduce")]
    assert gradients and all("float16" in line for line in gradients)
    assert "float32[3]" in loss  # it, the number of rows, and how many as were read
    assert not any("float16" in line for line in results[0]["default"][1])


def test_every_type_travels_as_itself(results):
    # The loss, a double, travels with the gradients of its type.
    assert sorted(line.split()[2] for line in results[0]["types"]) == \
        ["float16[3]", "float32[3]", "float64[4]"]


def test_overflow_of_sixteen_bits_is_an_error_that_names_the_key(results):
    for found in results:
        assert "lower the scale" in found["overflow"]
