# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two stages on two devices: epl-launch --num_workers 1 --gpu_per_worker 2 <this file>"""

import tensorflow.compat.v1 as tf

import epl

tf.disable_v2_behavior()
epl.init(epl.Config({"pipeline.num_micro_batch": 4}))
x = tf.placeholder(tf.float32, [None, 4])
with epl.replicate(1, name="lower"):
    hidden = tf.tanh(tf.matmul(x, tf.get_variable("a", [4, 8], initializer=tf.ones_initializer())))
with epl.replicate(1, name="upper"):
    result = tf.matmul(hidden, tf.get_variable("b", [8, 1], initializer=tf.ones_initializer()))
    loss = tf.reduce_mean(tf.square(result - tf.reduce_sum(x, 1, keepdims=True)))
train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for step in range(3):
        value, _ = session.run([loss, train], {x: [[row / 16.0] * 4 for row in range(16)]})
        print("step %d  loss %.3f" % (step, value))
