# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`dense` of `tf.layers`, also where TensorFlow has none: from 2.16 on, without tf-keras.

Tests whose subject is no layer use this one, so that they run on every version.
"""

import tensorflow.compat.v1 as tf

HAS_LAYERS = hasattr(tf.layers, "dense")


def _dense(inputs, units, activation=None, use_bias=True, kernel_initializer=None,
           kernel_regularizer=None, name=None, reuse=None):
    """As that of `tf.layers`: the same variables, names, initial values and values."""
    with tf.variable_scope(name, "dense", reuse=reuse):
        kernel = tf.get_variable("kernel", [inputs.shape[-1], units], inputs.dtype,
                                 kernel_initializer, kernel_regularizer)
        outputs = tf.tensordot(inputs, kernel, 1) if inputs.shape.ndims > 2 \
            else tf.matmul(inputs, kernel)
        if use_bias:
            outputs += tf.get_variable("bias", [units], inputs.dtype, tf.zeros_initializer())
        return outputs if activation is None else activation(outputs)


dense = tf.layers.dense if HAS_LAYERS else _dense
