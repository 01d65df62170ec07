# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The optimizer against the formulas in numpy, for every kind of variable and gradient."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from examples.bert import optimization

STEPS = 4
RATE, DECAY = 0.1, 0.01
ROWS = [3, 0, 3]


class Reference:
    """Adam without bias correction and with decoupled weight decay, in double precision.

    Only 1 - beta is the difference of 32-bit numbers, as in TensorFlow's kernel.
    """

    def __init__(self, value, decay):
        self.value, self.decay = value.astype(np.float64), decay
        self.m = np.zeros_like(self.value)
        self.v = np.zeros_like(self.value)

    def step(self, gradient):
        self.m = 0.9 * self.m + (1 - np.float32(0.9)) * gradient
        self.v = 0.999 * self.v + (1 - np.float32(0.999)) * np.square(gradient)
        self.value -= RATE * (self.m / (np.sqrt(self.v) + 1e-6) + self.decay * self.value)


def gradients():
    random = np.random.RandomState(0)
    return random.randn(STEPS, 3, 2).astype(np.float32)


def dense(rows):
    """The gradient of a table of five rows that `ROWS` looks up."""
    result = np.zeros([5, 2])
    np.add.at(result, ROWS, rows)
    return result


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("name", ["kernel", "bias"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_update_is_that_of_the_formulas(resource, name, sparse):
    start = np.random.RandomState(1).randn(5 if sparse else 3, 2).astype(np.float32)
    reference = Reference(start, 0.0 if name == "bias" else DECAY)
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable(name, initializer=start, use_resource=resource)
        fed = tf.placeholder(tf.float32, [3, 2])
        gradient = tf.IndexedSlices(fed, tf.constant(ROWS), tf.constant([5, 2])) if sparse else fed
        step = tf.train.get_or_create_global_step()
        optimizer = optimization.AdamWeightDecayOptimizer(
            RATE, weight_decay_rate=DECAY, exclude_from_weight_decay=["bias"])
        update = optimizer.apply_gradients([(gradient, variable)], global_step=step)
        session.run(tf.global_variables_initializer())
        for rows in gradients():
            session.run(update, {fed: rows})
            reference.step(dense(rows) if sparse else rows)
        np.testing.assert_allclose(session.run(variable), reference.value, rtol=2e-5, atol=1e-6)
        assert session.run(step) == STEPS
        names = sorted(v.op.name for v in tf.global_variables())
        assert names == sorted([name, name + "/adam_m", name + "/adam_v", "global_step"])
        np.testing.assert_allclose(
            session.run(optimizer.get_slot(variable, "m")), reference.m, rtol=2e-5, atol=1e-7)


def test_the_rate_rises_then_falls_on_the_line_from_the_start():
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        rate = optimization.learning_rate_at(step, 1e-3, 100, 10)
        found = [session.run(rate, {step: done}) for done in (0, 5, 9, 10, 50, 100, 120)]
    np.testing.assert_allclose(found, [0, 5e-4, 9e-4, 9e-4, 5e-4, 0, 0], rtol=1e-6, atol=1e-12)


def test_without_warm_up_the_first_rate_is_the_peak():
    with tf.Graph().as_default(), tf.Session() as session:
        assert session.run(optimization.learning_rate_at(
            tf.constant(0), 1.0, 10, 0)) == pytest.approx(1.0)


def test_a_large_gradient_is_clipped_to_norm_one_over_all_variables():
    with tf.Graph().as_default(), tf.Session() as session:
        first = tf.get_variable("first", initializer=[0.0])
        second = tf.get_variable("second", initializer=[0.0])
        tf.get_variable("unused", initializer=[7.0])
        loss = tf.reduce_sum(30.0 * first + 40.0 * second)
        train_op = optimization.create_train_op(loss, tf.constant(1.0))
        session.run(tf.global_variables_initializer())
        session.run(train_op)
        moments = {v.op.name: v for v in tf.global_variables() if v.op.name.endswith("adam_m")}
        assert session.run(moments["first/adam_m"])[0] == pytest.approx(0.1 * 0.6, rel=1e-5)
        assert session.run(moments["second/adam_m"])[0] == pytest.approx(0.1 * 0.8, rel=1e-5)
        assert "unused/adam_m" not in moments
        assert session.run(tf.train.get_global_step()) == 1
