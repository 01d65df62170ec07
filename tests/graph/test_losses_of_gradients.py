# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is computed from gradients and differentiated again is right, or refused by name.

Every function builds a step from (x, y, w): fed features and labels, and a weight.
"""

from unittest import mock

import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import REPLICAS, Layout
from tests.graph.test_refusals import refused

FEATURES, LABELS = devices.data(16)
LAYOUTS = pytest.mark.parametrize("layout", [Layout(1, 1, 4), REPLICAS], ids=str)
SUM = {"communication.gradients_reduce_method": "sum"}


def output(x, w):
    return tf.tanh(tf.matmul(x, w))


def mean(x, y, w):
    return tf.reduce_mean(tf.square(output(x, w) - y), name="mean")


def minimize(loss):
    return tf.train.GradientDescentOptimizer(0.05).minimize(loss)


def trained(layout, step, config=None):
    """The weights after two steps."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        y = tf.placeholder(tf.float32, [None, 1])
        with stage(0):
            w = tf.get_variable("w", [3, 1], initializer=tf.ones_initializer(), use_resource=True)
        train = step(x, y, w)
        with devices.session() as session:
            for _ in range(2):
                session.run(train, {x: FEATURES, y: LABELS})
            return session.run({v.name: v for v in tf.global_variables()})
    return devices.run(layout, script, config)


# What one device gives.

def penalty_of_rows(x, y, w):
    """As in WGAN-GP: the norm of each row's own gradient."""
    norm = tf.sqrt(tf.reduce_sum(tf.square(tf.gradients(output(x, w), x)[0]), 1))
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(norm - 1.0)))


def forces(x, y, w):
    energies = output(x, w)
    return minimize(tf.reduce_mean(tf.square(tf.gradients(energies, x)[0] + y)))


def gradients_of_a_sum(x, y, w):
    """A sum has the gradients of its rows."""
    norms = [tf.norm(tf.gradients(total, x)[0], axis=1) for total in (
        tf.reduce_sum(output(x, w)), -tf.reduce_sum(tf.square(output(x, w)), 0)[0],
        tf.reduce_sum(tf.reduce_mean(tf.square(output(x, w)), -1)), tf.nn.l2_loss(output(x, w)))]
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(tf.add_n(norms) - 1.0)))


def penalty_that_is_added_up(x, y, w):
    """A sum over the rows counts for all parts, also if it is one of their gradients."""
    slope, = tf.gradients(output(x, w), x)
    mask = tf.cast(y > 0.5, tf.float32)
    return minimize(mean(x, y, w) + 0.02 * tf.reduce_sum(tf.square(slope)) + 0.1 * tf.reduce_sum(
        mask * tf.square(slope)) / (1.0 + tf.reduce_sum(mask)))


def sign_of_a_mean(x, y, w):
    direction = tf.stop_gradient(tf.sign(tf.gradients(mean(x, y, w), x)[0]))
    return minimize(mean(x, y, w) + mean(x + 0.1 * direction, y, w))


def normalized(x, y, w):
    slope = tf.gradients(mean(x, y, w), x)[0]
    return minimize(mean(x, y, w) + mean(x + 0.1 * tf.nn.l2_normalize(slope, 1), y, w))


def normalized_in_two_steps(x, y, w):
    slope = tf.gradients(mean(x, y, w), x)[0]
    slope /= tf.reduce_max(tf.abs(slope), 1, keepdims=True) + 1e-12
    slope /= tf.sqrt(1e-6 + tf.reduce_sum(tf.pow(slope, 2), 1, keepdims=True))
    return minimize(mean(x, y, w) + mean(x + 0.1 * tf.stop_gradient(slope), y, w))


def linear_in_a_mean(x, y, w):
    slope = tf.gradients(mean(x, y, w), x)[0]
    return minimize(mean(x, y, w) + tf.reduce_sum(slope * tf.stop_gradient(x)) + tf.reduce_sum(
        tf.matmul(slope, y, transpose_a=True)) + tf.reduce_sum(
            tf.gradients(mean(x, y, w), w)[0][1:]))


def gradients_added(x, y, w):
    hidden = output(x, w)
    loss = tf.reduce_mean(tf.square(hidden - y))
    upstream = sum(tf.gradients(factor * loss, hidden)[0] for factor in (1.0, 2.0))
    return w.assign_sub(0.05 * tf.gradients(hidden, w, grad_ys=upstream)[0])


def in_a_loss_and_in_the_step(x, y, w):
    """The same gradients train one weight, and are part of the loss of another one."""
    other = tf.get_variable("other", [3, 1], initializer=tf.ones_initializer(), use_resource=True)
    loss = mean(x, y, w) + 0.1 * tf.reduce_mean(tf.square(output(x, w) * tf.matmul(x, other)))
    slope, = tf.gradients(loss, w)
    of_other, = tf.gradients(loss + tf.reduce_sum(slope * [[1.0], [2.0], [3.0]]), other)
    return tf.group(w.assign_sub(0.05 * slope), other.assign_sub(0.05 * of_other))


def in_grad_ys_and_in_the_step(x, y, w):
    other = tf.get_variable("other", [3, 1], initializer=tf.ones_initializer(), use_resource=True)
    slope, = tf.gradients(mean(x, y, w), w)
    of_other, = tf.gradients(tf.tanh(other), other, grad_ys=slope)
    return tf.group(w.assign_sub(0.05 * slope), other.assign_sub(0.05 * of_other))


@LAYOUTS
@pytest.mark.parametrize("step", [
    penalty_of_rows, forces, gradients_of_a_sum, penalty_that_is_added_up, sign_of_a_mean,
    normalized, normalized_in_two_steps, linear_in_a_mean, gradients_added,
    in_a_loss_and_in_the_step, in_grad_ys_and_in_the_step],
    ids=lambda step: step.__name__)
def test_gives_what_one_device_gives(layout, step):
    devices.assert_same(trained(layout, step), trained(None, step))


def test_products_with_vectors_of_summed_gradients():
    def step(x, y, w):
        loss = tf.reduce_sum(tf.square(output(x, w) - y))
        slope, = tf.gradients(loss, w)
        return minimize(0.01 * loss + 0.01 * tf.reduce_sum(slope * [[1.0], [2.0], [3.0]]))

    devices.assert_same(trained(REPLICAS, step, SUM), trained(None, step))


# What no machine can put together from the parts.

def square_of_weights_gradient(x, y, w):
    slope, = tf.gradients(mean(x, y, w), w)
    return minimize(mean(x, y, w) + tf.reduce_sum(tf.square(slope, name="odd")))


def weights_gradient_used_in_a_layer(x, y, w):
    """Neither the loss nor the second gradients hold the square, their loss does."""
    slope, = tf.gradients(mean(x, y, w), w)
    inner, = tf.gradients(tf.reduce_sum(tf.square(slope, name="odd")), x)
    return minimize(mean(x, y, w) + tf.reduce_sum(inner))


def clipped_weights_gradient(x, y, w):
    other = tf.get_variable("other", [3, 1], use_resource=True)
    slope = tf.minimum(tf.gradients(mean(x, y, w), w)[0], 0.1, name="odd")
    return w.assign_sub(tf.gradients(tf.tanh(other), other, grad_ys=slope)[0])


def penalty_of_a_mean(x, y, w):
    slope, = tf.gradients(mean(x, y, w), x)
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(tf.subtract(slope, 1.0, name="odd"))))


def penalty_of_a_sum_by_a_number_of_rows(x, y, w):
    total = tf.reduce_sum(tf.square(output(x, w) - y)) / tf.cast(tf.shape(x)[0], tf.float32)
    slope, = tf.gradients(tf.identity(total, name="mean"), x)
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(tf.subtract(slope, 1.0, name="odd"))))


def penalty_of_the_square_of_a_sum(x, y, w):
    total = tf.square(tf.matmul(tf.ones_like(y), output(x, w), transpose_a=True))
    slope, = tf.gradients(tf.identity(total[0, 0], name="mean"), x)
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(tf.subtract(slope, 1.0, name="odd"))))


def penalty_of_a_loss_of_the_library(x, y, w):
    slope, = tf.gradients(tf.losses.mean_squared_error(y, output(x, w)), x)
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(tf.subtract(slope, 1.0, name="odd"))))


def mean_of_a_mean(x, y, w):
    slope, = tf.gradients(mean(x, y, w), x)
    return minimize(tf.add(mean(x, y, w), tf.reduce_mean(slope * x), name="odd"))


def step_by_a_mean(x, y, w):
    slope, = tf.gradients(mean(x, y, w), x)
    return minimize(mean(tf.add(x, 0.1 * slope, name="odd"), y, w))


def second_gradient_of_a_mean(x, y, w):
    slope, = tf.gradients(mean(x, y, w), x)
    second, = tf.gradients(tf.identity(slope, name="odd"), x)
    return minimize(mean(x, y, w) + tf.reduce_sum(tf.square(second)))


def clipped_on_the_way(x, y, w):
    hidden = output(x, w)
    upstream, = tf.gradients(tf.reduce_mean(tf.square(hidden - y), name="mean"), hidden)
    upstream = tf.minimum(upstream, 0.05, name="odd")
    return w.assign_sub(tf.gradients(hidden, w, grad_ys=upstream)[0])


def sign_on_the_way(x, y, w):
    hidden = output(x, w)
    upstream, = tf.gradients(tf.reduce_mean(tf.square(hidden - y), name="mean"), hidden)
    return w.assign_sub(tf.gradients(hidden, w, grad_ys=tf.sign(upstream, name="odd"))[0])


def more_added_on_the_way(x, y, w):
    hidden = output(x, w)
    upstream, = tf.gradients(tf.reduce_mean(tf.square(hidden - y), name="mean"), hidden)
    upstream = tf.add(upstream, 0.01 * hidden, name="odd")
    return w.assign_sub(tf.gradients(hidden, w, grad_ys=upstream)[0])


@LAYOUTS
@pytest.mark.parametrize("step, words", [
    (square_of_weights_gradient, ("one micro-batch",)),
    (weights_gradient_used_in_a_layer, ("one micro-batch",)),
    (clipped_weights_gradient, ("one micro-batch",)),
    (penalty_of_a_mean, ("mean:0", "values of the rows")),
    (penalty_of_a_sum_by_a_number_of_rows, ("mean:0", "values of the rows")),
    (penalty_of_the_square_of_a_sum, ("mean:0", "values of the rows")),
    (penalty_of_a_loss_of_the_library, ("values of the rows",)),
    (mean_of_a_mean, ("mean:0", "values of the rows")),
    (step_by_a_mean, ("mean:0", "values of the rows")),
    (second_gradient_of_a_mean, ("mean:0", "values of the rows")),
    (clipped_on_the_way, ("mean:0", "'sum'")),
    (sign_on_the_way, ("mean:0", "'sum'")),
    (more_added_on_the_way, ("mean:0", "'sum'"))],
    ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_not_linear_is_refused_by_name(layout, step, words):
    with refused("'odd'", *words):
        trained(layout, step)


def norm_over_all_rows(x, y, w):
    norm = tf.sqrt(tf.reduce_sum(tf.square(tf.gradients(output(x, w), x)[0])))
    return minimize(mean(x, y, w) + tf.square(norm - 1.0, name="odd"))


def lengths_beside_their_mean(x, y, w):
    """As the regularisation of path lengths."""
    length = tf.norm(tf.gradients(tf.reduce_sum(output(x, w) * y), x)[0], axis=1)
    odd = tf.subtract(length, tf.reduce_mean(length), name="odd")
    return minimize(mean(x, y, w) + tf.reduce_mean(tf.square(odd)))


@pytest.mark.parametrize("step", [norm_over_all_rows, lengths_beside_their_mean],
                         ids=lambda step: step.__name__)
def test_numbers_of_all_rows_of_gradients_are_told_of(step):
    """They are rows like others."""
    with mock.patch.object(tf.logging, "warning") as said:
        trained(REPLICAS, step)
    texts = [call[0][0] for call in said.call_args_list]
    assert any("'odd'" in text and "differs from one device" in text for text in texts), texts


@pytest.mark.parametrize("step", [penalty_of_rows, penalty_that_is_added_up, normalized],
                         ids=lambda step: step.__name__)
def test_what_is_right_is_not_told_of(step):
    with mock.patch.object(tf.logging, "warning") as said:
        trained(REPLICAS, step)
    assert not [call for call in said.call_args_list if "differs" in call[0][0]]


@LAYOUTS
def test_a_sum_that_is_divided_by_the_size_of_a_micro_batch_is_a_mean(layout):
    """The script says how many rows a micro-batch has, as language models do."""
    def step(x, y, w):
        rows = tf.reduce_sum(tf.square(output(x, w) - y), 1)
        plain = not epl.Env.get().initialized or epl.Env.get().cluster.total_gpu_num \
            * epl.Env.get().config.pipeline.num_micro_batch == 1
        return minimize(tf.reduce_sum(rows) / (16.0 if plain else 16.0 / layout.clones))

    devices.assert_same(trained(layout, step), trained(None, step))


def test_gradients_of_a_sum_over_rows_that_are_read():
    """Its gradients are to be summed over all rows, whatever else is averaged."""
    def train(stage):
        data = tf.data.Dataset.from_tensor_slices(FEATURES).batch(4)
        x = tf.data.make_one_shot_iterator(data).get_next()
        with stage(0):
            w = tf.get_variable("w", [3, 1], use_resource=True)
            hidden = output(x, w)
        upstream, = tf.gradients(tf.reduce_sum(tf.square(hidden), name="total"), hidden)
        tf.gradients(hidden, w, grad_ys=tf.negative(upstream, name="odd"))
        devices.session()

    with refused("'odd'", "total:0", "'sum'", error=ValueError):
        devices.run(Layout(1, 1, 4), train)

def test_the_cure_of_what_works_on_gradients_of_a_mean():
    """A sum over the rows has each row's own gradients."""
    def step(x, y, w):
        hidden = output(x, w)
        upstream, = tf.gradients(tf.reduce_sum(tf.square(hidden - y)) / 16.0, hidden)
        upstream = tf.clip_by_value(upstream, -0.05, 0.05)
        return w.assign_sub(tf.gradients(hidden, w, grad_ys=upstream)[0])

    for layout in (Layout(1, 1, 4), REPLICAS):
        devices.assert_same(trained(layout, step, SUM), trained(None, step))


def test_rows_of_a_known_number():
    """A batch whose size is in its shapes: penalties of rows, and a loss with a value for each."""
    def script(loss_of):
        def train(stage):
            data = tf.data.Dataset.from_tensor_slices((FEATURES, LABELS))
            size = 4 if epl.Env.get().config.pipeline.num_micro_batch == 4 else 16
            data = data.repeat().batch(size, drop_remainder=True)
            x, y = tf.data.make_one_shot_iterator(data).get_next()
            with stage(0):
                w = tf.get_variable("w", [3, 1], initializer=tf.ones_initializer())
            update = minimize(loss_of(x, y, w))
            with devices.session() as session:
                session.run(update)
                return session.run(w)
        return train

    def penalty(x, y, w):
        slope = tf.gradients(output(x, w), x)[0]
        return mean(x, y, w) + tf.reduce_mean(tf.square(tf.norm(slope, axis=1) - 1.0))

    layout = Layout(1, 1, 4)
    devices.assert_same(devices.run(layout, script(penalty)), devices.run(None, script(penalty)))
    with refused("per_row:0", "tf.reduce_mean", error=ValueError):
        devices.run(layout, script(lambda x, y, w: tf.square(output(x, w) - y, name="per_row")))
