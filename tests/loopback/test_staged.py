# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two workers with two devices each, as stages or as replicas, and four with one, equal one device.

Each way a step of the job has four equal parts: see `tests/support/staged_training.py`. Some of
these run on real processes too: `tests/dist/test_staged.py`.
"""

import functools

import pytest
import tensorflow.compat.v1 as tf

from tests.dist.test_staged import (
    assert_losses_and_norms_are_those_of_the_whole_batch,
    assert_registered_in_order,
    assert_statistics_follow_the_data,
    assert_variables_equal_one_device,
)
from tests.graph import devices
from tests.support import loopback
from tests.support.staged_training import Side, trainings

tf.disable_v2_behavior()

NAMES = ("tied-ref", "tied-resource", "lookups", "positions", "follows_loss", "lstm", "norm-ref",
         "norm-resource", "writes-ref", "writes-resource", "unknown_shapes", "terms-ref",
         "terms-resource")
# Who runs tests on several cores trains a part once: they share what this module remembers.
PARTS = [pytest.param(name, marks=pytest.mark.xdist_group("staged " + name)) for name in NAMES]
WORKERS = {"stages": 2, "replicas": 2, "workers": 4}


@functools.lru_cache(maxsize=None)
def plain(part):
    with devices.plain():
        return trainings(Side("plain", optimized=False))[part]()


@functools.lru_cache(maxsize=None)
def trained(kind, part):
    """The results of plain TensorFlow, of the first and of the last worker.

    TensorFlow's own optimizers of graphs stay out: they cost more than all the rest, and look at
    the same graphs in `tests/dist`.
    """
    workers = WORKERS[kind]
    found = loopback.run(lambda rank: trainings(Side(kind, optimized=False))[part](), workers,
                         devices=4 // workers)
    return [plain(part), found[0], found[-1]]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", list(WORKERS))
def test_variables_equal_one_device_with_the_whole_batch(kind, part):
    assert_variables_equal_one_device(trained(kind, part))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", list(WORKERS))
def test_every_worker_sees_the_loss_and_the_norm_of_the_whole_batch(kind, part):
    assert_losses_and_norms_are_those_of_the_whole_batch(trained(kind, part))


@pytest.mark.parametrize("part", [part for part in PARTS if "norm" in part.values[0]])
@pytest.mark.parametrize("kind", list(WORKERS))
def test_statistics_are_those_of_all_clones(kind, part):
    assert_statistics_follow_the_data(trained(kind, part))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", list(WORKERS))
def test_registered_tensors_come_in_the_order_of_workers_and_clones(kind, part):
    assert_registered_in_order(part, trained(kind, part)[1])
