# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whatever a script does with gradients gives what one device gives with the whole batch.

Every function of `SCRIPTS` is a script. It gets two fed placeholders and the loss of a network of
two stages, and returns numbers. It runs in plain TensorFlow and on several devices.
"""

import itertools
import time

import pytest
import tensorflow.compat.v1 as tf

from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, Layout

FEATURES, LABELS = devices.data()
SCRIPTS = {}


def script(resource):
    """A script, with ref or resource variables.

    Two updates in one run, or an update beside a second reader, need resource variables, on one
    device too: the read of a ref variable may or may not see an update of the same run.
    """
    def register(function):
        SCRIPTS[function.__name__] = function, resource
        return function
    return register


@pytest.fixture(scope="module")
def plain_results():
    return {}


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", SCRIPTS)


@pytest.mark.parametrize("layout", [PIPELINE, Layout(1, 2, 2)], ids=str)
def test_gives_what_one_device_gives(plain_results, layout, name):
    if name not in plain_results:
        plain_results[name] = devices.run(None, in_model(*SCRIPTS[name]))
    devices.assert_same(devices.run(layout, in_model(*SCRIPTS[name])), plain_results[name])


def in_model(function, resource):
    def whole(stage):
        with tf.variable_scope(tf.get_variable_scope(), use_resource=resource):
            x = tf.placeholder(tf.float32, [None, 3], "x")
            y = tf.placeholder(tf.float32, [None, 1], "y")
            loss = tf.losses.mean_squared_error(y, devices.network(x, stage))
            return function(x, y, loss)
    return whole


def steps(x, y, *fetches):
    """Run every one of `fetches` in turn, each on the next 16 rows; then all variables."""
    with devices.session() as session:
        found = []
        for number, fetch in enumerate(fetches):
            rows = slice(16 * number, 16 * number + 16)
            found.append(session.run(fetch, {x: FEATURES[rows], y: LABELS[rows]}))
        return [[value for value in tf.nest.flatten(part) if value is not None]
                for part in found], session.run({v.name: v for v in tf.global_variables()})


def of_layer(name):
    return [v for v in tf.trainable_variables() if v.op.name.startswith(name)]


def sgd(rate=0.1):
    return tf.train.GradientDescentOptimizer(rate)


def adam():
    # A large epsilon: the usual one turns rounding in tiny gradients into whole steps.
    return tf.train.AdamOptimizer(0.05, epsilon=1e-3)


# Several losses, several optimizers.

@script(resource=False)
def generator_and_discriminator(x, y, loss):
    """Two losses that oppose each other, each for variables of its own, in turns."""
    with tf.variable_scope("judge"):
        judged = tf.sigmoid(devices.dense(tf.concat([x, y], 1), 1, "verdict"))
    other = tf.reduce_mean(tf.log(judged + 1e-3)) - 0.1 * loss
    both = loss + tf.reduce_mean(judged)
    one = adam().minimize(both, var_list=of_layer("first"))
    two = adam().minimize(other, var_list=of_layer("judge"))
    return steps(x, y, [both, one], [other, two], [both, one], [other, two])


@script(resource=True)
def alternately_and_together(x, y, loss):
    one = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss, var_list=of_layer("first"))
    two = sgd(0.05).minimize(2.0 * loss, var_list=of_layer("second"))
    return steps(x, y, one, two, [loss, one, two], [one, two])


@script(resource=True)
def twice_on_the_same_variables(x, y, loss):
    step = tf.train.get_or_create_global_step()
    one = sgd().minimize(loss, step)
    two = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss + tf.nn.l2_loss(of_layer("first")[0]))
    return steps(x, y, one, two, [loss, one], two, step)


# Derivatives of derivatives.

@script(resource=False)
def gradient_penalty(x, y, loss):
    output = tf.get_default_graph().get_tensor_by_name("second/BiasAdd:0")
    norms = tf.norm(tf.gradients(output, x)[0], axis=1)  # a row's own gradients
    penalty = tf.reduce_mean(tf.square(norms - 1.0))
    train = adam().minimize(loss + penalty)
    return steps(x, y, train, train)


@script(resource=True)
def meta_gradient(x, y, loss):
    """A loss with a gradient in it, linearly: its mean over clones is that of the whole batch."""
    weights = tf.trainable_variables()
    inner = tf.gradients(loss, weights)
    value = loss + tf.add_n([tf.reduce_sum(g * tf.stop_gradient(v))
                             for g, v in zip(inner, weights)])
    train = sgd().minimize(value)
    return steps(x, y, train, [value, train])


@script(resource=True)
def hessians(x, y, loss):
    kernel = of_layer("second/bias")
    second, = tf.hessians(loss, kernel)
    return steps(x, y, second, [sgd().minimize(loss)], second)


@script(resource=True)
def hessian_vector_product(x, y, loss):
    kernel = of_layer("first/kernel")[0]
    slope, = tf.gradients(loss, kernel)
    product, = tf.gradients(slope, kernel, grad_ys=tf.ones_like(kernel))
    return steps(x, y, product, [product, sgd().minimize(loss)], product)


@script(resource=False)
def saliency(x, y, loss):
    """Gradients by inputs are left alone: outside of a step they are those of what is fed."""
    slope, = tf.gradients(loss, x)
    return steps(x, y, slope, sgd().minimize(loss), slope)


# Gradients in the script's hands.

class Doubling(tf.train.Optimizer):
    """An optimizer around another one, which gets gradients twice as large."""

    def __init__(self, inner):
        super().__init__(False, "Doubling")
        self._inner = inner

    def compute_gradients(self, *args, **kwargs):
        return [(None if g is None else 2.0 * g, v)
                for g, v in self._inner.compute_gradients(*args, **kwargs)]

    def apply_gradients(self, *args, **kwargs):
        return self._inner.apply_gradients(*args, **kwargs)


@script(resource=False)
def wrapped_optimizer(x, y, loss):
    step = tf.train.get_or_create_global_step()
    train = Doubling(tf.train.AdagradOptimizer(0.1)).minimize(loss, step)
    return steps(x, y, train, [loss, train], step)


@script(resource=True)
def fetched_gradients(x, y, loss):
    gradients = tf.gradients(loss, tf.trainable_variables())
    clipped, norm = tf.clip_by_global_norm(gradients, 0.1)
    train = sgd().apply_gradients(zip(clipped, tf.trainable_variables()))
    return steps(x, y, gradients, [norm, clipped, train], [gradients, train])


@script(resource=False)
def no_gradient(x, y, loss):
    unused = tf.get_variable("unused", [2])
    assert tf.gradients(loss, [unused]) == [None]
    pairs = sgd().compute_gradients(loss)
    assert [v.op.name for g, v in pairs if g is None] == ["unused"]
    return steps(x, y, sgd().apply_gradients(pairs))


@script(resource=False)
def grad_ys_and_stop_gradients(x, y, loss):
    hidden = tf.get_default_graph().get_tensor_by_name("first/Tanh:0")
    assert tf.gradients(loss, of_layer("first"), stop_gradients=[hidden]) == [None, None]
    factor = tf.constant(3.0)
    gradients = tf.gradients([loss, tf.reduce_mean(y) * of_layer("second/bias")[0]],
                             tf.trainable_variables(), [factor, tf.ones([1])])
    return steps(x, y, gradients, tf.gradients(loss, of_layer("second"), stop_gradients=[hidden]))


@script(resource=True)
def sparse_gradients(x, y, loss):
    table = tf.get_variable("table", [7, 2], initializer=tf.ones_initializer())
    rows = tf.nn.embedding_lookup(table, tf.cast(tf.abs(3 * x[:, 0]), tf.int32) % 7)
    value = loss + tf.reduce_mean(tf.square(tf.reduce_sum(rows, 1, keepdims=True) - y))
    gradients, norm = tf.clip_by_global_norm(tf.gradients(value, tf.trainable_variables()), 1.0)
    slices = [g for g in gradients if isinstance(g, tf.IndexedSlices)]
    assert len(slices) == 1
    train = tf.train.AdagradOptimizer(0.1).apply_gradients(
        zip(gradients, tf.trainable_variables()))
    return steps(x, y, [value, train], [norm, slices[0].values, slices[0].indices, train], train)


@script(resource=True)
def adam_by_hand(x, y, loss):
    updates = []
    for weight in tf.trainable_variables():
        gradient, = tf.gradients(loss, weight)
        square = tf.Variable(tf.zeros(weight.shape), trainable=False)
        new = 0.9 * square + 0.1 * tf.square(gradient)
        updates += [square.assign(new), weight.assign_sub(0.1 * gradient / (tf.sqrt(new) + 0.1))]
    return steps(x, y, tf.group(*updates), [loss, tf.group(*updates)])


# What goes with a step.

@script(resource=False)
def update_ops_of_two_optimizers(x, y, loss):
    """Each optimizer's step runs all updates, as scripts with batch normalisation have it."""
    mean = tf.get_variable("mean", [3], initializer=tf.zeros_initializer(), trainable=False)
    update = tf.assign_sub(mean, 0.1 * (mean - tf.reduce_mean(x, 0)))
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        one = sgd().minimize(loss, var_list=of_layer("first"))
        two = adam().minimize(loss, var_list=of_layer("second"))
    return steps(x, y, one, two, [loss, two])


@script(resource=True)
def moving_averages(x, y, loss):
    step = tf.train.get_or_create_global_step()
    train = sgd(0.5).minimize(loss, step)
    average = tf.train.ExponentialMovingAverage(0.9, step)
    with tf.control_dependencies([train]):
        train = average.apply(tf.trainable_variables())
    return steps(x, y, train, [loss, train], train)


@script(resource=False)
def schedules(x, y, loss):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(0.2, step, 2, 0.5, staircase=True)
    warm = tf.minimum(1.0, (tf.cast(step, tf.float32) + 1.0) / 3.0)
    train = tf.train.MomentumOptimizer(rate * warm, 0.9).minimize(loss, step)
    return steps(x, y, train, [rate, loss, train], train, [rate, step], train)


@script(resource=True)
def same_draws_for_two_gradients(x, y, loss):
    """Two gradients of one loss, with an unseeded mask in it; they differ by nothing."""
    one, two = [tf.get_variable(name, [3], initializer=tf.ones_initializer()) for name in "ab"]
    masked = loss + tf.reduce_mean(tf.nn.dropout(tf.ones_like(x), rate=0.5) * x * (one + two))
    of_one, of_two = tf.gradients(masked, one)[0], tf.gradients(masked, two)[0]
    return steps(x, y, tf.group(of_one), of_one - of_two, of_one - of_two)


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_two_optimizers_in_one_step_see_the_variables_from_before_it(layout):
    """With ref variables: the loss of a step is that of its beginning, as on one device."""
    calls = itertools.count()

    def slowly(rows):
        time.sleep(0.02 * (next(calls) % 3))  # some clones lag behind others
        return rows

    with devices.started(layout):
        x = tf.placeholder(tf.float32, [None, 3])
        slow = tf.reshape(tf.py_func(slowly, [x], tf.float32), [-1, 3])
        loss = tf.reduce_mean(tf.square(devices.network(slow, devices.stages(layout))))
        train = [sgd().minimize(loss, var_list=of_layer(name)) for name in ("second", "first")]
        with devices.session() as session:
            for _ in range(8):
                before = session.run(loss, {x: FEATURES[:16]})
                found = session.run([loss, train], {x: FEATURES[:16]})[0]
                assert found == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("layout, refused", [
    (Layout(1, 1, 2), True), (Layout(1, 2, 1), True), (Layout(2, 1, 1), False)], ids=str)
def test_gradients_that_wait_for_another_step_are_refused_where_that_has_several_parts(
        layout, refused):
    with devices.started(layout):
        x = tf.placeholder(tf.float32, [None, 3])
        loss = tf.reduce_mean(tf.square(devices.network(x, devices.stages(layout))))
        first = sgd().minimize(loss, var_list=of_layer("second"))
        with tf.control_dependencies([first]):
            train = sgd().minimize(loss, var_list=of_layer("first"))
        if refused:
            with pytest.raises(NotImplementedError, match=r"apply_gradients\) inside"):
                rewrite(x.graph)
            return
        with devices.session() as session:
            session.run(train, {x: FEATURES[:16]})
