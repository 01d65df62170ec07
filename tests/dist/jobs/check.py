# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A training to be checked: every worker reads its rows of a dataset, or is fed them.

Usage: check.py equal|sum|same_rows|own_scale|fixed|short|noise|own_loss
"""

import random
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.rewrite.passes import aggregate
from tests.dist.jobs.common import start
from tests.support import layers


def aggregate_a_sum():
    """A defect: gradients are added up over the workers, and not divided by their number."""
    original = aggregate.reduce_gradients

    def broken(tensors, scope, options, *others):
        means, losses = original(tensors, scope, options, *others)
        return [mean * options.group.size for mean in means], losses

    aggregate.reduce_gradients = broken


def leave_losses_alone():
    """A defect: every worker returns the loss of its own rows."""
    aggregate.losses_of_clones = lambda rewriting, group: []


def with_noise(optimizer, loss):
    """An update by noisy gradients, at a rate that Python says."""
    optimizer._lr = tf.reshape(tf.py_func(
        lambda: np.float32(random.SystemRandom().uniform(0.01, 0.02)), [], tf.float32), [])
    noisy = [(g + tf.random_normal(tf.shape(g)), v) for g, v in optimizer.compute_gradients(loss)]
    return optimizer.apply_gradients(noisy, tf.train.get_or_create_global_step())


def model(x, y, weights):
    hidden = tf.nn.dropout(layers.dense(x, 4, tf.tanh, name="first"), rate=0.5, seed=3)
    error = tf.square(layers.dense(hidden, 1, name="second") - y)
    return tf.reduce_mean(error * weights[:, None])


def main():
    kind = sys.argv[1]
    rank, workers = start()
    if kind == "sum":
        aggregate_a_sum()
    if kind == "own_loss":
        leave_losses_alone()
    drawn = np.random.RandomState(0)
    columns = drawn.randn(48, 3).astype(np.float32), drawn.randn(48, 1).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices(columns).repeat()
    if kind != "same_rows":
        dataset = dataset.shard(workers, rank)
    x, y = tf.data.make_one_shot_iterator(dataset.batch(8)).get_next()
    scale, weights = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [None])
    if kind == "fixed":
        weights = epl.divide_feed(tf.placeholder(tf.float32, [8]))
    loss = model(x, y, weights) * scale
    optimizer = tf.train.AdamOptimizer(0.01)
    if kind == "noise":
        train = with_noise(optimizer, loss)
    else:
        train = optimizer.minimize(loss, tf.train.get_or_create_global_step())
    own = np.arange(16 if kind == "fixed" else 8) + (0 if kind == "same_rows" else rank)
    feeds = {scale: 1 + (rank if kind == "own_scale" else 0), weights: own}
    steps = 1 if kind == "short" else 10
    with tf.train.MonitoredTrainingSession() as session:
        for _ in range(steps):
            print("loss", session.run([loss, train], feeds)[0])
    print("came to its end", epl.Env.get().cluster.worker_index)


if __name__ == "__main__":
    main()
