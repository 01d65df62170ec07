# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The job of the campaign: a perceptron with Adam, checkpoints, and rows that the step decides.

Usage: training.py dp|pipe|across2|across4 STEPS [SECONDS]

Two stages but for dp; of the last two each has a worker of its own. SECONDS is the rest after every
step.
"""

import hashlib
import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.campaign.deaths import Death

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

ROWS, CHECKPOINT_STEPS, STEP_S = 8, 5, 0.02


def main(layout, steps, rest=STEP_S):
    options = {"pipeline.num_micro_batch": 1 if layout == "dp" else 2}
    if layout.startswith("across"):
        options["communication.communicator"] = "native"
    epl.init(epl.Config(options))
    epl.set_default_strategy(epl.replicate(device_count=1))
    worker = epl.Env.get().cluster.worker_index
    x, y = tf.placeholder(tf.float32, [None, 16], "x"), tf.placeholder(tf.float32, [None], "y")
    hidden = dense(x, 64, "first")
    if layout != "dp":
        epl.set_default_strategy(epl.replicate(device_count=1))
    loss = tf.reduce_mean(tf.square(dense(tf.nn.relu(hidden), 1, "second")[:, 0] - y))
    share = epl.global_batch(
        micro_batch=1, devices_per_replica=1 if layout == "dp" else 2).worker_index
    counter = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(0.01).minimize(loss, counter)
    directory = os.environ["EPL_CAMPAIGN_DIRECTORY"]
    death = Death(worker, steps)
    with tf.train.MonitoredTrainingSession(
            checkpoint_dir=os.path.join(directory, "model"), save_checkpoint_secs=None,
            save_checkpoint_steps=CHECKPOINT_STEPS, save_summaries_steps=None,
            save_summaries_secs=None) as session:
        step = int(session.run(counter))
        death.begin()
        while step < steps and not session.should_stop():
            death.at(step)
            session.run(train, rows(step, share, x, y))
            step += 1
            time.sleep(rest)  # so that times of death hit all parts of the training
        values = session.run(sorted(tf.global_variables(), key=lambda v: v.op.name)) \
            if not session.should_stop() else None
    if worker == 0 and values is not None:
        digest = hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in values))
        with open(os.path.join(directory, "end"), "w") as file:
            file.write(digest.hexdigest())


def dense(x, size, name):
    shape = [int(x.shape[1]), size]
    start = np.random.RandomState(len(name)).normal(0.0, 0.3, shape).astype(np.float32)
    return tf.matmul(x, tf.get_variable(name, initializer=tf.constant(start)))


def rows(step, share, x, y):
    """What a worker reads in a step, the same whenever the step is run.

    Workers that hold a replica together have one share.
    """
    draw = np.random.RandomState(1000 * step + share)
    return {x: draw.normal(size=(ROWS, 16)).astype(np.float32),
            y: draw.normal(size=ROWS).astype(np.float32)}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:]))
