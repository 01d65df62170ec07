# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A TensorFlow 1.x training loop as users write it; it knows nothing of EPL."""

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import models


def optimizer(name):
    if name == "sgd":
        return tf.train.GradientDescentOptimizer(0.1)
    if name == "momentum":
        return tf.train.MomentumOptimizer(0.05, 0.9)
    if name == "adam":
        return tf.train.AdamOptimizer(0.01)
    if name == "adam_weight_decay":
        from examples.bert.optimization import AdamWeightDecayOptimizer

        # A usual rate for BERT. Adam moves every element by about the rate, however small its
        # gradient and however large the rounding in it: a high rate would test the rounding.
        return AdamWeightDecayOptimizer(learning_rate=1e-4, weight_decay_rate=0.01)
    raise ValueError(name)


def train(model, optimizer_name, resource=False, clip=True, rank=0, workers=1, on_loss=None,
          optimized=True):
    """Train `model` for ten steps on this worker's share of every global batch.

    TensorFlow's graph optimizers look at the graph if it is to be `optimized`.

    Returns:
      (losses, {variable name: value}); losses are those that `session.run` returned.
    """
    columns = models.data("bert" if model == "bert" else model)
    share = models.GLOBAL_BATCH // workers
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        batch = models.placeholders(columns)
        with tf.variable_scope("model", use_resource=resource):
            loss = models.MODELS[model](batch)
        if on_loss is not None:
            on_loss(loss)
        step = tf.train.get_or_create_global_step()
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            chosen = optimizer(optimizer_name)
            pairs = chosen.compute_gradients(loss)
        gradients, variables = zip(*[pair for pair in pairs if pair[0] is not None])
        if clip:
            gradients, _ = tf.clip_by_global_norm(gradients, 0.5)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = chosen.apply_gradients(list(zip(gradients, variables)), global_step=step)
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = not optimized
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            losses = []
            for number in range(models.STEPS):
                first = number * models.GLOBAL_BATCH + rank * share
                feeds = {batch[name]: array[first:first + share]
                         for name, array in columns.items()}
                losses.append(session.run([loss, train_op], feeds)[0])
            found = {v.name: v for v in tf.global_variables()}
            return np.array(losses), session.run(found)
