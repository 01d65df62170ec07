# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients in several calls, and of variables of rare types, on two workers.

All ways to several calls are in `tests/loopback/test_gradients.py`, with workers that are threads.
"""

import pickle

import numpy as np
import pytest

from tests.dist.jobs.gradients import NAMES
from tests.graph import devices
from tests.graph.test_chain_rule_by_hand import check_variables, trained
from tests.support import jobs, odd_types


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of two workers found."""
    job = jobs.launch("gradients.py", tmp_path_factory.mktemp("gradients"), timeout=200,
                      warm=True).check()
    found = []
    for worker in range(2):
        with open(job.path(worker, "results.pkl"), "rb") as file:
            found.append(pickle.load(file))
    return found


@pytest.mark.parametrize("reduce, resource", [("mean", False), ("sum", True)])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_in_several_calls_are_those_of_one_device(results, name, reduce, resource):
    expected = trained(None, name, reduce, resource)
    for found in results:
        check_variables(found[reduce, resource][name], expected)


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", odd_types.TRAINED)
def test_variables_of_any_number_type_train_as_on_one_device(results, name, sparse, resource):
    with devices.plain():
        expected = odd_types.train(name, sparse, resource)
    assert not np.array_equal(expected, odd_types.train(name, sparse, resource, steps=0))
    for found in results:
        np.testing.assert_array_equal(found["types"][name, sparse, resource], expected)


def test_variables_of_every_type_are_the_chiefs(results):
    with devices.plain():
        expected = odd_types.kept(0)
    assert results[0]["kept"] == expected
    assert results[1]["kept"] == expected


def test_registered_values_of_every_type_are_merged(results):
    for found in results:
        rows, sums = found["merged"]
        assert rows == {name: [1, 1 if name == "bool" else 2]
                        for name in odd_types.KEPT if name != "string"}
        assert sums == {name: [3] for name in rows if name != "bool"}
