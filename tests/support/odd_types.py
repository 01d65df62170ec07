# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Models with variables of element types that are rare; they know nothing of EPL."""

import numpy as np
import tensorflow.compat.v1 as tf

ROWS = 8
TRAINED = ("float16", "bfloat16", "float64", "complex64", "complex128")
KEPT = TRAINED + ("bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "string")


def _number(tensor):
    """A float32 tensor that depends on all of `tensor`."""
    if tensor.dtype.is_complex:
        return tf.cast(tf.real(tensor) + 0.5 * tf.imag(tensor), tf.float32)
    return tf.cast(tensor, tf.float32)


def train(name, sparse, resource, rows=slice(None), steps=2):
    """Two steps of SGD of a variable of type `name`; its value, as complex128.

    All numbers are small and have few bits: they are exact in each of the types.

    Args:
      name: one of TRAINED.
      sparse: rows of the variable are looked up.
      rows: which rows of the batch this process feeds.
    """
    dtype = tf.as_dtype(name)
    with tf.Graph().as_default():
        x, ids = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.int32, [None])
        initial = np.arange(6).reshape(3, 2) * (1 + 0.5j if dtype.is_complex else 1)
        with tf.variable_scope("model", use_resource=resource):
            table = tf.get_variable("table", initializer=tf.constant(initial, dtype))
        looked_up = tf.nn.embedding_lookup(table, ids) if sparse else table[:1] + 2 * table[1:2]
        loss = tf.reduce_mean(tf.reduce_sum(x * _number(looked_up), 1))
        gradient, = tf.gradients(loss, table)
        assert isinstance(gradient, tf.IndexedSlices) == sparse
        rate = tf.constant(0.5, dtype)
        if sparse:
            update = tf.scatter_sub(table, gradient.indices, rate * gradient.values)
        else:
            update = tf.assign_sub(table, rate * gradient)
        feeds = {x: (np.arange(2 * ROWS).reshape(-1, 2) % 4)[rows],
                 ids: (np.arange(ROWS) % 3)[rows]}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(steps):
                session.run(update, feeds)
            return session.run(tf.cast(table, tf.complex128))


def kept(number):
    """Variables of every type that nothing trains, beside one that is; values differ by `number`.

    Returns:
      name -> value after a step.
    """
    with tf.Graph().as_default():
        x, weight = tf.placeholder(tf.float32, [None]), tf.get_variable("w", [])
        for name in KEPT:
            for shape in ((), (2,)):
                value = np.full(shape, str(number).encode() if name == "string" else number)
                tf.get_variable("{}_{}".format(name, len(shape)), trainable=False,
                                initializer=_of_type(value, name))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(x * weight))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(step, {x: [1.0]})
            return {v.op.name: np.asarray(session.run(_shown(v))).tolist()
                    for v in tf.global_variables() if v is not weight}


def _of_type(value, name):
    return tf.constant(value) if name == "string" else tf.cast(tf.constant(value), name)


def _shown(variable):
    return tf.identity(variable) if variable.dtype.base_dtype == tf.string else tf.cast(
        variable, tf.float32)
