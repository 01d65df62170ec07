# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The blocks of a model: functions `(context, spec, value) -> value`, both [rows, WIDTH].

No block but batch normalisation mixes a row with another.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from tests.programs.context import variable
from tests.programs.drawing import LENGTH, VOCABULARY, WIDTH
from tests.programs.functions import function, predicate
from tests.support import layers


def block(context, spec):
    """Build a block; what it makes becomes the context's last value."""
    value = context.value(spec["back"])
    with tf.variable_scope(spec["name"]):
        context.add(_KINDS[spec["kind"]](context, spec, value))


def dense(context, spec, value):
    activation = {"tanh": tf.tanh, "sigmoid": tf.sigmoid, "softplus": tf.nn.softplus,
                  "relu": tf.nn.relu, "linear": None}[spec["activation"]]
    decay = (lambda weights: 0.01 * tf.nn.l2_loss(weights)) if spec["decay"] else None
    found = value
    if spec["inner"]:
        found = layers.dense(found, spec["inner"], tf.tanh, name="inner")
    found = layers.dense(found, WIDTH, activation, kernel_regularizer=decay, name="outer")
    return value + found if spec["residual"] else found


def embedding(context, spec, value):
    """The vectors of a row's ids, from a table that other blocks may read too."""
    table = context.shared(spec["table"], [VOCABULARY, WIDTH])
    ids = context.inputs["ids"]
    vectors = _LOOKUPS[spec["lookup"]](table, ids)
    if spec["combine"] == "concat":
        return value + layers.dense(tf.reshape(vectors, [-1, LENGTH * WIDTH]), WIDTH,
                                    name="joined")
    combine = tf.reduce_mean if spec["combine"] == "mean" else tf.reduce_sum
    return tf.tanh(value + combine(vectors, 1))


def _positions(table, ids):
    """Words, and positions that are the same for all rows."""
    return tf.nn.embedding_lookup(table, ids) + tf.gather(table, tf.range(LENGTH))


def _sparse(table, ids):
    """Lists of ids of different lengths; the first is always there."""
    there = tf.concat([tf.ones_like(ids[:, :1], tf.bool), ids[:, 1:] > 2], 1)
    where = tf.where(there)
    lists = tf.SparseTensor(where, tf.gather_nd(ids, where), tf.shape(ids, out_type=tf.int64))
    mean = tf.nn.embedding_lookup_sparse(table, lists, None, combiner="mean")
    return tf.tile(tf.expand_dims(tf.reshape(mean, [-1, WIDTH]), 1), [1, LENGTH, 1])


_LOOKUPS = {
    "lookup": tf.nn.embedding_lookup,
    "gather": tf.gather,
    "one_hot": lambda table, ids: tf.tensordot(
        tf.one_hot(ids, VOCABULARY, dtype=table.dtype.base_dtype), table, 1),
    "positions": _positions,
    "sparse": _sparse,
    "product": lambda table, ids: tf.gather(tf.tanh(table) * 2.0, ids),
}


def scale(context, spec, value):
    if spec["variable"] == "shared":
        return value * context.shared("factor", [WIDTH])
    return value * variable("factor", [WIDTH], context.dtype)


def tied(context, spec, value):
    matrix = context.shared("matrix", [WIDTH, WIDTH])
    return tf.tanh(tf.matmul(value, matrix, transpose_b=spec["transpose"]))


def layer_norm(context, spec, value):
    mean, variance = tf.nn.moments(value, [1], keep_dims=True)
    gain = variable("gain", [WIDTH], context.dtype, initializer=tf.ones_initializer())
    return (value - mean) / tf.sqrt(variance + 0.1) * gain


def batch_norm(context, spec, value):
    """TensorFlow's layer; by hand where every shard of the batch is to be normalised apart.

    Of rows that a variable has a share in: statistics of the data alone are the whole batch's.
    """
    value = value * variable("share", [WIDTH], context.dtype)
    image = tf.reshape(value, [-1, 1, 1, WIDTH])
    if not context.shards:
        found = tf.layers.batch_normalization(image, momentum=0.9, epsilon=0.1, training=True,
                                              fused=_is_fused(context, spec), name="norm")
    else:
        found = _norm_by_hand(context, spec, image)
    return tf.reshape(found, [-1, WIDTH])


def _is_fused(context, spec):
    return spec["fused"] and context.dtype == tf.float32  # there is no other kernel


def _norm_by_hand(context, spec, image):
    with tf.variable_scope("norm"):
        gamma, beta, mean, variance = [
            variable(name, [WIDTH], context.dtype, trainable, initializer)
            for name, initializer, trainable in (
                ("gamma", tf.ones_initializer(), True), ("beta", tf.zeros_initializer(), True),
                ("moving_mean", tf.zeros_initializer(), False),
                ("moving_variance", tf.ones_initializer(), False))]
    pieces, moments = [], []
    for piece in tf.split(image, context.shards):
        found = tf.nn.moments(piece, [0, 1, 2])
        pieces.append(gamma * (piece - found[0]) / tf.sqrt(found[1] + 0.1) + beta)
        moments.append(found)
    rows = tf.cast(tf.shape(pieces[0])[0], context.dtype)
    unbiased = rows / (rows - 1.0) if _is_fused(context, spec) else 1.0
    for moving, values, factor in zip((mean, variance), zip(*moments), (1.0, unbiased)):
        value = 0.9 * moving + 0.1 * factor * tf.add_n(values) / context.shards
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(moving, value))
    return tf.concat(pieces, 0)


def convolution(context, spec, value):
    """A convolution over a row."""
    if spec["rank"] == 1:
        found = tf.layers.conv1d(tf.expand_dims(value, 2), 3, 2, padding="same",
                                 activation=tf.tanh, name="convolution")
        if spec["pool"]:
            found = tf.layers.max_pooling1d(found, 2, 2)
    else:
        image = tf.reshape(tf.concat([value, context.inputs["x"]], 1), [-1, 2, WIDTH, 1])
        found = tf.layers.conv2d(image, 3, 2, padding="same", activation=tf.tanh,
                                 name="convolution")
        if spec["pool"]:
            found = tf.layers.average_pooling2d(found, 2, 1)
    return layers.dense(tf.layers.flatten(found), WIDTH, name="flat")


def dropout(context, spec, value):
    """Dropout that drops nothing: draws could not be compared."""
    if spec["how"] == "layer":
        return tf.layers.dropout(value, 0.5, training=False)
    return tf.nn.dropout(tf.identity(value), rate=0.0)  # a stage of nothing would be none


def recurrent(context, spec, value):
    sequence = {
        "sequence": lambda: context.inputs["sequence"],
        "ids": lambda: tf.nn.embedding_lookup(context.shared("table0", [VOCABULARY, WIDTH]),
                                              context.inputs["ids"]),
        "state": lambda: tf.stack([value, tf.tanh(value), 0.5 * value], 1),
    }[spec["of"]]()
    cell = {"basic": tf.nn.rnn_cell.BasicRNNCell, "gru": tf.nn.rnn_cell.GRUCell,
            "lstm": tf.nn.rnn_cell.LSTMCell}[spec["cell"]](WIDTH, dtype=context.dtype)
    lengths = context.inputs["lengths"] if spec["lengths"] else None
    if spec["unrolled"]:
        outputs, _ = tf.nn.static_rnn(cell, tf.unstack(sequence, LENGTH, 1), dtype=context.dtype,
                                      sequence_length=lengths)
        outputs = tf.stack(outputs, 1)
    else:
        outputs, _ = tf.nn.dynamic_rnn(cell, sequence, lengths, dtype=context.dtype)
    return value + tf.reduce_mean(outputs, 1)


def attention(context, spec, value):
    """Attention between the members of a row's sequence."""
    hidden = context.inputs["sequence"] + tf.expand_dims(value, 1)
    # No bias for the keys: softmax cancels it, so its gradient would be rounding alone.
    query, key, content = [layers.dense(hidden, WIDTH, use_bias=False, name=name)
                           for name in ("query", "key", "content")]
    weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / WIDTH ** 0.5)
    return tf.reduce_mean(tf.matmul(weights, content), 1)


def cond(context, spec, value):
    return function(context, spec, context.inputs["x"])(value)


def case(context, spec, value):
    """Two branches that are asked for one after the other, and what holds else."""
    branches = []
    for number, part in enumerate(spec["branches"]):
        with tf.variable_scope("branch{}".format(number)):
            branches.append(function(context, part, context.inputs["x"]))
    first, second, other = [lambda b=branch: b(value) for branch in branches]
    with tf.variable_scope("case"):
        found = tf.case([(predicate(context, "first_step")(), first),
                         (predicate(context, "odd_step")(), second)], other)
    found.set_shape(value.shape)
    return found


def map_rows(context, spec, value):
    """Row by row; `by_row`: only rows with a positive sum."""
    apply = function(context, spec["function"], None)

    def of_row(row):
        if not spec["by_row"]:
            return apply(row)
        found = tf.cond(tf.reduce_sum(row) > 0.0, lambda: apply(row), lambda: 0.5 * row)
        found.set_shape(row.shape)
        return found

    found = tf.map_fn(of_row, value)
    return value + found


def scan(context, spec, value):
    """A recurrence by hand over the members of the sequence."""
    body = function(context, spec["body"], value)
    members = tf.transpose(context.inputs["sequence"], [1, 0, 2])

    def turn(state, member):
        found = tf.tanh(body(state) + member)
        found.set_shape(state.shape)
        return found

    if spec["fold"]:
        return tf.foldl(turn, members, value)
    return tf.reduce_mean(tf.scan(turn, members, value), 0)


def py_func(context, spec, value):
    """Python code, without a gradient of its own."""
    found = tf.py_func(lambda array: np.cos(3.0 * array), [value], context.dtype)
    found.set_shape(value.shape)
    return value + 0.3 * found


def custom_gradient(context, spec, value):
    @tf.custom_gradient
    def bounded(inner):
        return tf.square(inner), lambda upstream: upstream * tf.tanh(inner)

    return value - 0.5 * bounded(value)


def stop_gradient(context, spec, value):
    return tf.tanh(value + tf.stop_gradient(value))


def shapes(context, spec, value):
    return _SHAPES[spec["how"]](context, value)


def _asserted(context, value):
    with tf.control_dependencies([tf.Assert(tf.reduce_all(tf.abs(value) < 1e6), [value])]):
        return tf.identity(value)


def _gathered(context, value):
    """Each row's element at its first id, and the row."""
    rows = tf.range(tf.shape(value)[0])
    where = tf.stack([rows, context.inputs["ids"][:, 0] % WIDTH], 1)
    return value + tf.expand_dims(tf.gather_nd(value, where), 1)


_SHAPES = {
    "concat": lambda c, v: tf.concat([v[:, 2:], tf.tanh(v[:, :2])], 1),
    "where": lambda c, v: tf.where(v > 0.0, v, 0.1 * v),
    "gather": _gathered,
    "sort": lambda c, v: tf.nn.top_k(v, WIDTH)[0],
    "cumsum": lambda c, v: 0.5 * tf.cumsum(v, 1),
    "einsum": lambda c, v: 0.3 * tf.einsum("ri,rti->ri", v, c.inputs["sequence"]),
    "softmax": lambda c, v: v * tf.nn.softmax(v) + tf.nn.l2_normalize(v, 1, 0.1),
    "assert": _asserted,
    "dynamic": lambda c, v: tf.reshape(tf.tile(v, [1, 2]), [tf.shape(v)[0], 2 * WIDTH])[:, 1:5],
}


def summary(context, spec, value):
    tf.summary.histogram("values", value)
    return value * variable("factor", [WIDTH], context.dtype)


_KINDS = {"dense": dense, "embedding": embedding, "scale": scale, "tied": tied,
          "layer_norm": layer_norm, "batch_norm": batch_norm, "convolution": convolution,
          "dropout": dropout, "recurrent": recurrent, "attention": attention, "cond": cond,
          "while": cond, "case": case, "map": map_rows, "scan": scan, "py_func": py_func,
          "custom_gradient": custom_gradient, "stop_gradient": stop_gradient, "shapes": shapes,
          "summary": summary}
