# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What steps of two workers write from their batches is what one device writes."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import start
from tests.graph import devices
from tests.support import loopback

ROWS, STEPS = np.arange(32, dtype=np.float32).reshape(8, 4), 3
MICRO_BATCHES = pytest.mark.parametrize("micro_batches", [1, 2])


def compare(trained, micro_batches):
    """`trained(rows, rows of a micro-batch)` in plain TensorFlow, and on two workers."""
    def work(rank):
        start({"pipeline.num_micro_batch": micro_batches})
        return trained(ROWS[4 * rank:4 * rank + 4], 4 // micro_batches)

    with devices.plain():
        expected = trained(ROWS, 8)
    for found in loopback.run(work):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def step_of(x):
    weights = tf.get_variable("weights", [4], initializer=tf.ones_initializer())
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(x * weights, 1)))
    return tf.train.GradientDescentOptimizer(1e-4).minimize(loss)


def run(step, values):
    with devices.session() as session:
        for _ in range(STEPS):
            session.run(step)
        return session.run(values)


@MICRO_BATCHES
def test_rows_of_known_number_are_counted_behind_the_step(micro_batches):
    """Nothing but its number is taken of what stands behind the step there."""
    def trained(own, size):
        dataset = tf.data.Dataset.from_tensor_slices(own).repeat().batch(size, drop_remainder=True)
        x = tf.data.make_one_shot_iterator(dataset).get_next()
        count = tf.get_variable("count", [], trainable=False, initializer=tf.zeros_initializer())
        with tf.control_dependencies([step_of(x)]):
            value = tf.stop_gradient(x)
            step = tf.assign_add(count, tf.cast(tf.shape(value)[0], tf.float32))
        return [run(step, count)]

    compare(trained, micro_batches)


@MICRO_BATCHES
def test_rows_of_an_iterator_that_the_graph_names(micro_batches):
    def trained(own, size):
        dataset = tf.data.Dataset.from_tensor_slices(own).repeat().batch(size)
        source = tf.data.make_one_shot_iterator(dataset)
        x = tf.data.Iterator.from_string_handle(
            source.string_handle(), tf.data.get_output_types(dataset),
            tf.data.get_output_shapes(dataset)).get_next()
        highest, total = (tf.get_variable(name, [4], trainable=False,
                                          initializer=tf.zeros_initializer())
                          for name in ("highest", "total"))
        step = tf.group(step_of(x), tf.assign(highest, tf.maximum(highest, tf.reduce_max(x, 0))),
                        tf.assign_add(total, tf.reduce_sum(x, 0)))
        return run(step, [highest, total])

    compare(trained, micro_batches)
