# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Without a launcher a script trains on one worker, as plain TensorFlow, without Horovod."""

import pickle

import numpy as np
import pytest

from tests.dist.cases import CASES
from tests.support import jobs, selected


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    found = []
    cases = selected.values(request, "case")
    for arguments in ([], ["--plain"]):
        result = jobs.alone("equivalence.py", tmp_path_factory.mktemp("alone"), *arguments,
                            *cases, warm=True).check()
        with open(result.path(0, "results.pkl"), "rb") as file:
            found.append(pickle.load(file))
    return found


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c].model == CASES[c].plain_model])
def test_one_worker_gives_the_bits_of_plain_tensorflow(results, case):
    (losses, variables), (plain_losses, plain_variables) = [found[case] for found in results]
    np.testing.assert_array_equal(losses, plain_losses)
    assert set(variables) == set(plain_variables)
    for name in variables:
        np.testing.assert_array_equal(variables[name], plain_variables[name], err_msg=name)


def test_one_worker_needs_no_horovod(tmp_path):
    jobs.alone("without_horovod.py", tmp_path).check()
