# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizers as scripts write them, which TensorFlow has none of."""

import tensorflow.compat.v1 as tf


class Shrinking(tf.train.Optimizer):
    """One that overrides `apply_gradients`, divides by a norm, and keeps a number for each."""

    def __init__(self):
        super().__init__(False, "Shrinking")

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        total = tf.global_norm([gradient for gradient, _ in grads_and_vars])
        updates = [] if global_step is None else [tf.assign_add(global_step, 1)]
        for gradient, variable in grads_and_vars:
            with tf.variable_scope("", use_resource=hasattr(variable, "handle")):
                seen, times = [tf.get_variable(
                    variable.op.name + name, shape, trainable=False,
                    initializer=tf.zeros_initializer())
                    for name, shape in (("/seen", variable.shape), ("/times", []))]
            after = 0.5 * seen + tf.convert_to_tensor(gradient) / (1.0 + total)
            updates += [variable.assign(0.99 * variable - 0.1 * after), seen.assign(after),
                        times.assign_add(1.0)]
        return tf.group(*updates)
