# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A pipeline that is planned: on_paper.py [nothing | stages | no_strategy | plain | one_stage].

The last two run the step in a plain session, without a global step.
"""

import sys

import tensorflow.compat.v1 as tf

import epl

tf.disable_v2_behavior()


def main(kind):
    epl.init(epl.Config({"pipeline.num_micro_batch": 4}))
    hidden = tf.placeholder(tf.float32, [8, 256], "x")
    if kind == "one_stage":
        epl.set_default_strategy(epl.replicate(1))
    for number in range(2):
        if kind == "stages":
            epl.set_default_strategy(epl.replicate(1, name="part_{}".format(number)))
        hidden = tf.tanh(tf.matmul(hidden, tf.get_variable("w{}".format(number), [256, 256])))
    loss = tf.reduce_mean(hidden)
    if kind == "nothing":
        return
    if kind in ("plain", "one_stage"):
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {"x:0": [[1.0] * 256] * 8})
        print("a session was made")
        return
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(
        loss, tf.train.get_or_create_global_step())
    cluster = epl.Env.get().cluster
    print("replicas of this job:", cluster.worker_num)
    print("devices:", cluster.gpu_num_per_worker, cluster.device_type)
    with tf.train.MonitoredTrainingSession(save_checkpoint_secs=None) as session:
        print("a session was made")
        session.run(train, {"x:0": [[1.0] * 256] * 8})


if __name__ == "__main__":
    main(sys.argv[1])
