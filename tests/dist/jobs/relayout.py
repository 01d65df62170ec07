# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Go on with a training from its last checkpoint, in whatever layout the launcher gives.

Usage: relayout.py DIRECTORY STAGES LAST_STEP
"""

import contextlib
import sys

import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs import common
from tests.graph import devices

ROWS, MICRO_BATCHES = 16, 2


def model(stage):
    """A network that is trained with Adam: (x, y, loss, step, train)."""
    with stage(0):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        hidden = devices.dense(x, 4, "first", tf.tanh)
    with stage(1):
        y = tf.placeholder(tf.float32, [None, 1], "y")
        loss = tf.reduce_mean(tf.square(devices.dense(hidden, 1, "second") - y))
    step = tf.train.get_or_create_global_step()
    return x, y, loss, step, tf.train.AdamOptimizer(0.01).minimize(loss, step)


def rows(step):
    """(features, labels) of a step, of all workers."""
    first = step * ROWS % 96
    return [array[first:first + ROWS] for array in devices.data()]


def main(directory, stages, last_step):
    epl.init(epl.Config({"pipeline.num_micro_batch": MICRO_BATCHES}))
    tf.set_random_seed(11)  # as in the reference
    if stages == 1:
        epl.set_default_strategy(epl.replicate(1))
    x, y, loss, step, train = model(
        lambda number: contextlib.nullcontext() if stages == 1
        else epl.replicate(1, name="stage_{}".format(number)))
    share = epl.global_batch(rows=ROWS, devices_per_replica=stages)
    losses = []
    with tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory, save_checkpoint_steps=1000,
            hooks=[tf.train.StopAtStepHook(last_step=last_step)]) as session:
        done = begun = int(session.run(step))
        while not session.should_stop():
            fed = [epl.shard(array, share) for array in rows(done)]
            losses.append(session.run([loss, train], dict(zip((x, y), fed)))[0])
            done += 1
    common.report(begun=begun, losses=losses)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
