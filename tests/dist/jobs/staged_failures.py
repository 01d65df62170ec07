# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two stages on every worker; one worker goes another way than the others.

Usage: staged_failures.py KIND
"""

import os
import signal
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

KIND = sys.argv[1]
RANK = int(os.environ["EPL_WORKER_INDEX"])
ROWS = np.arange(8, dtype=np.float32)


def leave(value):
    """In the third micro-batch that worker 1 computes, it dies."""
    leave.runs += 1
    if KIND == "killed" and RANK == 1 and leave.runs == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


leave.runs = 0


def main():
    micro_batches = 4 if KIND == "other_micro_batches" and RANK == 1 else 2
    epl.init(epl.Config({"pipeline.num_micro_batch": micro_batches}))
    with epl.replicate(1, name="one"):
        x = tf.placeholder(tf.float32, [None])
        checked = tf.py_func(leave, [tf.check_numerics(x, "the input is not finite")], tf.float32)
        checked.set_shape([None])
        apart = checked - tf.get_variable("w", [], initializer=tf.zeros_initializer())
    with epl.replicate(1, name="two"):
        loss = tf.reduce_mean(tf.square(apart))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(4):
            fed = ROWS.copy()
            if KIND == "not_finite" and RANK == 1 and number == 1:
                fed[-1] = np.nan  # in the second micro-batch
            if KIND == "odd_rows" and RANK == 1 and number == 1:
                fed = fed[:-1]
            session.run(train, {x: fed})


if __name__ == "__main__":
    main()
