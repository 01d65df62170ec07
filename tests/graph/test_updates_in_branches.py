# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What waits for an update inside of a branch of `tf.cond`, or in the gradients of one.

In a branch that is not taken nothing runs, and what waits for something there runs neither: a step
that waited for it would do nothing, without a word.
"""

import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import BOTH, Layout

FEATURES, LABELS = devices.data(16)
LAYOUTS = [Layout(micro_batches=2), Layout(replicas=2), BOTH]


def in_turns(step):
    return tf.equal(step % 2, 0)


def by_the_batch(hidden):
    return tf.reduce_max(hidden) > -9.0  # the same in every part of the batch


def branches(hidden, step):
    """Every branch is taken in one step and left in another."""
    scale = tf.get_variable("scale", [], initializer=tf.constant_initializer(0.7))
    hidden = tf.cond(in_turns(step), lambda: tf.tanh(hidden * scale), lambda: hidden * 0.5)
    return tf.cond(in_turns(step), lambda: hidden, lambda: tf.sin(hidden))


def nested(hidden, step):
    return tf.cond(in_turns(step), lambda: tf.tanh(hidden), lambda: tf.cond(
        step > 1, lambda: hidden * 2.0, lambda: tf.sin(hidden)))


def averaged(hidden, step, decide=lambda hidden, step: in_turns(step)):
    """As in batch normalization by hand, the branch waits for its own moving average."""
    average = tf.get_variable("average", [4], trainable=False, initializer=tf.zeros_initializer())

    def moved():
        update = tf.assign(average, average * 0.9 + tf.reduce_mean(hidden, 0) * 0.1)
        with tf.control_dependencies([update]):
            return tf.identity(hidden) * 1.5

    return tf.cond(decide(hidden, step), moved, lambda: hidden)


def averaged_by_the_batch(hidden, step):
    return averaged(hidden, step, lambda hidden, step: by_the_batch(hidden))


def averaged_in_a_nested_branch(hidden, step):
    return tf.cond(step < 2, lambda: averaged(hidden, step), lambda: hidden)


def train(stage, model, resource, gradients_under_updates):
    """Four losses, and all variables after their steps."""
    with tf.variable_scope("", use_resource=resource):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        step = tf.train.get_or_create_global_step()
        with stage(0):
            count = tf.get_variable("seen", [], trainable=False,
                                    initializer=tf.zeros_initializer())
            update = tf.assign_add(count, tf.reduce_sum(x))
            hidden = devices.dense(x, 4, "first")
        with stage(1):
            output = devices.dense(model(hidden, step), 1, "second")
            loss = tf.losses.mean_squared_error(y, output)
        optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
        with tf.control_dependencies([update] if gradients_under_updates else []):
            gradients = optimizer.compute_gradients(loss)
        with tf.control_dependencies([update]):
            train_op = optimizer.apply_gradients(gradients, step)
    with devices.session() as session:
        losses = [session.run([loss, train_op], {x: FEATURES, y: LABELS})[0] for _ in range(4)]
        return losses, session.run({v.name: v for v in tf.global_variables()})


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("model", [
    branches, nested, averaged, averaged_by_the_batch, averaged_in_a_nested_branch])
def test_a_step_runs_whatever_branch_is_taken(model, resource, layout):
    def script(stage):
        return train(stage, model, resource, True)

    found = devices.run(layout, script)
    expected = devices.reference(("branches", model, resource), script)
    devices.assert_same(found, expected)
    assert expected[1]["global_step:0"] == 4
    if model not in (branches, nested):
        assert abs(expected[1]["average:0"]).max() > 1e-3


def test_outside_of_a_step_a_branch_waits_for_its_update_as_ever():
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 4])
        with stage(0):
            step = tf.train.get_or_create_global_step()
            weight = tf.get_variable("w", [4, 1], initializer=tf.ones_initializer())
            hidden = averaged(x, step)
            loss = tf.reduce_mean(tf.square(tf.matmul(hidden, weight)))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, step)
        with devices.session() as session:
            session.run(loss, {x: FEATURES[:, :1] * [[1.0, 2.0, 3.0, 4.0]]})
            return session.run({v.name: v for v in tf.global_variables()})

    devices.assert_same(devices.run(Layout(micro_batches=2), script), devices.run(None, script))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_losses_in_turns_whose_gradients_wait_for_one_update(layout):
    """The second loss makes the first one's step be looked at once more."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            mean = tf.get_variable("mean", [3], trainable=False,
                                   initializer=tf.zeros_initializer())
            update = tf.assign(mean, mean * 0.5 + tf.reduce_mean(x, 0))
            hidden = devices.dense(x, 4, "first")
        with stage(1):
            output = devices.dense(hidden, 1, "second")
            losses = [tf.losses.mean_squared_error(output, tf.sin(output)),
                      tf.reduce_sum(output)]
        optimizer = tf.train.GradientDescentOptimizer(0.01)
        with tf.control_dependencies([update]):
            gradients = [optimizer.compute_gradients(
                loss, gate_gradients=optimizer.GATE_OP) for loss in losses]
        steps = [optimizer.apply_gradients(each) for each in gradients]
        with devices.session() as session:
            for number in range(4):
                session.run(steps[number % 2], {x: FEATURES})
            return session.run({v.name: v for v in tf.global_variables()})

    devices.assert_same(devices.run(layout, script), devices.reference("in turns", script))
