# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whatever a script does with gradients gives what one device gives with the whole batch.

Every function of `SCRIPTS` is a script. It gets two fed placeholders and the loss of a network of
two stages, and returns numbers. It runs in plain TensorFlow and on several devices.
"""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, SEVERAL

FEATURES, LABELS = devices.data()
SCRIPTS = {}


def script(function):
    SCRIPTS[function.__name__] = function
    return function


@pytest.mark.parametrize("layout", SEVERAL, ids=str)
@pytest.mark.parametrize("name", list(
    # one per script below
    ["generator_and_discriminator", "alternately_and_together", "twice_on_the_same_variables",
     "gradient_penalty", "meta_gradient", "hessians", "hessian_vector_product", "saliency",
     "wrapped_optimizer", "fetched_gradients", "no_gradient", "grad_ys", "stop_gradients",
     "update_ops_of_two_optimizers", "moving_averages", "schedules", "sum_of_losses",
     "per_row_losses", "sparse_gradients", "accumulated_by_the_script", "masters_copy",
     "adam_by_hand", "names_that_look_like_others", "constant_of_dataset_and_model"]))
def test_gives_what_one_device_gives(layout, name):
    found, expected = [devices.run(side, in_model(SCRIPTS[name])) for side in (layout, None)]
    devices.assert_same(found, expected)


def in_model(function):
    def whole(stage):
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

@script
def generator_and_discriminator(x, y, loss):
    """Two losses that oppose each other, each for variables of its own, in turns."""
    with tf.variable_scope("judge"):
        judged = tf.sigmoid(devices.dense(tf.concat([x, y], 1), 1, "verdict"))
    other = tf.reduce_mean(tf.log(judged + 1e-3)) - 0.1 * loss
    one = adam().minimize(loss + tf.reduce_mean(judged), var_list=of_layer("first"))
    two = adam().minimize(other, var_list=of_layer("judge"))
    return steps(x, y, [loss, one], [other, two], [loss, one], [other, two])


@script
def alternately_and_together(x, y, loss):
    one = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss, var_list=of_layer("first"))
    two = sgd(0.05).minimize(2.0 * loss, var_list=of_layer("second"))
    return steps(x, y, one, two, [loss, one, two], [one, two])


@script
def twice_on_the_same_variables(x, y, loss):
    step = tf.train.get_or_create_global_step()
    one = sgd().minimize(loss, step)
    two = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss + tf.nn.l2_loss(of_layer("first")[0]))
    return steps(x, y, one, two, one, [loss, two], step)


@script
def sum_of_losses(x, y, loss):
    other = tf.reduce_mean(tf.abs(x))
    train = sgd().minimize(loss + tf.losses.absolute_difference(y, 0.0 * y + other))
    return steps(x, y, [loss, tf.losses.get_total_loss(), train], train)


# Derivatives of derivatives.

@script
def gradient_penalty(x, y, loss):
    slope, = tf.gradients(loss, x)
    # Rows count with their number, as the loss is a mean over the batch of a clone.
    norms = tf.norm(slope * tf.cast(tf.shape(x)[0], tf.float32), axis=1)
    penalty = tf.reduce_mean(tf.square(norms - 1.0))
    train = adam().minimize(loss + penalty)
    return steps(x, y, train, train)


@script
def meta_gradient(x, y, loss):
    """The loss after a step of one layer, differentiated by the other: linear in the gradient."""
    inner = tf.gradients(loss, of_layer("second"))
    value = loss + tf.add_n([tf.reduce_sum(g * tf.stop_gradient(v))
                             for g, v in zip(inner, of_layer("second"))])
    train = sgd().minimize(value)
    return steps(x, y, train, [value, train])


@script
def hessians(x, y, loss):
    kernel = of_layer("second/bias")
    second, = tf.hessians(loss, kernel)
    return steps(x, y, second, [sgd().minimize(loss)], second)


@script
def hessian_vector_product(x, y, loss):
    kernel = of_layer("first/kernel")[0]
    slope, = tf.gradients(loss, kernel)
    product, = tf.gradients(slope, kernel, grad_ys=tf.ones_like(kernel))
    return steps(x, y, product, [product, sgd().minimize(loss)], product)


@script
def saliency(x, y, loss):
    """Gradients by inputs are left alone: outside of a step they are those of what is fed."""
    slope, = tf.gradients(loss, x)
    train = sgd().minimize(loss)
    return steps(x, y, slope, train, slope)


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


@script
def wrapped_optimizer(x, y, loss):
    step = tf.train.get_or_create_global_step()
    train = Doubling(tf.train.AdagradOptimizer(0.1)).minimize(loss, step)
    return steps(x, y, train, [loss, train], step)


@script
def fetched_gradients(x, y, loss):
    gradients = tf.gradients(loss, tf.trainable_variables())
    clipped, norm = tf.clip_by_global_norm(gradients, 0.1)
    train = sgd().apply_gradients(zip(clipped, tf.trainable_variables()))
    return steps(x, y, gradients, [norm, clipped, train], [gradients, train])


@script
def no_gradient(x, y, loss):
    unused = tf.get_variable("unused", [2])
    assert tf.gradients(loss, [unused]) == [None]
    pairs = sgd().compute_gradients(loss)
    assert [v.op.name for g, v in pairs if g is None] == ["unused"]
    return steps(x, y, sgd().apply_gradients(pairs))


@script
def grad_ys(x, y, loss):
    factor = tf.constant(3.0)
    gradients = tf.gradients([loss, tf.reduce_mean(y) * of_layer("second/bias")[0]],
                             tf.trainable_variables(), [factor, tf.ones([1])])
    return steps(x, y, gradients)


@script
def stop_gradients(x, y, loss):
    hidden = tf.get_default_graph().get_tensor_by_name("first/Tanh:0")
    of_second = tf.gradients(loss, of_layer("second"), stop_gradients=[hidden])
    of_first = tf.gradients(loss, of_layer("first"), stop_gradients=[hidden])
    assert of_first == [None, None]
    return steps(x, y, of_second)


@script
def per_row_losses(x, y, loss):
    """The sum over rows is not the mean over the batch, but the mean of its gradients over rows."""
    rows = tf.reduce_sum(tf.square(x), 1) * of_layer("second/bias")[0] + loss
    gradients = tf.gradients(rows, of_layer("second/bias"))
    count = tf.cast(tf.shape(rows)[0], tf.float32)
    assert gradients[0] is not None and count.shape.ndims == 0
    mean = tf.gradients(tf.reduce_mean(rows), of_layer("second/bias"))
    return steps(x, y, mean)


@script
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


@script
def accumulated_by_the_script(x, y, loss):
    """Gradients are added up in variables, and applied every other run."""
    weights = tf.trainable_variables()
    sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in weights]
    gradients = tf.gradients(loss, weights)
    add = tf.group(*[s.assign_add(g) for s, g in zip(sums, gradients)])
    apply = sgd(0.05).apply_gradients(zip(sums, weights))
    with tf.control_dependencies([apply]):
        clear = tf.group(*[s.assign(tf.zeros(s.shape)) for s in sums])
    return steps(x, y, add, [loss, add], clear, add, add, clear)


@script
def masters_copy(x, y, loss):
    """The script assigns by itself, to the variable and to a copy."""
    bias = of_layer("second/bias")[0]
    copy = tf.Variable(bias.initialized_value(), trainable=False)
    gradient, = tf.gradients(loss, bias)
    following = copy.assign_sub(0.1 * gradient)
    return steps(x, y, bias.assign(following), [loss, bias.assign(following)])


@script
def adam_by_hand(x, y, loss):
    updates = []
    for weight in tf.trainable_variables():
        gradient, = tf.gradients(loss, weight)
        square = tf.Variable(tf.zeros(weight.shape), trainable=False)
        new = 0.9 * square + 0.1 * tf.square(gradient)
        updates += [square.assign(new), weight.assign_sub(0.1 * gradient / (tf.sqrt(new) + 0.1))]
    return steps(x, y, tf.group(*updates), [loss, tf.group(*updates)])


# What goes with a step.

@script
def update_ops_of_two_optimizers(x, y, loss):
    """Each optimizer's step runs all updates, as scripts with batch normalisation have it."""
    mean = tf.get_variable("mean", [3], initializer=tf.zeros_initializer(), trainable=False)
    update = tf.assign_sub(mean, 0.1 * (mean - tf.reduce_mean(x, 0)))
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        one = sgd().minimize(loss, var_list=of_layer("first"))
        two = adam().minimize(loss, var_list=of_layer("second"))
    return steps(x, y, one, two, [loss, two])


@script
def moving_averages(x, y, loss):
    step = tf.train.get_or_create_global_step()
    train = sgd(0.5).minimize(loss, step)
    average = tf.train.ExponentialMovingAverage(0.9, step)
    with tf.control_dependencies([train]):
        train = average.apply(tf.trainable_variables())
    return steps(x, y, train, [loss, train], train)


@script
def schedules(x, y, loss):
    step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(0.2, step, 2, 0.5, staircase=True)
    warm = tf.minimum(1.0, (tf.cast(step, tf.float32) + 1.0) / 3.0)
    train = tf.train.MomentumOptimizer(rate * warm, 0.9).minimize(loss, step)
    return steps(x, y, train, [rate, loss, train], train, [rate, step], train)


@script
def names_that_look_like_others(x, y, loss):
    """A variable "s" beside operations that begin with s; a scope "my_global_step"."""
    short = tf.get_variable("s", [3], initializer=tf.ones_initializer())
    scaled = tf.multiply(x, short, name="scaled")
    with tf.name_scope("my_global_step/gradients"):
        value = tf.reduce_mean(tf.square(tf.reduce_sum(scaled, 1, keepdims=True) - y))
    train = sgd().minimize(value + loss)
    return steps(x, y, [value, train], [value, loss, train])


@script
def constant_of_dataset_and_model(x, y, loss):
    """A tensor that the input pipeline and the model share is no reason to share the model."""
    size = tf.constant(4, tf.int64, name="size")
    numbers = tf.data.Dataset.range(100).map(lambda n: n - n).batch(size)
    zeros = tf.cast(tf.data.make_one_shot_iterator(numbers).get_next(), tf.float32)
    value = loss * tf.cast(size, tf.float32) + tf.reduce_sum(zeros)
    train = sgd(0.02).minimize(value)
    return steps(x, y, [value, train], [value, train])


def test_every_script_is_tested():
    tested = test_gives_what_one_device_gives.pytestmark
    assert set(SCRIPTS) == {name for mark in tested if mark.args[0] == "name"
                            for name in mark.args[1]}


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_dropout_masks_differ_between_clones_and_repeat(layout):
    def masks(stage):
        x = tf.placeholder(tf.float32, [None, 64])
        with stage(0):
            mask = tf.nn.dropout(tf.ones_like(x), rate=0.5, seed=3)
        with stage(1):
            weight = tf.get_variable("w", [64], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(mask * x * weight)
        train = sgd().minimize(loss)
        with contextlib.ExitStack() as stack:
            if layout_of_run is not None:
                import epl
                epl.add_to_collection(mask, epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
            session = stack.enter_context(devices.session())
            return [session.run([mask, train], {x: np.ones([8, 64])})[0] for _ in range(2)]

    runs = []
    for layout_of_run in (layout, layout, None):
        runs.append(devices.run(layout_of_run, masks))
    np.testing.assert_array_equal(runs[0], runs[1])
    rows = 8 // layout.clones
    np.testing.assert_array_equal(runs[0][0][:rows], runs[2][0][:rows])
    drawn = [part.tobytes() for mask in runs[0] for part in np.split(mask, layout.clones)]
    assert len(set(drawn)) == 2 * layout.clones
