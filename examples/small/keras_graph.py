# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Layers of Keras in a graph, trained by a session: epl-launch --num_workers 2 <this file>"""

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
hidden = tf.keras.layers.Dense(8, activation="relu", kernel_initializer="ones")(x)
result = tf.keras.layers.Dense(1, kernel_initializer="ones")(hidden)
loss = tf.reduce_mean(tf.square(result - tf.reduce_sum(x, axis=1, keepdims=True)))
train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)

with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for step in range(5):
        value, _ = session.run([loss, train], {x: share})
        print("step %d  loss %.2f" % (step, value))
