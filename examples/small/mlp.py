# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A data-parallel network: epl-launch --num_workers 2 <this file>

Each of the workers takes its rows of every global batch. The loss that each sees is that of all.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import epl

tf.disable_v2_behavior()
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))

cluster = epl.Env.get().cluster
batch = np.linspace(-1.0, 1.0, 32).reshape(16, 2).astype(np.float32)
share = np.split(batch, cluster.worker_num)[cluster.worker_index]

x = tf.placeholder(tf.float32, [None, 2])
weights = [tf.get_variable("weights_%d" % number, shape, initializer=tf.ones_initializer())
           for number, shape in enumerate([[2, 8], [8, 1]])]
bias = tf.get_variable("bias", [8], initializer=tf.zeros_initializer())
hidden = tf.nn.relu(tf.matmul(x, weights[0]) + bias)
result = tf.matmul(hidden, weights[1]) + tf.get_variable(
    "bias_of_result", [1], initializer=tf.zeros_initializer())
loss = tf.reduce_mean(tf.square(result - tf.reduce_sum(x, axis=1, keepdims=True)))
train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)

with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for step in range(5):
        value, _ = session.run([loss, train], {x: share})
        print("step %d  loss %.2f" % (step, value))
