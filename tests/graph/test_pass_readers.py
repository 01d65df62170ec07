# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a script writes from the loss in its graph is written from the loss of the global batch."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, REPLICAS, ROWS, Layout

LAYOUTS = (ACCUMULATION, PIPELINE, REPLICAS, BOTH, Layout(stages=2, replicas=1, micro_batches=1))
STEPS = 3
SCRIPTS = {}


def script(function):
    SCRIPTS[function.__name__] = function
    return function


def model(stage, resource):
    """(placeholder, weight, loss) of two stages."""
    x = tf.placeholder(tf.float32, [None], "x")
    with stage(0):
        weight = tf.get_variable("w", [], initializer=tf.zeros_initializer(), use_resource=resource)
        apart = x - weight
    with stage(1):
        loss = tf.reduce_mean(tf.square(apart))
    return x, weight, loss


def counter(name, resource, value=0.0):
    return tf.get_variable(name, [], initializer=tf.constant_initializer(value), trainable=False,
                           use_resource=resource)


def steps(x, fetches, count=STEPS):
    """What `count` runs of `fetches` return, then all variables."""
    with devices.session() as session:
        found = [session.run(fetches, {x: ROWS + number}) for number in range(count)]
        return found, session.run({v.name: v for v in tf.global_variables()})


@script
def learning_rate_that_follows_the_loss(stage, resource):
    x, weight, loss = model(stage, resource)
    rate = tf.minimum(0.2, 1.0 / (1.0 + loss), name="rate")
    train = tf.train.MomentumOptimizer(rate, 0.5).minimize(loss, var_list=[weight])
    return steps(x, [train, rate])


@script
def moving_average_of_the_loss(stage, resource):
    x, weight, loss = model(stage, resource)
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
    average = tf.train.ExponentialMovingAverage(0.7)
    with tf.control_dependencies([loss]):
        following = average.apply([loss])
    return steps(x, [tf.group(train, following)]), following.name


@script
def the_best_loss_so_far(stage, resource):
    x, weight, loss = model(stage, resource)
    best = counter("best", resource, 1e9)
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
    with tf.control_dependencies([train]):
        update = best.assign(tf.minimum(best, tf.sqrt(loss))).op
    return steps(x, [update])


@script
def a_write_without_the_gradients(stage, resource):
    x, weight, loss = model(stage, resource)
    tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
    total = counter("total", resource)
    return steps(x, [total.assign_add(loss * 2.0).op])


@script
def two_optimizers_of_one_loss(stage, resource):
    x, weight, loss = model(stage, resource)
    train = [tf.train.GradientDescentOptimizer(loss * rate).minimize(loss, var_list=[weight])
             for rate in (0.01, 0.02)]
    return steps(x, [train[0]]), steps(x, [train[1]])


@script
def an_entry_of_update_ops(stage, resource):
    x, weight, loss = model(stage, resource)
    last = counter("last", resource)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, last.assign(loss))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
    return steps(x, [train])


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_variables_and_fetches_are_those_of_one_device(name, resource):
    expected = devices.run(None, lambda stage: SCRIPTS[name](stage, resource))
    for layout in LAYOUTS:
        found = devices.run(layout, lambda stage: SCRIPTS[name](stage, resource))
        devices.assert_same(_numbers(found), _numbers(expected))


def _numbers(found):
    return [value for value in tf.nest.flatten(found)
            if value is not None and not isinstance(value, str)]


def test_a_summary_of_what_follows_the_loss_shows_what_was_used():
    def shown(stage):
        x, weight, loss = model(stage, False)
        rate = 0.1 / (1.0 + loss)
        summary = tf.summary.scalar("rate", rate)
        train = tf.train.GradientDescentOptimizer(rate).minimize(loss, var_list=[weight])
        with devices.session() as session:
            text = session.run([summary, train], {x: ROWS})[0]
        return tf.Summary.FromString(text).value[0].simple_value

    np.testing.assert_allclose(devices.run(BOTH, shown), devices.run(None, shown), rtol=1e-6)


def test_a_write_added_after_the_first_run_reads_the_merged_loss_too():
    def train(stage):
        x, weight, loss = model(stage, True)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
        first = counter("first", True)
        write = first.assign(loss).op
        with devices.session() as session:
            session.run([step, write], {x: ROWS})
        second = counter("second", True)
        write = [write, second.assign(3.0 * loss).op]
        with devices.session() as session:
            session.run([step] + write, {x: ROWS})
            return session.run([first, second])

    devices.assert_same(devices.run(ACCUMULATION, train), devices.run(None, train))


def test_metrics_keep_the_first_micro_batch():
    """Local variables are no training state: running them alone takes one batch, as written."""
    def train(stage):
        x, weight, loss = model(stage, True)
        mean, update = tf.metrics.mean(loss)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
        with devices.session() as session:
            session.run(update, {x: ROWS[:3]})  # no multiple of the clones
            alone = session.run(mean)
            session.run([step, update], {x: ROWS})
            return alone

    devices.assert_same(devices.run(ACCUMULATION, train), devices.run(None, train))


def test_a_write_may_wait_for_a_check_of_the_loss():
    """The check is a condition, but nothing that comes out of it is written."""
    def train(stage):
        x, weight, loss = model(stage, False)
        last = counter("last", False)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
        with tf.control_dependencies([tf.debugging.assert_less(loss, 1e9)]):
            write = last.assign(loss).op
        return steps(x, [step, write])[1]

    devices.assert_same(devices.run(ACCUMULATION, train), devices.run(None, train))


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_a_write_inside_a_condition_of_the_loss(resource):
    """The condition and the value are those of the whole batch; so is which branch is taken."""
    def train(stage):
        x, weight, loss = model(stage, resource)
        best = counter("best", resource, 1e9)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[weight])
        write = tf.cond(loss < best, lambda: best.assign(loss), lambda: tf.identity(best))
        return steps(x, [step, write])[1]

    expected = devices.run(None, train)
    assert 0 < expected["best:0"] < 100
    for layout in LAYOUTS:
        devices.assert_same(devices.run(layout, train), expected)
