# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""It makes no difference whether gradients are built under the UPDATE_OPS or only the step is.

TensorFlow brings a control edge into a `tf.while_loop` as an operation inside of it, which takes
what the update gives.
"""

import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, Layout

FEATURES, LABELS = devices.data(16)


def in_while_loop(hidden):
    return tf.while_loop(lambda step, _: step < 3, lambda step, value: (step + 1, tf.tanh(value)),
                         [0, hidden])[1]


def in_dynamic_rnn(hidden):
    cell = tf.nn.rnn_cell.BasicRNNCell(4)
    with tf.variable_scope("rnn", initializer=tf.constant_initializer(0.1)):
        return tf.nn.dynamic_rnn(cell, tf.stack([hidden, -hidden], 1), dtype=tf.float32)[1]


def in_cond(hidden):
    """A branch that reads a weight of its own, which no update writes."""
    scale = tf.get_variable("scale", [], initializer=tf.constant_initializer(0.7))
    return tf.cond(tf.reduce_mean(hidden) > -9.0, lambda: tf.tanh(hidden * scale), lambda: hidden)


def train(stage, model, resource, gradients_under_updates):
    """Three losses, and all variables after their steps."""
    with tf.variable_scope("", use_resource=resource):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with stage(0):
            hidden = tf.layers.batch_normalization(devices.dense(x, 4, "first"), training=True)
        with stage(1):
            output = devices.dense(model(hidden), 1, "second")
            loss = tf.losses.mean_squared_error(y, output)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
        with tf.control_dependencies(updates if gradients_under_updates else []):
            step = optimizer.minimize(loss)
        step = tf.group(step, *updates)
    with devices.session() as session:
        losses = [session.run([loss, step], {x: FEATURES, y: LABELS})[0] for _ in range(3)]
        return losses, session.run({v.name: v for v in tf.global_variables()})


@pytest.mark.parametrize("layout", [PIPELINE, BOTH, Layout(micro_batches=4)], ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("model", [in_while_loop, in_dynamic_rnn, in_cond])
def test_gradients_under_updates_equal_a_step_under_updates(model, resource, layout):
    found = [devices.run(layout, lambda stage, under=under: train(stage, model, resource, under))
             for under in (True, False)]
    devices.assert_same(*found)
    moving = [value for name, value in found[0][1].items() if "moving_mean" in name]
    assert len(moving) == 1 and abs(moving[0]).max() > 1e-3  # the update has run


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("model", [in_while_loop, in_dynamic_rnn, in_cond])
def test_stages_without_micro_batches_give_what_plain_tensorflow_gives(model, resource):
    """There it does make a difference for ref variables and a `tf.while_loop`."""
    found, expected = [devices.run(layout, lambda stage: train(stage, model, resource, True))
                       for layout in (Layout(stages=2), None)]
    devices.assert_same(found, expected)


@pytest.mark.parametrize("layout", [Layout(stages=2), PIPELINE, BOTH], ids=str)
def test_gradients_of_a_loop_under_a_count_of_steps(layout):
    """The count is of another stage than the loop, into which a control edge brings its update."""
    def script(stage):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with stage(0):
            hidden = in_dynamic_rnn(devices.dense(x, 4, "first"))
        with stage(1):
            loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "second"))
            count = tf.assign_add(tf.get_variable(
                "count", [], initializer=tf.zeros_initializer(), trainable=False), 1.0)
        with tf.control_dependencies([count]):
            step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, step], {x: FEATURES, y: LABELS})[0] for _ in range(3)]
            return losses, session.run({v.name: v for v in tf.global_variables()})

    devices.assert_same(devices.run(layout, script), devices.reference("count of steps", script))


def decay_and_loss_in_one_average(loss, weight):
    """What comes from the batch and what comes from a variable alone are averaged together."""
    average = tf.train.ExponentialMovingAverage(0.9, name="average")
    return average.apply([tf.multiply(tf.nn.l2_loss(weight), 0.1, name="decay"),
                          tf.identity(loss, name="data")])


def a_group_in_a_group(loss, weight):
    return tf.group(tf.group(count(1.0), count(loss)), count(tf.reduce_sum(weight)))


def a_write_of_what_was_written(loss, weight):
    with tf.control_dependencies([count(loss)]):
        total = [v for v in tf.global_variables() if v.op.name == "count_0"][0]
        return count(total.read_value())


def a_write_after_a_write(loss, weight):
    with tf.control_dependencies([count(loss)]):
        return count(1.0)


def one_in_a_branch(loss, weight):
    """Beside one that has nothing of the batch."""
    sums = [tf.get_variable("sum_{}".format(number), [], initializer=tf.zeros_initializer(),
                            trainable=False) for number in range(2)]
    return tf.group(count(loss), tf.cond(
        sums[0] < 100.0, lambda: tf.group(tf.assign_add(sums[0], 1.0),
                                          tf.assign_add(sums[1], tf.reduce_sum(weight))),
        tf.no_op))


def count(value):
    number = sum(v.op.name.startswith("count_") for v in tf.global_variables())
    variable = tf.get_variable("count_{}".format(number), [], initializer=tf.zeros_initializer(),
                               trainable=False)
    return tf.assign_add(variable, value)


@pytest.mark.parametrize("layout", [Layout(replicas=2), PIPELINE, BOTH], ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("updates", [
    decay_and_loss_in_one_average, a_group_in_a_group, a_write_of_what_was_written,
    a_write_after_a_write, one_in_a_branch])
def test_all_that_gradients_wait_for_happens(updates, resource, layout):
    """Also what has nothing of the batch, or is written after what has."""
    def script(stage):
        with tf.variable_scope("", use_resource=resource):
            x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
            with stage(0):
                hidden = devices.dense(x, 4, "first", tf.tanh)
            with stage(1):
                loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "second"))
            weight = tf.trainable_variables()[0]
            with tf.control_dependencies([updates(loss, weight)]):
                # From the values before, whatever the order.
                pairs = tf.train.MomentumOptimizer(0.1, 0.9).compute_gradients(loss)
            step = tf.train.MomentumOptimizer(0.1, 0.9).apply_gradients(pairs)
        with devices.session() as session:
            losses = [session.run([loss, step], {x: FEATURES, y: LABELS})[0] for _ in range(3)]
            return losses, session.run({v.name: v for v in tf.global_variables()})

    found = devices.run(layout, script)
    expected = devices.reference(("wait for", updates, resource), script)
    devices.assert_same(found, expected)
    others = [v for name, v in expected[1].items() if not name.startswith(("first", "second"))]
    assert others and all(abs(value).max() > 0 for value in others)
