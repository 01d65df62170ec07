# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients of one worker overflow: all workers skip the step, and go on alike."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import start
from tests.support import loopback

STEPS, OVERFLOWS = 5, 2
random = np.random.RandomState(3)
ROWS = random.randn(8, 3).astype(np.float32)
WEIGHTS = random.randn(3, 1).astype(np.float32)


def build(resource):
    x = tf.placeholder(tf.float32, [None, 3])
    weight = tf.get_variable("weight", initializer=WEIGHTS, use_resource=resource)
    loss = tf.reduce_mean(tf.square(tf.matmul(x, weight) - x[:, :1]))
    step = tf.train.get_or_create_global_step()
    return x, loss, tf.train.AdamOptimizer(0.1).minimize(loss, step)


def worker(rank, resource, workers, level):
    start({"amp.level": "o1", "amp.dtype": "float32", "zero.level": level})
    x, _, train = build(resource)
    own = np.split(np.arange(8), workers)[rank]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(STEPS):
            rows = ROWS[own] + number
            if number == OVERFLOWS and rank == workers - 1:
                rows = rows * np.float32(1e30)
            session.run(train, {x: rows})
        return session.run({v.op.name: v for v in tf.global_variables()})


@pytest.mark.parametrize("level", ["", "v0", "v1"])
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("workers", [2, 4])
def test_all_skip_what_overflows_on_one(workers, resource, level):
    found = loopback.run(lambda rank: worker(rank, resource, workers, level), workers=workers)
    with tf.Graph().as_default(), tf.Session() as session:
        x, _, train = build(resource)
        session.run(tf.global_variables_initializer())
        for number in range(STEPS):
            if number != OVERFLOWS:
                session.run(train, {x: ROWS + number})
        expected = session.run({v.op.name: v for v in tf.global_variables()})
    assert expected["global_step"] == STEPS - 1
    for variables in found:
        assert variables.pop("epl/loss_scale/current_loss_scale") == 2.0 ** 14
        assert variables.pop("epl/loss_scale/good_steps") == 2
        assert set(variables) == set(expected)
        for name, value in expected.items():
            # A sum of 8 rows in another order, and the four steps that follow from it.
            np.testing.assert_allclose(variables[name], value, rtol=1e-5, atol=1e-6)
