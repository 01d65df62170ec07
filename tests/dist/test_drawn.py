# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an update draws behind the gradients, or asks Python for, is the same on all workers."""

import pickle

import numpy as np
import pytest

from tests.graph import devices
from tests.support import draws, jobs, selected

KINDS = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """What each of two workers found."""
    names = [build.__name__ for build in selected.values(request, "build")]
    job = jobs.launch("drawn.py", tmp_path_factory.mktemp("drawn"), *names, timeout=200,
                      warm=True).check()
    found = []
    for worker in range(2):
        with open(job.path(worker, "results.pkl"), "rb") as file:
            found.append(pickle.load(file))
    return found


def assert_equal(one, other):
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@KINDS
@pytest.mark.parametrize("build", [
    b for b in draws.UNSEEDED + draws.SEEDED if b not in draws.LEVELLED])
def test_the_chief_draws_for_all(results, build, resource):
    (chief, said), (other, _) = (found[build.__name__, resource] for found in results)
    assert not said
    for one, same in zip(chief, other):
        assert_equal(one, same)
    assert not np.array_equal(chief[0]["w"], chief[-1]["w"])


@KINDS
@pytest.mark.parametrize("build", draws.SEEDED)
def test_seeded_draws_are_those_of_one_device(results, build, resource):
    with devices.plain():
        expected = draws.train(build, resource=resource)
    for found in results:
        for one, same in zip(found[build.__name__, resource][0], expected):
            np.testing.assert_allclose(one["w"], same["w"], 1e-5)


@KINDS
@pytest.mark.parametrize("build", list(draws.LEVELLED))
def test_what_cannot_be_sent_is_the_chiefs_before_the_next_step(results, build, resource):
    (chief, said), (other, _) = (found[build.__name__, resource] for found in results)
    (told,) = said
    assert "the chief's variables are brought to all workers" in told
    assert "draws.py:" in told
    name = draws.LEVELLED[build]
    assert not np.array_equal(chief[0][name], chief[-1][name])
    for worker in (chief, other):
        for number in range(1, draws.STEPS):
            np.testing.assert_array_equal(worker[number]["seen"], chief[number - 1][name])


@pytest.mark.parametrize("name, then, after", [
    ("loaded", ([1, 1], [1, 2]), [1, 1]), ("read", (2, 3), 2),
    ("fed", (5, 5), 5), ("of_the_loss", (5, 5), 5)])
def test_what_is_written_beside_the_training(results, name, then, after):
    """What is loaded or read is the chief's; rows that a step could be fed count on all workers."""
    for found, value in zip(results, then):
        assert found["statistics"][name][:2] == (value, after)


def test_a_warning_says_whose_rows_count(results):
    for found in results:
        for name, (_, _, said) in found["statistics"].items():
            assert len(said) == (name == "read")
        (told,) = found["statistics"]["read"][2]
        assert "writes the global variable 'read' from rows of this worker" in told
        assert "drawn.py:" in told
