# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradient functions of a script get gradients of the size that one device has."""

from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, assert_same, reference, unoptimized
from tests.support import loopback

ROWS = np.random.RandomState(5).randn(16, 3).astype(np.float32)

# Not linear, row by row. The gradients by the rows' values are about 0.05.
BY_ROW = {
    "clipped": lambda g: tf.clip_by_value(g, -0.01, 0.01),
    "clipped_by_norm": lambda g: tf.clip_by_norm(g, 0.01, axes=[1]),
    "signs": lambda g: 0.01 * tf.sign(g),
    "directions": lambda g: g / (tf.norm(g, axis=1, keepdims=True) + 1e-6),
    "quantized": lambda g: tf.round(g * 64.0) / 64.0,
}
ACROSS_ROWS = {
    "norm_of_all": lambda g: tf.clip_by_norm(g, 0.05),
    "largest_of_all": lambda g: g / tf.reduce_max(tf.abs(g)),
    "times_rows": lambda g: g * tf.cast(tf.shape(g)[0], tf.float32),
}
LINEAR = {
    "reversed": lambda g: -0.3 * g,
    "straight_through": tf.identity,
}


def through(function, tensor):
    """`tensor`, whose gradient goes through `function`."""
    return tf.custom_gradient(lambda t: (tf.identity(t), function))(tensor)


def train(stage, change, rows=ROWS, of_loss=tf.identity):
    """Losses and variables of three steps; `change` is applied to what the first stage gives."""
    x = tf.placeholder(tf.float32, [None, 3])
    with stage(0):
        hidden = change(devices.dense(x, 4, "first", tf.tanh))
    with stage(1):
        loss = of_loss(
            tf.reduce_mean(tf.square(devices.dense(hidden, 1, "second")[:, 0] - x[:, 1])))
    step = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    with devices.session() as session:
        losses = [session.run([loss, step], {x: rows})[0] for _ in range(3)]
        return losses, session.run(tf.global_variables())


def of_one_device(name, change):
    return reference(("gradient functions", name), lambda stage: train(stage, change))


@pytest.mark.parametrize("layout", [devices.Layout(micro_batches=4), BOTH], ids=str)
@pytest.mark.parametrize("name", sorted(BY_ROW))
def test_row_by_row(name, layout):
    def change(hidden):
        return through(BY_ROW[name], hidden)

    with unoptimized(), mock.patch.object(tf.logging, "warning") as said:
        found = devices.run(layout, lambda stage: train(stage, change))
    assert not said.called
    # A direction has 20 times the rounding of a gradient of size 0.05.
    assert_same(found, of_one_device(name, change),
                absolute=devices.ABSOLUTE * (20 if name == "directions" else 1))


def test_the_gradient_of_a_mean_has_the_size_of_one_device_already():
    def script(stage):
        return train(stage, tf.identity, of_loss=lambda loss: through(
            lambda g: tf.clip_by_value(g, -0.5, 0.5), loss))

    with unoptimized(), mock.patch.object(tf.logging, "warning") as said:
        found = devices.run(BOTH, script)
    assert not said.called
    assert_same(found, devices.run(None, script))


def test_on_two_workers():
    def change(hidden):
        return through(BY_ROW["clipped"], hidden)

    def work(rank):
        epl.init()
        epl.set_default_strategy(epl.replicate(1))
        tf.set_random_seed(11)
        with unoptimized():
            return train(devices.stages(None), change, ROWS[rank::2])

    for found in loopback.run(work):
        assert_same(found, of_one_device("clipped", change))


def test_an_override_of_a_gradient():
    tf.RegisterGradient("epl_test_clipped")(lambda op, g: BY_ROW["clipped"](g))

    def change(hidden):
        with tf.get_default_graph().gradient_override_map({"Identity": "epl_test_clipped"}):
            return tf.identity(hidden)

    with unoptimized():
        found = devices.run(BOTH, lambda stage: train(stage, change))
    assert_same(found, of_one_device("override", change))


def test_one_inside_of_another():
    def change(hidden):
        return through(BY_ROW["clipped"], tf.square(through(BY_ROW["signs"], hidden)))

    with unoptimized():
        found = devices.run(ACCUMULATION, lambda stage: train(stage, change))
    assert_same(found, of_one_device("two", change))


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_linear_ones_are_left_alone(name):
    with unoptimized(), mock.patch.object(tf.logging, "warning") as said:
        made = devices.run(ACCUMULATION, lambda stage: (
            train(stage, lambda hidden: through(LINEAR[name], hidden)),
            [op.name for op in tf.get_default_graph().get_operations()])[1])
    assert not said.called
    assert not [op for op in made if "/gradient_functions/" in op]


def clipped_weight(hidden):
    """The gradient of a weight is that of all rows, of which no part knows."""
    scale = tf.get_variable("scale", [4], initializer=tf.ones_initializer())
    return hidden * through(BY_ROW["clipped"], scale)


def in_a_loop(hidden):
    return tf.while_loop(lambda n, _: n < 2, lambda n, inner: (
        n + 1, through(BY_ROW["clipped"], tf.tanh(inner))), [0, hidden])[1]


@pytest.mark.parametrize("change", [clipped_weight, in_a_loop] + [
    lambda hidden, name=name: through(ACROSS_ROWS[name], hidden) for name in sorted(ACROSS_ROWS)],
    ids=["weight", "loop"] + sorted(ACROSS_ROWS))
def test_what_does_not_work_row_by_row_is_named(change):
    with unoptimized(), mock.patch.object(tf.logging, "warning") as said:
        devices.run(ACCUMULATION, lambda stage: train(stage, change))
    found = [call[0][0] for call in said.call_args_list]
    assert len(found) == 1 and "gradient function" in found[0]
    assert "test_gradient_functions.py:" in found[0]
