# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two losses with an optimizer each, in turn: epl-launch --num_workers 2 <this file>"""

import numpy as np
import tensorflow.compat.v1 as tf

import epl

tf.disable_v2_behavior()
tf.enable_resource_variables()  # a ref variable may be read after the update of the same step
epl.init()
epl.set_default_strategy(epl.replicate(device_count=1))

cluster = epl.Env.get().cluster
batch = np.linspace(-1.0, 1.0, 32).reshape(16, 2).astype(np.float32)
share = np.split(batch, cluster.worker_num)[cluster.worker_index]

x = tf.placeholder(tf.float32, [None, 2])
weight = tf.get_variable("weight", [2, 1], initializer=tf.zeros_initializer())
bias = tf.get_variable("bias", [1], initializer=tf.ones_initializer())
error = tf.matmul(x, weight) + bias - tf.reduce_sum(x, axis=1, keepdims=True)
fit, centre = tf.reduce_mean(tf.square(error)), tf.square(bias[0])
train_fit = tf.train.GradientDescentOptimizer(0.1).minimize(fit, var_list=[weight])
train_centre = tf.train.MomentumOptimizer(0.1, 0.9).minimize(
    centre + tf.reduce_mean(tf.square(error)), var_list=[bias])

with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for step in range(6):
        loss, train = (fit, train_fit) if step % 2 == 0 else (centre, train_centre)
        value, _ = session.run([loss, train], {x: share})
        print("step %d  loss %.4f" % (step, value))
