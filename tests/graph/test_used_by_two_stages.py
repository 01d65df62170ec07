# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A layer or a function that two stages use, and stages that begin after gradients were asked for.
"""

import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE
from tests.support import layers

FEATURES, LABELS = devices.data()
SCRIPTS = {}
RESOURCE = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])


def script(build):
    SCRIPTS[build.__name__] = build
    return build


@script
def a_layer_that_is_reused(x, stage):
    def shared(inputs, reuse):
        return layers.dense(inputs, 3, tf.tanh, name="shared", reuse=reuse,
                            kernel_initializer=tf.glorot_uniform_initializer(seed=3))

    with stage(0):
        hidden = shared(x, None)
    with stage(1):
        return tf.reduce_sum(shared(hidden, True), 1, keepdims=True)


@script
def a_variable_in_a_scope_that_is_reused(x, stage):
    def scale():
        with tf.variable_scope("scope", reuse=tf.AUTO_REUSE):
            return tf.get_variable("scale", [3], initializer=tf.ones_initializer())

    with stage(0):
        hidden = x * scale()
    with stage(1):
        return devices.dense(hidden * scale(), 1, "second")


def calls_in_both_stages(called, x, stage):
    with stage(0):
        hidden = tf.ensure_shape(called(devices.dense(x, 4, "first")), [None, 4])
    with stage(1):
        return tf.ensure_shape(called(devices.dense(hidden, 1, "second")), [None, 1])


def bent(values):
    return values * (1.0 - 0.1 * values)


@script
def a_defun_that_both_stages_call(x, stage):
    return calls_in_both_stages(function.Defun(tf.float32)(bent), x, stage)


@script
def a_tf_function_that_both_stages_call(x, stage):
    return calls_in_both_stages(tf.function(bent), x, stage)


@script
def a_stage_that_begins_after_gradients(x, stage):
    """The gradients become part of the loss; what was planned until then is planned anew."""
    with stage(0):
        hidden = devices.dense(x, 4, "first", tf.tanh)
        kernel = tf.trainable_variables()[0]
        slope, = tf.gradients(tf.reduce_mean(hidden), kernel)
    with stage(1):
        # Linear in the slope, so that the mean over the clones is that of the whole batch.
        tf.losses.add_loss(tf.reduce_sum(slope * tf.stop_gradient(kernel)))
        return devices.dense(hidden, 1, "second")


@RESOURCE
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_gives_what_one_device_gives(name, resource):
    def train(stage):
        with tf.variable_scope(tf.get_variable_scope(), use_resource=resource):
            x = tf.placeholder(tf.float32, [None, 3])
            y = tf.placeholder(tf.float32, [None, 1])
            tf.losses.mean_squared_error(y, SCRIPTS[name](x, stage))
            loss = tf.losses.get_total_loss()
            optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
            gradients = optimizer.compute_gradients(loss)
            # No gradient waits for the value of a loss that is linear, and where that is computed
            # from a ref variable, TensorFlow may see the variable after the step.
            with tf.control_dependencies([loss]):
                step = optimizer.apply_gradients(gradients)
        with devices.session() as session:
            losses = [session.run([loss, step], {x: FEATURES[n:n + 16], y: LABELS[n:n + 16]})[0]
                      for n in range(0, 48, 16)]
            return losses, session.run({v.name: v for v in tf.global_variables()})

    expected = devices.run(None, train)
    for layout in (PIPELINE, BOTH):
        devices.assert_same(devices.run(layout, train), expected)
