# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The communication options, one after another, on the model with dense and sparse gradients."""

import os
import pickle

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.ir.graph_state import state_of
from epl.plan import buckets
from epl.rewrite.groups import collectives_of
from tests.dist.jobs.common import leave_together, start
from tests.support import models

CONFIGS = {
    "default": {},
    "again": {},
    "one_split": {"communication.max_splits": 1},
    "dense": {"communication.sparse_as_dense": True},
    "fp16": {"communication.fp16": True},
    "sum": {"communication.gradients_reduce_method": "sum"},
    "fp16_sum": {"communication.fp16": True, "communication.gradients_reduce_method": "sum"},
}


def train(config):
    """Five steps of plain gradient descent; with "sum" at a learning rate divided by the workers.

    Returns:
      ({variable: value}, [description of every collective]).
    """
    rank, workers = start(config)
    share = models.GLOBAL_BATCH
    rate = 0.1 / (workers if "communication.gradients_reduce_method" in config else 1)
    columns = models.data("mlp_embedding")
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(11)
        batch = models.placeholders(columns)
        loss = models.MODELS["mlp_embedding"](batch)
        train_op = tf.train.GradientDescentOptimizer(rate).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for number in range(3):
                first = (number * workers + rank) * share
                session.run(train_op, {batch[name]: array[first:first + share]
                                       for name, array in columns.items()})
            variables = session.run({v.name: v for v in tf.global_variables()})
        return variables, [c.describe() for c in collectives_of(state_of(graph))]


def overflow():
    """A gradient that no 16-bit float holds, times the largest scale: the error's text."""
    start({"communication.fp16": True, "communication.fp16_scale": 65504})
    with tf.Graph().as_default():
        weight = tf.get_variable("w", initializer=tf.constant([1.0, 200.0]))
        train_op = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(weight ** 2))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            try:
                session.run(train_op)
            except (tf.errors.InvalidArgumentError, epl.WorkerLostError) as error:
                return str(error)
    return ""


def types():
    """Gradients of 16, 32 and 64 bits in one model keep their types and values."""
    rank, workers = start()
    with tf.Graph().as_default() as graph:
        weights = [tf.get_variable(d.name, [3], d, tf.ones_initializer())
                   for d in (tf.float16, tf.float32, tf.float64)]
        loss = tf.add_n([tf.reduce_sum(tf.cast(w, tf.float64) * (rank + 1)) for w in weights])
        gradients = tf.gradients(loss, weights)
        assert [g.dtype for g in gradients] == [w.dtype.base_dtype for w in weights]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            values = session.run(gradients)
        for value in values:
            np.testing.assert_array_equal(value, [(workers + 1) / 2] * 3)
        return [c.describe() for c in collectives_of(state_of(graph))]


if __name__ == "__main__":
    results = {"as_they_are": train({})}
    buckets.SMALLEST = 0  # the models here are small
    results.update((name, train(config)) for name, config in CONFIGS.items())
    results["types"] = types()
    results["overflow"] = overflow()
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(results, file)
    leave_together()
