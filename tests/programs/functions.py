# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens in branches and in the bodies of loops: functions from a value to one of its shape.

A value is [rows, WIDTH], or one row [WIDTH].
"""

import tensorflow.compat.v1 as tf

from tests.programs.context import variable
from tests.programs.drawing import WIDTH


def function(context, spec, outer=None):
    """The function that `spec` describes.

    Args:
      context: the `Context`.
      spec: its data.
      outer: a tensor of the value's shape from outside of the branch; None: there is none.

    Returns:
      A function; variables that are not made inside of branches are made now.
    """
    make = _KINDS[spec["kind"]]
    return make(context, spec, outer)


def _matmul(context, spec, outer):
    weights = _variable(context, spec, "matrix", [WIDTH, WIDTH])
    return lambda value: tf.tanh(tf.tensordot(value, weights(), 1))


def _scale(context, spec, outer):
    weights = _variable(context, spec, "factor", [WIDTH])
    return lambda value: value * weights()


def _variable(context, spec, name, shape):
    """A function that gives a variable, made here or where the function is called."""
    def get():
        if spec["variable"] == "shared":
            return context.shared(name, shape)
        return variable(name, shape, context.dtype)

    if spec["variable"] == "inside":
        return get
    made = get()
    return lambda: made


def _shift(context, spec, outer):
    return lambda value: value + tf.constant([0.5, -0.5, 0.25, 0.0], context.dtype)


def _zeros(context, spec, outer):
    """Zeros that the branch makes of nothing."""
    return lambda value: _shaped(tf.zeros([WIDTH], context.dtype), value)


def _shaped(row, value):
    if value.shape.ndims == 1:
        return row
    return tf.tile(tf.expand_dims(row, 0), [tf.shape(value)[0], 1])


def _zeros_like(context, spec, outer):
    return lambda value: tf.zeros_like(value)


def _outer(context, spec, outer):
    if outer is None:
        return _scale(context, {"variable": "outside"}, outer)
    return lambda value: 0.5 * (value + outer)


def _identity(context, spec, outer):
    return lambda value: tf.identity(value)


def _tanh(context, spec, outer):
    return lambda value: tf.tanh(value)


def _cond(context, spec, outer):
    """A branch each way; what decides is the same for all rows."""
    with tf.variable_scope("true"):
        true = function(context, spec["true"], outer)
    with tf.variable_scope("false"):
        false = function(context, spec["false"], outer)
    decides = predicate(context, spec["predicate"])

    def call(value):
        with tf.variable_scope("cond"):
            chosen = tf.cond(decides(), lambda: true(value), lambda: false(value))
        chosen.set_shape(value.shape)
        return value + chosen if spec["residual"] else chosen

    return call


def predicate(context, kind):
    """A function that gives a boolean."""
    step = tf.train.get_global_step()
    if kind == "variable":
        counter = variable("threshold", [], context.dtype, False, tf.zeros_initializer())
    return {
        "odd_step": lambda: tf.equal(step % 2, 1),
        "first_step": lambda: tf.equal(step, 0),
        "always": lambda: tf.constant(True),
        "never": lambda: tf.greater(tf.zeros([]), 1.0),
        "variable": lambda: tf.less(counter, 1.0),
        "flag": lambda: context.inputs["flag"],
    }[kind]


def _while(context, spec, outer):
    """A loop of a number of turns that is the same for all rows."""
    with tf.variable_scope("body"):
        body = function(context, spec["body"], outer)

    def call(value):
        times = (1 + tf.cast(tf.train.get_global_step(), tf.int32) % 2
                 if spec["times"] == "by_step" else int(spec["times"]))
        if spec["array"]:
            return _loop_with_array(context, body, value, times)
        with tf.variable_scope("while"):
            return tf.while_loop(lambda turn, _: turn < times,
                                 lambda turn, inner: (turn + 1, _like(body(inner), value)),
                                 [0, value])[1]

    return call


def _loop_with_array(context, body, value, times):
    """A loop that keeps what every turn gave; the mean over the turns."""
    def turn(number, inner, kept):
        inner = _like(body(inner), value)
        return number + 1, inner, kept.write(number, inner)

    with tf.variable_scope("while"):
        kept = tf.TensorArray(context.dtype, times, element_shape=value.shape)
        _, _, kept = tf.while_loop(lambda number, *_: number < times, turn, [0, value, kept])
        return _like(tf.reduce_mean(kept.stack(), 0), value)


def _like(found, value):
    found.set_shape(value.shape)
    return found


_KINDS = {"matmul": _matmul, "scale": _scale, "shift": _shift, "zeros": _zeros,
          "zeros_like": _zeros_like, "outer": _outer, "identity": _identity, "tanh": _tanh,
          "cond": _cond, "while": _while}
