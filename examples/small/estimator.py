# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""An Estimator, data parallel: epl-launch --num_workers 2 <this file>

The input function gives each worker its part (`epl.shard`); the chief alone writes checkpoints.
"""

import os
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

import epl

tf.disable_v2_behavior()
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))


def read():
    x = np.linspace(-1.0, 1.0, 32).reshape(16, 2).astype(np.float32)
    rows = epl.shard(tf.data.Dataset.from_tensor_slices((x, x.sum(axis=1, keepdims=True))))
    return rows.repeat().batch(16 // epl.Env.get().cluster.worker_num)


def model(features, labels, mode):
    result = tf.layers.dense(features, 1, kernel_initializer=tf.zeros_initializer())
    loss = tf.reduce_mean(tf.square(result - labels))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(
        loss, tf.train.get_or_create_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


directory = os.path.join(os.environ.get("EPL_OUTPUT_DIR") or tempfile.mkdtemp(), "model")
estimator = tf.estimator.Estimator(model, directory)
estimator.train(read, steps=5)
if epl.Env.get().cluster.worker_index == 0:  # the others have written nothing
    print("kernel", np.round(estimator.get_variable_value(
        "dense/kernel").ravel(), 3).tolist())
