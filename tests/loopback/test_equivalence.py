# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two workers give the results of one device with the whole global batch.

A few of these run on real processes too: `tests/dist/test_equivalence.py`.
"""

import pytest
import tensorflow.compat.v1 as tf

from tests.dist.cases import CASES
from tests.dist.test_equivalence import (
    assert_losses_are_those_of_the_whole_batch,
    assert_reference_trains,
    assert_variables_equal_one_device,
)
from tests.graph import devices
from tests.support import loopback, training

tf.disable_v2_behavior()


@pytest.fixture(scope="module", params=list(CASES))
def results(request):
    """(plain, worker 0, worker 1): (losses, variables) of a case.

    TensorFlow's own optimizers of graphs stay out: they cost more than all the rest, and look at
    the same graphs in `tests/dist`.
    """
    case = CASES[request.param]

    def work(rank):
        import epl

        epl.init()
        epl.set_default_strategy(epl.replicate(device_count=1))
        return training.train(case.model, case.optimizer, case.resource, rank=rank, workers=2,
                              optimized=False)

    split = loopback.run(work)
    with devices.plain():
        plain = training.train(case.plain_model, case.optimizer, case.resource, optimized=False)
    return [plain] + split


def test_variables_equal_one_device_with_the_whole_batch(results):
    assert_variables_equal_one_device(results)


def test_every_worker_sees_the_loss_of_the_whole_batch(results):
    assert_losses_are_those_of_the_whole_batch(results)


def test_the_reference_trains(results):
    assert_reference_trains(results)
