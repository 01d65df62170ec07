# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Training that ends with its data, of a number of rows that nothing divides.

Usage: end_of_data.py [--plain]
A plain session in two passes, a monitored session and an Estimator; with `--plain` on one device
with the whole global batch, without EPL. `$GLOBAL_BATCH` is the rows of a step.
"""

import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import report

tf.disable_v2_behavior()
ROWS, GLOBAL_BATCH = 43, int(os.environ["GLOBAL_BATCH"])
PLAIN = "--plain" in sys.argv
OUTPUT = os.environ["EPL_OUTPUT_DIR"]


def batches():
    """The rows of the script, shuffled, whose number is not known; batches of this worker."""
    rows = np.random.RandomState(3).normal(size=[ROWS, 3]).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices(rows).filter(lambda row: True)
    dataset = dataset.shuffle(20, seed=5, reshuffle_each_iteration=False)
    if PLAIN:
        return dataset.batch(GLOBAL_BATCH, drop_remainder=True)
    batch = epl.global_batch(GLOBAL_BATCH)
    return epl.shard(dataset, batch).batch(batch.micro_batch)


def training(rows):
    """(step, loss, training operation) of a model whose loss is a mean over rows."""
    weight = tf.get_variable("w", [3], initializer=tf.ones_initializer(), use_resource=True)
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(rows * weight, 1) - 1.0))
    step = tf.train.get_or_create_global_step()
    return step, loss, tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss, step)


def plain_session():
    with tf.Graph().as_default():
        iterator = tf.data.make_initializable_iterator(batches())
        step, _, train = training(iterator.get_next())
        steps = []
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(2):
                session.run(iterator.initializer)
                try:
                    while True:
                        session.run(train)
                except tf.errors.OutOfRangeError:
                    steps.append(session.run(step))
            return steps, session.run(tf.trainable_variables()[0])


def monitored_session():
    with tf.Graph().as_default():
        step, _, train = training(tf.data.make_one_shot_iterator(batches()).get_next())
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=os.path.join(OUTPUT, "monitored")) as session:
            while not session.should_stop():
                session.run(train)
    return last_checkpoint("monitored")


def estimator():
    def model(features, mode):
        _, loss, train = training(features)
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    tf.estimator.Estimator(model, os.path.join(OUTPUT, "estimator")).train(batches)
    return last_checkpoint("estimator")


def last_checkpoint(directory):
    """(step, weights) of the chief's checkpoint, None on other workers."""
    path = tf.train.latest_checkpoint(os.path.join(OUTPUT, directory))
    if path is None:
        return None
    return int(tf.train.load_variable(path, "global_step")), tf.train.load_variable(path, "w")


if not PLAIN:
    import epl

    epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
    epl.set_default_strategy(epl.replicate(device_count=1))
report(**{found.__name__: found() for found in (plain_session, monitored_session, estimator)})
