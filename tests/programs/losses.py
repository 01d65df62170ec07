# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses that are means over rows, and the training operations that minimize them."""

from typing import Any, List, NamedTuple

import tensorflow.compat.v1 as tf

from tests.programs.context import variable
from tests.programs.drawing import CLASSES, STEPS
from tests.support import layers


class Loss(NamedTuple):
    """A loss and what it is made of.

    Attributes:
      name: of the loss in the program.
      value: the differentiated tensor.
      parts: scalars whose sum it is.
      rows: a value per row, [rows], of its first part.
      outputs: [rows, ...], what the model says about each row.
      hits: 1.0 for each row that the model is right about, else 0.0.
    """

    name: str
    value: Any
    parts: List[Any]
    rows: Any
    outputs: Any
    hits: Any


def loss(context, spec):
    """Build a loss on top of the blocks."""
    with tf.variable_scope(spec["name"]):
        built = [_part(context, part, "head{}".format(number))
                 for number, part in enumerate(spec["parts"])]
        parts = [value * part["weight"] for (value, *_), part in zip(built, spec["parts"])]
        if spec["decay"] and tf.losses.get_regularization_losses():
            parts.append(tf.losses.get_regularization_loss())
        parts = [tf.cast(part, context.dtype) for part in parts]
        value = tf.add_n(parts, "loss") if len(parts) > 1 else parts[0]
    return Loss(spec["name"], value, parts, *built[0][1:])


def _part(context, spec, name):
    """(mean over rows, value per row, outputs, hits)."""
    hidden = {"last": context.values[-1], "first": context.values[min(1, len(context.values) - 1)],
              "all": tf.add_n(context.values)}[spec["of"]]
    # No block is for nothing: a stage that no loss depends on would be an error.
    hidden = tf.add_n([hidden] + [0.1 * value for value in context.unused])
    inputs = context.inputs
    if spec["kind"] == "cross_entropy":
        outputs = layers.dense(hidden, CLASSES, name=name)
        rows = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=inputs["label"],
                                                              logits=outputs)
        hits = tf.equal(tf.argmax(outputs, 1, output_type=tf.int32), inputs["label"])
        return tf.reduce_mean(rows), rows, outputs, tf.cast(hits, context.dtype)
    outputs = layers.dense(hidden, 1, name=name)
    difference = tf.squeeze(outputs - inputs["y"], 1)
    rows = {"weighted": lambda: inputs["importance"] * tf.square(difference),
            "huber": lambda: tf.sqrt(1.0 + tf.square(difference)) - 1.0}.get(
                spec["kind"], lambda: tf.square(difference))()
    mean = tf.reduce_mean(rows)
    if spec["kind"] == "squares_of_tf_losses" and context.dtype == tf.float32:  # it knows no other
        mean = tf.losses.mean_squared_error(inputs["y"], outputs)
    if spec["kind"] == "sum_over_rows":
        mean = tf.reduce_sum(rows) / tf.cast(tf.shape(rows)[0], context.dtype)
    if spec["kind"] in _WHOLE:
        mean = _WHOLE[spec["kind"]](rows, inputs["importance"])
    return mean, rows, outputs, tf.cast(rows < 1.0, context.dtype)


# Losses that are no mean of the parts' losses.
_WHOLE = {
    "masked": lambda rows, weights: tf.reduce_sum(rows * weights) / (
        tf.reduce_sum(weights) + 1e-3),
    # It knows no other type; what is rounded to that is not as close as the others are.
    "masked_by_library": lambda rows, weights: tf.losses.compute_weighted_loss(rows, weights)
    if rows.dtype == tf.float32 else tf.div_no_nan(
        tf.reduce_sum(rows * weights), tf.reduce_sum(weights * tf.ones_like(rows))),
    "normalised_weights": lambda rows, weights: tf.reduce_mean(
        rows * (weights / tf.reduce_mean(weights))),
    "sum": lambda rows, weights: 0.05 * tf.reduce_sum(rows),
    "chosen": lambda rows, weights: tf.reduce_mean(_chosen(rows, weights)),
    "chosen_by_size": lambda rows, weights: tf.reduce_sum(_chosen(rows, weights)) / tf.cast(
        tf.size(_chosen(weights, weights)), rows.dtype),
}


def _chosen(rows, weights):
    return tf.boolean_mask(rows, weights > 1.0)


class Training(NamedTuple):
    """The update of one loss.

    Attributes:
      operation: runs the step.
      rate: the learning rate, a tensor.
      norm: global norm of the gradients.
    """

    operation: Any
    rate: Any
    norm: Any


def gradients(context, spec, value, variables):
    """Gradients as a script asks for them: [(gradient, variable)], and the optimizer."""
    rate = tf.cast(_rate(context, spec), context.dtype)
    optimizer = _OPTIMIZERS[spec["optimizer"]](rate)
    if spec["style"] == "gradients":
        pairs = list(zip(tf.gradients(value, variables), variables))
    else:
        gate = {"compute": optimizer.GATE_OP, "gated": optimizer.GATE_GRAPH}[spec["style"]]
        pairs = optimizer.compute_gradients(value, variables, gate_gradients=gate)
    pairs = [(gradient, v) for gradient, v in pairs if gradient is not None]
    if not context.program["resource"]:
        # An update must not overtake the last reader of a weight's old value.
        found, variables = zip(*pairs)
        pairs = list(zip(tf.tuple(found), variables))
    return pairs, optimizer, rate


def apply(context, spec, pairs, optimizer, rate, step):
    """The training operation: what happens to the gradients, and after the update."""
    norm = tf.global_norm([gradient for gradient, _ in pairs])
    operation = optimizer.apply_gradients(_clipped(spec["clip"], pairs), global_step=step)
    variables = [v for _, v in pairs]
    if spec["weight_decay"]:
        with tf.control_dependencies([operation]):
            operation = tf.group(*[tf.assign(v, v * 0.99) for v in variables])
    if spec["average"]:
        with tf.control_dependencies([operation]):
            average = tf.train.ExponentialMovingAverage(0.9, name="Average" + spec["name"])
            operation = average.apply(variables)
    return Training(operation, rate, norm)


def _rate(context, spec):
    step = tf.train.get_global_step()
    base = 0.02 if spec["optimizer"] in ("adam", "rmsprop") else 0.1
    kind = spec["rate"]
    if kind == "exponential":
        return tf.train.exponential_decay(base, step, 2, 0.7, staircase=True)
    if kind == "piecewise":
        return tf.train.piecewise_constant(step, [0, 1], [base, base / 2, base / 4])
    if kind == "cosine":
        return tf.train.cosine_decay(base, step, STEPS)
    if kind == "fed":
        return context.inputs["rate"]
    if kind == "variable":
        return variable(spec["name"] + "/rate", [], context.dtype, False,
                        tf.constant_initializer(base))
    return tf.constant(base, context.dtype)


# Adam divides by the size of a gradient plus epsilon. With the usual 1e-8 an element whose gradient
# is nothing but rounding moves as far as any other.
_OPTIMIZERS = {
    "sgd": tf.train.GradientDescentOptimizer,
    "momentum": lambda rate: tf.train.MomentumOptimizer(rate, 0.9),
    "nesterov": lambda rate: tf.train.MomentumOptimizer(rate, 0.9, use_nesterov=True),
    "adam": lambda rate: tf.train.AdamOptimizer(rate, epsilon=1e-3),
    "adagrad": tf.train.AdagradOptimizer,
    "rmsprop": lambda rate: tf.train.RMSPropOptimizer(rate, epsilon=1e-3),
}


def _clipped(how, pairs):
    found, variables = zip(*pairs)
    if how == "global_norm":
        found, _ = tf.clip_by_global_norm(found, 0.3)
    elif how != "none":
        found = [_CLIPS[how](gradient) for gradient in found]
    return list(zip(found, variables))


def _by_value(gradient):
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.clip_by_value(gradient, -0.05, 0.05)
    return tf.IndexedSlices(_by_value(gradient.values), gradient.indices, gradient.dense_shape)


_CLIPS = {"value": _by_value, "norm": lambda gradient: tf.clip_by_norm(gradient, 0.1),
          "dense_norm": lambda gradient: tf.clip_by_norm(tf.convert_to_tensor(gradient), 0.1)}
