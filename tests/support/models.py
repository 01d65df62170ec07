# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small models in plain TensorFlow, each with its data; they know nothing of EPL.

A model is a function `(batch) -> loss`, where `batch` maps names to placeholders.
"""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import layers

GLOBAL_BATCH = 16
STEPS = 10
_ROWS = GLOBAL_BATCH * STEPS


def data(model):
    """The rows that `model` reads, `{name: array [160, ...]}`; the same in every process."""
    random = np.random.RandomState(0)
    columns = {
        "x": random.randn(_ROWS, 8).astype(np.float32),
        "ids": random.randint(0, 20, (_ROWS, 3)).astype(np.int32),
        "y": random.randn(_ROWS, 1).astype(np.float32),
    }
    if model == "bert":
        return {
            "ids": random.randint(0, 60, (_ROWS, 12)).astype(np.int32),
            "starts": random.randint(0, 12, _ROWS).astype(np.int32),
        }
    return columns


def placeholders(columns):
    """One placeholder per column, any number of rows."""
    return {name: tf.placeholder(array.dtype, [None] + list(array.shape[1:]), name=name)
            for name, array in columns.items()}


def mlp_embedding(batch):
    """Dense layers over features and the mean of embedded ids: dense and sparse gradients."""
    table = tf.get_variable("table", [20, 4], initializer=tf.random_normal_initializer(seed=1))
    embedded = tf.reduce_mean(tf.nn.embedding_lookup(table, batch["ids"]), 1)
    hidden = tf.concat([batch["x"], embedded], 1)
    for _ in range(2):
        hidden = layers.dense(hidden, 16, tf.nn.tanh)
    return tf.reduce_mean(tf.square(layers.dense(hidden, 1) - batch["y"]))


def while_loop(batch):
    """A hand-written recurrence: five steps of one weight matrix, then a linear head."""
    weights = tf.get_variable("recurrent", [8, 8],
                              initializer=tf.glorot_uniform_initializer(seed=2))

    def body(step, state):
        return step + 1, tf.tanh(tf.matmul(state, weights) + batch["x"])

    _, state = tf.while_loop(lambda step, _: step < 5, body, [0, tf.zeros_like(batch["x"])])
    return tf.reduce_mean(tf.square(layers.dense(state, 1) - batch["y"]))


def batch_norm(batch):
    """Batch normalisation from `tf.layers`, with its UPDATE_OPS."""
    hidden = _dense(batch["x"], 16, "first")
    hidden = tf.layers.batch_normalization(hidden, training=True, momentum=0.9, fused=False,
                                           name="norm")
    return _head(tf.nn.relu(hidden), batch)


def batch_norm_by_hand(batch, shards=2):
    """What `batch_norm` means on `shards` workers, on one device with the whole batch.

    Every shard of the batch is normalised with its own mean and variance; the moving averages
    follow the mean over the shards.
    """
    hidden = _dense(batch["x"], 16, "first")
    with tf.variable_scope("norm"):
        gamma = tf.get_variable("gamma", [16], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [16], initializer=tf.zeros_initializer())
        moving = [tf.get_variable("moving_mean", [16], initializer=tf.zeros_initializer(),
                                  trainable=False),
                  tf.get_variable("moving_variance", [16], initializer=tf.ones_initializer(),
                                  trainable=False)]
    pieces, moments = [], []
    for piece in tf.split(hidden, shards):
        mean, variance = tf.nn.moments(piece, [0])
        pieces.append(gamma * (piece - mean) / tf.sqrt(variance + 1e-3) + beta)
        moments.append((mean, variance))
    for variable, values in zip(moving, zip(*moments)):
        value = 0.9 * variable + 0.1 * tf.add_n(values) / shards
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(variable, value))
    return _head(tf.nn.relu(tf.concat(pieces, 0)), batch)


def _head(hidden, batch):
    return tf.reduce_mean(tf.square(_dense(hidden, 1, "head") - batch["y"]))


def _dense(inputs, units, name):
    """A dense layer whose initial weights do not depend on what else is in the graph."""
    return layers.dense(inputs, units, name=name,
                        kernel_initializer=tf.glorot_uniform_initializer(seed=len(name)))


def bert(batch):
    """The example's BERT, two small layers without dropout, and a loss over positions."""
    from examples.bert import modeling
    from examples.bert.bert_config import BertConfig

    config = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        max_position_embeddings=16, type_vocab_size=2)
    ids = batch["ids"]
    encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True)
    logits = tf.squeeze(layers.dense(encoded.sequence_output, 1), -1)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=batch["starts"], logits=logits))


MODELS = {f.__name__: f for f in (mlp_embedding, while_loop, batch_norm, batch_norm_by_hand, bert)}
MODELS["batch_norm_in_four"] = functools.partial(batch_norm_by_hand, shards=4)
