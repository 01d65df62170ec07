# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small models that can be cut into pipeline stages; they know nothing of EPL.

A model is a function `(batch, stage, num_stages) -> loss`: `batch` maps names to tensors, and
`stage(i)` is a context manager in which stage i of `num_stages` (1 to 4) is built. Most are
written as generators that build a quarter of the forward computation before every `yield`, and
yield the loss at last; `in_quarters` makes models of them:

    @in_quarters
    def model(batch):
        first quarter
        yield
        second quarter
        yield
        third quarter
        yield
        yield loss

Values cross the stages in every way that a script's may: from one to the next, past several
(`mlp`), as a variable that two stages read (`tied`), as labels that only the last stage needs.
"""

import contextlib
import functools

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import layers

GLOBAL_BATCH = 32
STEPS = 10
QUARTERS = 4
MASKS = "masks"


def data(names):
    """The columns that a model reads in ten steps: `{name: array [320, ...]}`, always the same."""
    random = np.random.RandomState(0)
    rows = GLOBAL_BATCH * STEPS
    columns = {
        "x": random.randn(rows, 8).astype(np.float32),
        "image": random.randn(rows, 5, 5, 1).astype(np.float32),
        "ids": random.randint(0, 12, (rows, 4)).astype(np.int32),
        "length": random.randint(1, 5, rows).astype(np.int32),
        "y": random.randn(rows, 1).astype(np.float32),
    }
    return {name: columns[name] for name in names}


def in_quarters(generator):
    """The model whose quarters `generator(batch)` builds."""
    @functools.wraps(generator)
    def model(batch, stage, num_stages):
        quarters, loss = generator(batch), None
        for number in range(num_stages):
            with stage(number):
                for _ in range(number * QUARTERS // num_stages,
                               (number + 1) * QUARTERS // num_stages):
                    loss = next(quarters)
        return loss
    return model


@in_quarters
def mlp(batch):
    """Dense layers; the last stage also reads what the first one computed."""
    first = _dense(batch["x"], "first")
    yield
    hidden = _dense(first, "second")
    yield
    hidden = _dense(hidden, "third")
    yield
    yield _squared_error(tf.concat([hidden, first], 1), batch)


def convolution(normalise):
    """Convolutions, each followed by `normalise(inputs, name)`."""
    @in_quarters
    def model(batch):
        # No biases: normalisation cancels them, so their gradients would be rounding alone.
        hidden = tf.layers.conv2d(batch["image"], 3, 3, use_bias=False, name="first")
        yield
        hidden = tf.tanh(normalise(hidden, "first_norm"))
        yield
        hidden = tf.layers.conv2d(hidden, 4, 2, use_bias=False, name="second")
        yield
        hidden = tf.tanh(normalise(hidden, "second_norm"))
        yield _squared_error(tf.layers.flatten(hidden), batch)
    return model


def library_norm(inputs, name, fused=False):
    """Batch normalisation as scripts have it; its updates go to UPDATE_OPS."""
    return tf.layers.batch_normalization(inputs, momentum=0.9, training=True, fused=fused,
                                         name=name)


def norm_by_hand(inputs, name, shards, fused=False):
    """What `library_norm` means for `shards` micro-batches that are normalised apart.

    Every shard uses its own moments; the moving averages follow the mean over the shards.
    """
    size = [int(inputs.shape[-1])]
    with tf.variable_scope(name):
        gamma, beta, mean, variance = [
            tf.get_variable(variable, size, initializer=initializer, trainable=trainable)
            for variable, initializer, trainable in (
                ("gamma", tf.ones_initializer(), True),
                ("beta", tf.zeros_initializer(), True),
                ("moving_mean", tf.zeros_initializer(), False),
                ("moving_variance", tf.ones_initializer(), False))]
    pieces, moments = [], []
    for piece in tf.split(inputs, shards):
        if fused:
            normalised, *found = tf.nn.fused_batch_norm(piece, gamma, beta, epsilon=1e-3)
        else:
            found = tf.nn.moments(piece, [0, 1, 2])
            normalised = gamma * (piece - found[0]) / tf.sqrt(found[1] + 1e-3) + beta
        pieces.append(normalised)
        moments.append(found)
    for variable, values in zip((mean, variance), zip(*moments)):
        value = 0.9 * variable + 0.1 * tf.add_n(values) / shards
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(variable, value))
    return tf.concat(pieces, 0)


@in_quarters
def lstm(batch):
    """Embedded ids through two LSTM layers, sequences of different lengths."""
    table = tf.get_variable("table", [12, 5])
    hidden = tf.nn.embedding_lookup(table, batch["ids"])
    for name in ("lower", "upper"):
        yield
        hidden, state = tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(6), hidden, batch["length"],
                                          dtype=tf.float32, scope=name)
    yield
    yield _squared_error(state.h, batch)


@in_quarters
def encoder(batch):
    """A transformer of two layers with one attention head, over the sum of two embeddings.

    The ids of words differ from row to row, those of positions are the same for all.
    """
    length, size = int(batch["ids"].shape[1]), 8
    hidden = (tf.nn.embedding_lookup(tf.get_variable("words", [12, size]), batch["ids"])
              + tf.nn.embedding_lookup(tf.get_variable("positions", [length, size]),
                                       tf.range(length)))
    for name in ("lower", "upper"):
        yield
        # No bias for the keys: softmax cancels it, so its gradient would be rounding alone.
        query, key, value = [layers.dense(hidden, size, use_bias=False, name=name + part)
                             for part in ("_query", "_key", "_value")]
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / size ** 0.5)
        hidden = hidden + _dense(tf.matmul(weights, value), name + "_mixed")
        hidden = tf.tanh(hidden + _dense(hidden, name + "_wide"))
    yield
    yield _squared_error(hidden[:, 0], batch)


def bert(batch, stage, num_stages):
    """The example's BERT, two small layers without dropout, cut between them."""
    from examples.bert import modeling
    from examples.bert.bert_config import BertConfig

    config = BertConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        max_position_embeddings=4, type_vocab_size=2)
    ids = batch["ids"]
    with contextlib.ExitStack() as block:

        def on_stage(number):
            block.close()  # of the stage before
            block.enter_context(stage(number))

        encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), True,
                                num_stages, on_stage)
        return _squared_error(encoded.pooled_output, batch)


@in_quarters
def while_loop(batch):
    """A recurrence by hand: a loop of three steps over one matrix, in the second quarter."""
    hidden = _dense(batch["x"], "first")
    yield
    weights = tf.get_variable("recurrent", [8, 8])

    def body(step, state):
        return step + 1, tf.tanh(tf.matmul(state, weights) + hidden)

    _, state = tf.while_loop(lambda step, _: step < 3, body, [0, tf.zeros_like(hidden)])
    yield
    hidden = _dense(state, "third")
    yield
    yield _squared_error(hidden, batch)


@in_quarters
def cond(batch):
    """Every other step goes through another matrix."""
    hidden = _dense(batch["x"], "first")
    yield
    even, odd = [tf.get_variable(name, [8, 8]) for name in ("even", "odd")]
    is_even = tf.equal(tf.train.get_global_step() % 2, 0)
    hidden = tf.cond(is_even, lambda: tf.matmul(hidden, even),
                     lambda: tf.tanh(tf.matmul(hidden, odd)))
    yield
    hidden = _dense(hidden, "third")
    yield
    yield _squared_error(hidden, batch)


@in_quarters
def tied(batch):
    """Words are looked up in a table and predicted with it: a sparse and a dense gradient."""
    table = tf.get_variable("table", [12, 8])
    hidden = tf.reduce_mean(tf.nn.embedding_lookup(table, batch["ids"][:, 1:]), 1)
    yield
    hidden = _dense(hidden, "second")
    yield
    hidden = _dense(hidden, "third")
    yield
    logits = tf.matmul(hidden, table, transpose_b=True)
    yield tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=batch["ids"][:, 0], logits=logits))


@in_quarters
def lookups(batch):
    """One table is looked up by the ids of the rows and, as a whole, by ids that all rows share."""
    table = tf.get_variable("table", [12, 8])
    shared = tf.gather(table, tf.range(12))
    words = tf.nn.embedding_lookup(table, batch["ids"])
    yield
    hidden = tf.matmul(words, shared, transpose_b=True)
    yield
    hidden = _dense(tf.reduce_mean(hidden, 1), "third")
    yield
    yield _squared_error(hidden, batch)


@in_quarters
def odd_names(batch):
    """Variables and operations with names that look as if they meant something."""
    short = tf.get_variable("s", [8])
    hidden = tf.multiply(batch["x"], short, name="s_product")
    yield
    offset = tf.get_variable("global_step_offset", [8])
    hidden = tf.add(_dense(hidden, "s/gradients"), offset, name="my_global_step")
    yield
    hidden = tf.tanh(hidden, name="s_read/Assign")
    yield
    yield _squared_error(_dense(hidden, "save/s"), batch)


@in_quarters
def fed(batch):
    """Reads two placeholders that are the same for all rows: a number and a vector."""
    hidden = _dense(batch["x"] * batch["mask"], "first")
    yield
    hidden = _dense(hidden, "second") * batch["rate"]
    yield
    hidden = _dense(hidden * batch["mask"], "third")
    yield
    yield _squared_error(hidden, batch)


@in_quarters
def py_func(batch):
    """Python code in the forward computation, without a gradient of its own."""
    hidden = _dense(batch["x"], "first")
    yield
    extra = tf.py_func(lambda value: np.cos(3.0 * value), [hidden], tf.float32)
    extra.set_shape(hidden.shape)
    hidden = _dense(hidden + 0.3 * extra, "second")
    yield
    hidden = _dense(hidden, "third")
    yield
    yield _squared_error(hidden, batch)


@in_quarters
def l2(batch):
    """Weight decay by regularisation losses; the last stage reads the weights of all."""
    def decay(weights):
        return 0.01 * tf.nn.l2_loss(weights)

    hidden = _dense(batch["x"], "first", kernel_regularizer=decay)
    yield
    hidden = _dense(hidden, "second", kernel_regularizer=decay)
    yield
    hidden = _dense(hidden, "third", kernel_regularizer=decay)
    yield
    yield _squared_error(hidden, batch) + tf.losses.get_regularization_loss()


@in_quarters
def stop_gradient(batch):
    """No gradient reaches the first quarter, not all ways are open later, one variable has none."""
    tf.get_variable("unused", [3])
    first = tf.stop_gradient(_dense(batch["x"], "first"))
    yield
    hidden = _dense(first, "second")
    yield
    hidden = _dense(tf.concat([tf.stop_gradient(hidden), hidden + first], 1), "third")
    yield
    yield _squared_error(hidden, batch)


@in_quarters
def custom_gradient(batch):
    """A loss that says itself what its gradient is."""
    @tf.custom_gradient
    def bounded(value):
        return tf.square(value), lambda upstream: upstream * tf.tanh(value)

    hidden = _dense(batch["x"], "first")
    yield
    hidden = _dense(hidden, "second")
    yield
    hidden = bounded(hidden) - hidden
    yield
    yield tf.reduce_mean(bounded(layers.dense(hidden, 1, name="head") - batch["y"]))


@in_quarters
def dropout(batch):
    """Dropout with fixed seeds. The masks are in the collection MASKS."""
    def dropped(hidden, seed):
        mask = tf.nn.dropout(tf.ones_like(hidden), rate=0.5, seed=seed)
        tf.add_to_collection(MASKS, mask)
        return hidden * mask

    hidden = dropped(_dense(batch["x"], "first"), 5)
    yield
    hidden = _dense(hidden, "second")
    yield
    hidden = dropped(_dense(hidden, "third"), 6)
    yield
    yield _squared_error(hidden, batch)


def _dense(inputs, name, **options):
    return layers.dense(inputs, 8, tf.tanh, name=name, **options)


def _squared_error(hidden, batch):
    return tf.reduce_mean(tf.square(layers.dense(hidden, 1, name="head") - batch["y"]))
