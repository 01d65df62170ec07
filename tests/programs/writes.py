# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a program writes into variables beside its weights, from the batch or from the loss."""

import tensorflow.compat.v1 as tf

from tests.programs.context import variable
from tests.programs.drawing import ROWS, VOCABULARY, WIDTH

# Built from the loss, so after it.
OF_LOSS = ("loss_average", "last_loss", "best_loss")


def write(context, spec, loss=None):
    """Build an operation that writes."""
    with tf.variable_scope(spec["name"]):
        value = tf.stop_gradient(context.written_value(spec["of"]))
        return _KINDS[spec["kind"]](context, value, loss)


def _state(context, shape, start=0.0, name="state"):
    return variable(name, shape, context.dtype, False, tf.constant_initializer(start))


def moving_mean(context, value, loss):
    state = _state(context, [WIDTH])
    return tf.assign(state, 0.9 * state + 0.1 * tf.reduce_mean(value, 0))


def count(context, value, loss):
    return tf.assign_add(_state(context, []), tf.cast(tf.shape(value)[0], context.dtype))


def total(context, value, loss):
    return tf.assign_add(_state(context, [WIDTH]), tf.reduce_sum(value, 0))


def maximum(context, value, loss):
    state = _state(context, [WIDTH], -100.0)
    return tf.assign(state, tf.maximum(state, tf.reduce_max(value, 0)))


def scatter_add(context, value, loss):
    """Adds to the rows of a table that the rows' ids name, some more than once."""
    return tf.scatter_add(_state(context, [VOCABULARY, WIDTH]), context.inputs["ids"][:, 0], value)


def scatter_update(context, value, loss):
    """A memory with a place for each row of a step."""
    return tf.scatter_update(_state(context, [ROWS, WIDTH]), context.inputs["number"], value)


def scatter_nd(context, value, loss):
    return tf.scatter_nd_add(_state(context, [VOCABULARY, WIDTH]), context.inputs["ids"][:, :1],
                             value)


def step_count(context, value, loss):
    return tf.assign_add(_state(context, []), tf.ones([], context.dtype))


def target(context, value, loss):
    """A slow copy of a weight."""
    weights = tf.trainable_variables()[0]
    state = _state(context, weights.shape)
    return tf.assign(state, 0.5 * state + 0.5 * weights.read_value())


def loss_average(context, value, loss):
    average = tf.train.ExponentialMovingAverage(0.8)
    return average.apply([loss])


def last_loss(context, value, loss):
    return tf.assign(_state(context, []), loss)


def best_loss(context, value, loss):
    state = _state(context, [], 100.0)
    return tf.assign(state, tf.minimum(state, loss))


_KINDS = {"moving_mean": moving_mean, "count": count, "total": total, "maximum": maximum,
          "scatter_add": scatter_add, "scatter_update": scatter_update, "scatter_nd": scatter_nd,
          "step_count": step_count, "target": target, "loss_average": loss_average,
          "last_loss": last_loss, "best_loss": best_loss}


def metric(kind, loss):
    """(value, update) of a metric of `tf.metrics` over the rows of all steps."""
    if kind == "metric_mean":
        return tf.metrics.mean(loss.rows, name=kind)
    if kind == "metric_accuracy":
        return tf.metrics.accuracy(tf.ones_like(loss.hits), loss.hits, name=kind)
    return tf.metrics.root_mean_squared_error(tf.zeros_like(loss.rows), loss.rows, name=kind)
