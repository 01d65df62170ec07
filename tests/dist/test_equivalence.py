# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Four workers give the results of one device with the whole global batch.

All cases are in `tests/loopback/test_equivalence.py`, with two workers that are threads. Here are
real processes, Horovod, and TensorFlow's own optimizers of graphs, with each kind of small model.
"""

import pickle

import numpy as np
import pytest

from tests.support import jobs

# Both sides add the same 32-bit floats in another order. One addition errs by at most 6e-8
# relative to the larger operand; ten steps of a few hundred additions stay within 1e-5 of a
# tensor's largest element. Some variables have a gradient that is zero in exact arithmetic (the
# bias of BERT's keys): what is left of them is rounding, which an absolute 1e-6 covers; weights
# here are of order 0.1.
RELATIVE = 1e-5
ABSOLUTE = 1e-6


CASES = ("mlp_embedding-adam-ref", "while_loop-momentum-resource", "batch_norm-sgd-resource")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(plain, the first worker, the last one): case -> (losses, variables)."""
    plain = jobs.alone("equivalence.py", tmp_path_factory.mktemp("plain"), "--plain",
                       *CASES, warm=True).check()
    split = jobs.launch("equivalence.py", tmp_path_factory.mktemp("split"), *CASES, workers=4,
                        timeout=200, warm=True).check()
    paths = [plain.path(0, "results.pkl"), split.path(0, "results.pkl"),
             split.path(3, "results.pkl")]
    loaded = []
    for path in paths:
        with open(path, "rb") as file:
            loaded.append(pickle.load(file))
    return loaded


@pytest.fixture(params=CASES)
def results(request, trained):
    """(plain, the first worker, the last one): (losses, variables) of a case."""
    return [found[request.param] for found in trained]


def test_variables_equal_one_device_with_the_whole_batch(results):
    assert_variables_equal_one_device(results)


def test_every_worker_sees_the_loss_of_the_whole_batch(results):
    assert_losses_are_those_of_the_whole_batch(results)


def test_the_reference_trains(results):
    assert_reference_trains(results)


def assert_variables_equal_one_device(results):
    plain, chief, other = [found[1] for found in results]
    assert set(plain) == set(chief) == set(other)
    for name in plain:
        np.testing.assert_array_equal(chief[name], other[name], err_msg=name)
        scale = np.max(np.abs(plain[name]))
        np.testing.assert_allclose(chief[name], plain[name], rtol=0,
                                   atol=RELATIVE * scale + ABSOLUTE, err_msg=name)


def assert_losses_are_those_of_the_whole_batch(results):
    plain, chief, other = [found[0] for found in results]
    np.testing.assert_array_equal(chief, other)
    np.testing.assert_allclose(chief, plain, rtol=RELATIVE)


def assert_reference_trains(results):
    losses, variables = results[0]
    assert losses[0] != losses[-1]
    assert variables["global_step:0"] == 10
