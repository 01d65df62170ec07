# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""AdamW, and layers that wait for tensor parallelism."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.ops.adam_weight_decay_optimizer import AdamWeightDecayOptimizer
from epl.ops.bridging_layer import Replica2Replica, Replica2Split, Split2Split
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, ONE, REPLICAS

RATE, DECAY, EPSILON = 0.1, 0.05, 1e-3


def in_numpy(weight, gradients, decay):
    mean = square = np.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient ** 2
        rate = RATE * np.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step)
        weight = weight - rate * (mean / (np.sqrt(square) + EPSILON) + decay * weight)
    return weight


def optimizer(**options):
    return AdamWeightDecayOptimizer(RATE, DECAY, epsilon=EPSILON, **options)


@pytest.mark.parametrize("resource", [False, True])
def test_dense_and_sparse_gradients_are_those_of_the_paper(resource):
    random = np.random.RandomState(0)
    start, rows = random.randn(6, 2), [[0, 2, 2], [1, 2, 5], [0, 0, 0]]
    with tf.Graph().as_default():
        weight = tf.get_variable("kernel", initializer=start, use_resource=resource)
        table = tf.get_variable("table", initializer=start, use_resource=resource)
        bias = tf.get_variable("bias", initializer=start[0], use_resource=resource)
        x, ids = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [3])
        loss = tf.reduce_sum(weight * x) + tf.reduce_sum(tf.nn.embedding_lookup(table, ids)) \
            + tf.reduce_sum(bias * x)
        train = optimizer(exclude_from_weight_decay=["bias"]).minimize(loss)
        inputs = random.randn(3, 2)
        with devices.session() as session:
            for number in range(3):
                session.run(train, {x: inputs[number], ids: rows[number]})
            found = session.run([weight, table, bias])
            slots = sorted(v.op.name for v in tf.global_variables())
    counts = [np.bincount(each, minlength=6)[:, np.newaxis] * np.ones([1, 2]) for each in rows]
    for value, expected in zip(found, (
            in_numpy(start, [np.tile(each, [6, 1]) for each in inputs], DECAY),
            in_numpy(start, counts, DECAY), in_numpy(start[0], inputs, 0))):
        # The constants are 32-bit floats, 1 - 0.999 has an error of 1e-5: three steps of 0.1.
        np.testing.assert_allclose(value, expected, rtol=0, atol=3e-6)
    assert slots[-2:] == ["table/AdamWeightDecayOptimizer", "table/AdamWeightDecayOptimizer_1"]
    assert {"beta1_power", "beta2_power"} <= set(slots)


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS, BOTH])
def test_parallel_training_equals_plain_tensorflow(layout):
    features, labels = devices.data(64)

    def script(stage):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with stage(0):
            hidden = devices.dense(x, 5, "one", tf.tanh)
        with stage(1):
            loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "two"))
        train = optimizer().minimize(loss)
        with devices.session() as session:
            for rows in np.split(np.arange(64), 4):
                session.run(train, {x: features[rows], y: labels[rows]})
            return session.run(tf.trainable_variables())

    devices.assert_same(devices.run(layout, script), devices.run(None, script),
                        absolute=5e-6)  # epsilon divides differences of the last digit


def test_bridges():
    with devices.started(ONE):
        one = tf.constant(1.0)
        assert Replica2Split("one")(one) is one and Replica2Split("one")(None) is None
    with devices.started(REPLICAS):
        with pytest.raises(NotImplementedError, match="'one'.*on 2 devices is not available"):
            Replica2Split("one")(tf.constant(1.0))
        for never in (Replica2Replica, Split2Split):
            with pytest.raises(NotImplementedError, match=never.__name__):
                never("one")(tf.constant(1.0))
