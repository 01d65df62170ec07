# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""tf.estimator: train, train_and_evaluate, evaluate and predict, on one shared model directory.

Usage: estimator.py MODEL_DIRECTORY
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs.common import report, start

RANK, WORKERS = start()
ROWS = np.random.RandomState(0).randn(64, 4).astype(np.float32)
LABELS = ROWS.sum(1, keepdims=True)


def model_fn(features, labels, mode):
    hidden = tf.layers.dense(features, 8, tf.nn.tanh)
    output = tf.layers.dense(hidden, 1)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions=output)
    loss = tf.reduce_mean(tf.square(output - labels))
    if mode == tf.estimator.ModeKeys.EVAL:
        metrics = {"mae": tf.metrics.mean_absolute_error(labels, output)}
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
    epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
    train = tf.train.AdamOptimizer(0.05).minimize(loss, tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


def train_input():
    rows = tf.data.Dataset.from_tensor_slices((ROWS, LABELS)).shard(WORKERS, RANK)
    return rows.repeat().batch(8 // WORKERS)


def all_rows():
    return tf.data.Dataset.from_tensor_slices((ROWS, LABELS)).batch(16)


def two_epochs():
    rows = tf.data.Dataset.from_tensor_slices((ROWS, LABELS)).shard(WORKERS, RANK)
    return rows.repeat(2).batch(8 // WORKERS)


def main():
    config = tf.estimator.RunConfig(tf_random_seed=1, save_checkpoints_steps=4,
                                    log_step_count_steps=2)
    estimator = tf.estimator.Estimator(model_fn, sys.argv[1], config)
    estimator.train(train_input, steps=4)
    after_train = estimator.evaluate(all_rows)
    metrics, _ = tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(train_input, max_steps=10),
        tf.estimator.EvalSpec(all_rows, throttle_secs=0, steps=None))
    estimator.train(two_epochs)  # ends with the data: 16 steps
    last = estimator.evaluate(all_rows)
    predictions = list(estimator.predict(all_rows))
    report(is_chief=config.is_chief, after_train=after_train, metrics=metrics, last=last,
           predictions=np.array(predictions))


if __name__ == "__main__":
    main()
