# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker of the job of `soak.py`: trains until it is stopped, so many steps a second.

Usage: soak_worker.py FOLDER STEPS_PER_SECOND
"""

import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

import epl

ROWS, WIDTH = 8, 64
CHECKPOINT_S, SUMMARY_STEPS, PRINT_STEPS = 60, 500, 500


class Throttle(tf.train.SessionRunHook):
    """Sleeps before a step that would come too early; prints a line from time to time."""

    def __init__(self, rate):
        self._rate, self._steps, self._begin = rate, 0, time.monotonic()

    def before_run(self, run_context):
        early = self._begin + self._steps / self._rate - time.monotonic()
        if early < -1.0:  # other work has held us up: the lost time is not caught up
            self._begin -= early
        time.sleep(max(0.0, early))
        self._steps += 1
        if self._steps % PRINT_STEPS == 0:
            print("step", self._steps)


def main(folder, rate):
    tf.disable_v2_behavior()
    tf.logging.set_verbosity(tf.logging.ERROR)
    epl.init()
    epl.set_default_strategy(epl.replicate(device_count=1))
    worker = epl.Env.get().cluster.worker_index
    with open(os.path.join(folder, "worker-{}".format(worker)), "w") as file:
        file.write(str(os.getpid()))
    x = tf.placeholder(tf.float32, [None, WIDTH])
    embedding = tf.get_variable("embedding", [1000, WIDTH])  # its gradient is sparse
    words = tf.placeholder(tf.int32, [None])
    hidden = tf.layers.dense(x + tf.nn.embedding_lookup(embedding, words), WIDTH, tf.nn.relu)
    loss = tf.reduce_mean(tf.square(tf.layers.dense(hidden, 1)))
    tf.summary.scalar("loss", loss)
    counter = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(1e-3).minimize(loss, counter)
    draw = np.random.RandomState(worker)
    with tf.train.MonitoredTrainingSession(
            checkpoint_dir=os.path.join(folder, "model"), save_checkpoint_secs=CHECKPOINT_S,
            save_summaries_steps=SUMMARY_STEPS, hooks=[Throttle(rate)]) as session:
        while not session.should_stop():
            done, _, _ = session.run([counter, loss, train], {
                x: draw.normal(size=(ROWS, WIDTH)), words: draw.randint(1000, size=ROWS)})
            if done % PRINT_STEPS == 0:
                with open(os.path.join(folder, "steps"), "w") as file:
                    file.write(str(done))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
