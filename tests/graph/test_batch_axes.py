# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How tensors of a clone relate to those of the whole batch."""

import pytest
import tensorflow.compat.v1 as tf

from epl.ir import feeds
from epl.rewrite import op_traits
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.relations import (
    COUNT,
    LISTED,
    POSITIONS,
    SAME,
    SHARED,
    UNKNOWN,
    Reduced,
    Rows,
    ShapeOf,
)
from epl.rewrite.walk import descendants

tf.disable_v2_behavior()

ROWS, MEAN, SUM = Rows(0), Reduced("mean"), Reduced("sum")


def relation(make):
    """The relation of what `make(x, label, weights)` gives, x [None, 4], label [None]."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 4])
        label = tf.placeholder(tf.int64, [None])
        weights = tf.get_variable("w", [4, 4])
        tensor = make(x, label, weights)
        own = [op for op in x.graph.get_operations() if op.type in op_traits.STEP_SCOPED]
        reached = descendants([x.op, label.op] + own)
        axes = BatchAxes(lambda op: op in reached,
                         lambda op: 0 if op in (x.op, label.op) else None, lambda op: False,
                         sources=[x.op, label.op])
        return axes.of(tensor)


def fixed(x):
    x.set_shape([8, 4])
    return x


def without_shape(x):
    return tf.placeholder_with_default(x, None)


def number(declared=True):
    """What is fed, and has no shape, as a probability often has none."""
    fed = tf.placeholder(tf.float32)
    return feeds.share_feed(fed) if declared else fed


def normalised(x):
    """As batch normalisation does."""
    mean, variance = tf.nn.moments(x, [0])
    return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)


@pytest.mark.parametrize("make, expected", [
    (lambda x, y, w: w * 2.0, SHARED),
    (lambda x, y, w: tf.nn.softmax(tf.matmul(x, w) + w[0]), ROWS),
    (lambda x, y, w: tf.nn.softmax(x, 0), UNKNOWN),
    (lambda x, y, w: tf.transpose(x), Rows(1)),
    (lambda x, y, w: tf.matmul(w, x, transpose_b=True), Rows(1)),
    (lambda x, y, w: tf.matmul(x, x, transpose_a=True), SUM),
    (lambda x, y, w: tf.matmul(x, x, transpose_b=True), UNKNOWN),
    (lambda x, y, w: tf.einsum("ri,ij->rj", x, w), ROWS),
    (lambda x, y, w: tf.einsum("ri,ij->jr", x, w), Rows(1)),
    (lambda x, y, w: tf.einsum("ri,ri->r", x, x * 2.0), ROWS),
    (lambda x, y, w: tf.einsum("ri,rj->ij", x, x), SUM),
    (lambda x, y, w: tf.einsum("ri,si->rs", x, x), UNKNOWN),
    (lambda x, y, w: tf.reduce_mean(x), MEAN),
    (lambda x, y, w: tf.reduce_mean(x, 1), ROWS),
    (lambda x, y, w: tf.reduce_sum(x, 0), SUM),
    (lambda x, y, w: tf.reduce_max(tf.expand_dims(x, 0), 1), Reduced("max")),
    (lambda x, y, w: tf.cast(tf.reduce_any(x > 0), tf.float32), Reduced("max")),
    (lambda x, y, w: tf.cast(tf.reduce_sum(x), tf.int32), UNKNOWN),
    (lambda x, y, w: tf.reduce_mean(x) * 2.0, UNKNOWN),
    (lambda x, y, w: tf.shape(x), ShapeOf(0)),
    (lambda x, y, w: tf.shape(x)[0], COUNT),
    (lambda x, y, w: tf.shape(x)[1], SAME),
    (lambda x, y, w: tf.zeros([tf.shape(x)[0], 3]), ROWS),
    (lambda x, y, w: tf.random_uniform(tf.shape(x)), ROWS),
    (lambda x, y, w: tf.random_uniform([4]), SHARED),
    (lambda x, y, w: tf.reshape(x, [-1, 2, 2]), ROWS),
    (lambda x, y, w: tf.reshape(x, [2, -1]), UNKNOWN),
    (lambda x, y, w: tf.reshape(fixed(x), [2, -1]), UNKNOWN),
    (lambda x, y, w: tf.reshape(fixed(x), [8, -1]), ROWS),
    (lambda x, y, w: tf.reshape(tf.matmul(tf.reshape(fixed(x), [-1, 2]), w[:2]), [8, 2, 4]), ROWS),
    (lambda x, y, w: x - tf.reduce_mean(x, 0), UNKNOWN),
    (lambda x, y, w: x / tf.cast(tf.shape(x)[0], tf.float32), UNKNOWN),
    (lambda x, y, w: x * tf.random_uniform([]), ROWS),
    (lambda x, y, w: normalised(tf.matmul(x, w)), ROWS),
    (lambda x, y, w: tf.matmul(x, w) - tf.matmul(x, w)[0], UNKNOWN),
    (lambda x, y, w: tf.matmul(x, w) / tf.reduce_max(tf.matmul(x, w), 0), UNKNOWN),
    (lambda x, y, w: x * tf.cond(x[0, 0] > 0, lambda: 1.0, lambda: 2.0), UNKNOWN),
    (lambda x, y, w: tf.gather(tf.reduce_sum(tf.one_hot(y, 3), 0), y), UNKNOWN),
    (lambda x, y, w: tf.nn.softmax_cross_entropy_with_logits_v2(
        labels=x, logits=tf.matmul(x, w)), ROWS),
    (lambda x, y, w: tf.unsorted_segment_sum(x, y, 3), SUM),
    (lambda x, y, w: tf.reverse_sequence(x, y, seq_axis=1, batch_axis=0), ROWS),
    (lambda x, y, w: tf.reverse_sequence(x, y[:4], seq_axis=0, batch_axis=1), UNKNOWN),
    (lambda x, y, w: tf.reverse_sequence(tf.transpose(x), y, seq_axis=0, batch_axis=1), Rows(1)),
    (lambda x, y, w: tf.reverse_sequence(tf.stack([x, x], 2), [1, 2], seq_axis=1, batch_axis=2),
     ROWS),
    (lambda x, y, w: tf.reduce_sum(without_shape(x)), SUM),
    (lambda x, y, w: tf.reduce_mean(without_shape(x), tf.range(tf.rank(w))), UNKNOWN),
    (lambda x, y, w: x * number(), ROWS),
    (lambda x, y, w: x * (1.0 / number()) * tf.floor(tf.random_uniform(tf.shape(x)) + number()),
     ROWS),
    (lambda x, y, w: x * number(declared=False), UNKNOWN),
    (lambda x, y, w: x * tf.reshape(number(), y[:2]), UNKNOWN),
    (lambda x, y, w: tf.quantization.fake_quant_with_min_max_vars(x, w[0, 0], w[1, 1]), ROWS),
    (lambda x, y, w: tf.quantization.fake_quant_with_min_max_vars_per_channel(
        tf.expand_dims(x, 0), w[0], w[1]), Rows(1)),
    (lambda x, y, w: tf.cast(tf.range(tf.shape(x)[0]), tf.float32) * x[:, 0], POSITIONS),
    (lambda x, y, w: tf.one_hot(tf.range(tf.shape(x)[0]), 4) + x, POSITIONS),
    (lambda x, y, w: tf.gather_nd(x, tf.stack([tf.range(tf.shape(x)[0]), tf.cast(y, tf.int32)],
                                              1)), ROWS),
    (lambda x, y, w: tf.gather_nd(x, tf.concat([
        tf.expand_dims(tf.range(tf.shape(x)[0]), 1), tf.cast(y[:, None], tf.int32)], 1)), ROWS),
    (lambda x, y, w: tf.gather_nd(x, tf.stack([tf.range(1, tf.shape(x)[0] + 1),
                                               tf.cast(y, tf.int32)], 1)), UNKNOWN),
    (lambda x, y, w: tf.shape(x)[0] * 2, COUNT),
    (lambda x, y, w: tf.shape(x)[0] * tf.shape(x)[1], COUNT),
    (lambda x, y, w: tf.shape(x)[0] * tf.shape(x)[0], UNKNOWN),
    (lambda x, y, w: tf.reduce_prod(tf.shape(x)), COUNT),
    (lambda x, y, w: tf.gather(tf.shape(x), [1, 0]), ShapeOf(1)),
    (lambda x, y, w: tf.gather(tf.shape(x), [1, 1]), SAME),
    (lambda x, y, w: tf.gather(tf.shape(x), [0, 0]), UNKNOWN),
    (lambda x, y, w: tf.gather(tf.shape(x), 0), COUNT),
    (lambda x, y, w: tf.tensordot(tf.reshape(x, [tf.shape(x)[0], -1, 4]), w, [[2], [0]]), ROWS),
    (lambda x, y, w: tf.reshape(tf.stack([x, x], 1), [2 * tf.shape(x)[0], 4]), ROWS),
    (lambda x, y, w: tf.gather(w, y), ROWS),
    (lambda x, y, w: tf.gather(x, [0, 1]), UNKNOWN),
    (lambda x, y, w: tf.gather(x, [0, 1], axis=1), ROWS),
    (lambda x, y, w: tf.one_hot(y, 3), ROWS),
    (lambda x, y, w: tf.concat([x, x * 2], 1), ROWS),
    (lambda x, y, w: tf.concat([x, x], 0), UNKNOWN),
    (lambda x, y, w: tf.stack([x, x]), Rows(1)),
    (lambda x, y, w: x[:, 1:3], ROWS),
    (lambda x, y, w: x[..., 0], ROWS),
    (lambda x, y, w: x[:, None], ROWS),
    (lambda x, y, w: x[1:], UNKNOWN),
    (lambda x, y, w: tf.tile(w[:1], [tf.shape(x)[0], 1]), ROWS),
    (lambda x, y, w: tf.tile(w, [tf.shape(x)[0], 1]), UNKNOWN),
    (lambda x, y, w: x[0], UNKNOWN),
    (lambda x, y, w: tf.argmax(x, 1), ROWS),
    (lambda x, y, w: tf.nn.top_k(x).values, ROWS),
    (lambda x, y, w: tf.nn.top_k(x[:, 0]).values, UNKNOWN),
    (lambda x, y, w: tf.cumsum(x, 1), ROWS),
    (lambda x, y, w: tf.cumsum(x, 0), UNKNOWN),
    (lambda x, y, w: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x), ROWS),
    (lambda x, y, w: tf.nn.l2_loss(x), SUM),
    (lambda x, y, w: tf.reshape(tf.transpose(tf.reshape(x, [-1, 2, 2]), [1, 0, 2]), [2, -1, 1, 2]),
     Rows(1)),
    (lambda x, y, w: tf.reshape(tf.transpose(tf.reshape(x, [-1, 2, 2]), [1, 0, 2]), [-1, 2]),
     UNKNOWN),
    (lambda x, y, w: tf.cond(w[0, 0] > 0, lambda: x, lambda: x * 2), ROWS),
    (lambda x, y, w: tf.cond(w[0, 0] > 0, lambda: x, lambda: w), UNKNOWN),
    (lambda x, y, w: tf.cond(x[0, 0] > 0, lambda: 1.0, lambda: 2.0), UNKNOWN),
    (lambda x, y, w: tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(h)),
                                   [0, x])[1], ROWS),
    (lambda x, y, w: tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, tf.matmul(h, h)),
                                   [0, w + tf.reduce_mean(x)])[1], UNKNOWN),
    (lambda x, y, w: tf.nn.dynamic_rnn(tf.nn.rnn_cell.BasicRNNCell(2), x[:, :, None],
                                       dtype=tf.float32)[0], ROWS),
    (lambda x, y, w: tf.nn.fused_batch_norm(
        x[:, None, None], w[0], w[1])[1], MEAN),
])
def test_relation(make, expected):
    assert relation(make) == expected


def kept(row, w):
    """A loop for one row, which keeps what its turns make of it."""
    return tf.while_loop(lambda i, *_: i < 3, lambda i, h, a: (i + 1, h * w[0], a.write(i, h)), [
        0, row, tf.TensorArray(tf.float32, 3)])[2].stack()


@pytest.mark.parametrize("fix", [lambda x: x, fixed], ids=["open", "fixed"])
@pytest.mark.parametrize("of_row", [
    lambda row, w: row * 2 + tf.zeros([4]),
    lambda row, w: tf.tanh(tf.tensordot(row, w, 1)),
    lambda row, w: tf.cond(tf.reduce_sum(row) > 0, lambda: row * w[0], lambda: tf.zeros([4])),
    lambda row, w: tf.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, h * w[0]), [0, row])[1],
    lambda row, w: tf.reduce_sum(kept(row, w), 0)])
def test_rows_that_a_loop_works_on_one_by_one_are_rows(of_row, fix):
    assert relation(lambda x, y, w: tf.map_fn(lambda row: of_row(row, w), fix(x))) == ROWS
    assert relation(lambda x, y, w: tf.map_fn(
        lambda given: of_row(given[0], w) * tf.cast(given[1], tf.float32), (fix(x), y),
        tf.float32)) == ROWS


@pytest.mark.parametrize("make", [
    lambda x, w: tf.map_fn(lambda row: row - tf.reduce_mean(x, 0), x),
    lambda x, w: tf.map_fn(lambda row: tf.foldl(lambda sum_, other: sum_ + other * row, x), x),
    lambda x, w: tf.map_fn(lambda row: tf.foldl(lambda sum_, other: sum_ + other, x, row), x),
    lambda x, w: tf.map_fn(lambda given: given[0] * given[1], (
        x, tf.cast(tf.range(tf.shape(x)[0]), tf.float32)), tf.float32),
    lambda x, w: tf.map_fn(lambda row: row + tf.random_normal([4]), x),
    lambda x, w: tf.map_fn(lambda row: tf.cond(
        tf.reduce_sum(x) > 0, lambda: row, lambda: 2.0 * row), x),
    lambda x, w: tf.map_fn(lambda number: x[number], tf.range(tf.shape(x)[0]), tf.float32),
    lambda x, w: tf.map_fn(lambda row: tf.reduce_sum(kept(x, w), [0, 1]) * row, x),
    lambda x, w: tf.foldl(lambda sum_, row: sum_ + row, x),
    lambda x, w: tf.scan(lambda sum_, row: sum_ + row, x),
    lambda x, w: tf.scan(lambda sum_, row: sum_ + row, x, tf.zeros([4])),
    lambda x, w: turns(x, lambda number, row: tf.cast(number, tf.float32) * row),
    lambda x, w: turns(x, lambda number, row: row, begin=1),
    lambda x, w: turns(fixed(x), lambda number, row: tf.cast(number, tf.float32) * row, 0, 8),
    lambda x, w: turns(fixed(x), lambda number, row: row, 0, 4)])
def test_a_turn_that_looks_at_more_than_its_row_makes_no_rows(make):
    assert relation(lambda x, y, w: make(x, w)) == UNKNOWN


@pytest.mark.parametrize("begin, turn, expected", [
    (lambda x, w: [x], lambda w, a: [a * w[0] + tf.reduce_max(a)], UNKNOWN),
    (lambda x, w: [x], lambda w, a: [a - a[0]], UNKNOWN),
    (lambda x, w: [x], lambda w, a: [a * 2.0 / tf.cast(tf.size(a), tf.float32)], UNKNOWN),
    (lambda x, w: [x, x], lambda w, a, b: [a + b, tf.reverse(b, [0])], UNKNOWN),
    (lambda x, w: [x, tf.zeros([])], lambda w, a, b: [a + b, b + tf.reduce_sum(a)], UNKNOWN),
    (lambda x, w: [x, tf.reduce_sum(x)], lambda w, a, b: [a + 1.0, b * 2.0], ROWS),
    (lambda x, w: [x, tf.zeros_like(x)], lambda w, a, b: [a + b, tf.tanh(tf.matmul(a, w))], ROWS),
    (lambda x, w: [x], lambda w, a: [tf.cond(w[0, 0] > 0, lambda: a, lambda: a * 2.0)], ROWS),
    (lambda x, w: [x], lambda w, a: [tf.while_loop(
        lambda n, _: n < 2, lambda n, b: (n + 1, b * w[0]), [0, a])[1]], ROWS),
    (lambda x, w: [x], lambda w, a: [tf.while_loop(
        lambda n, _: n < 2, lambda n, b: (n + 1, b * tf.reduce_sum(b)), [0, a])[1]], UNKNOWN),
    (lambda x, w: [x], lambda w, a: [a * tf.reduce_sum(w)], ROWS),
    (lambda x, w: [tf.zeros([8, 4]), fixed(x)],
     lambda w, a, b: [tf.tanh(tf.concat([a, b], 1)[:, 2:6]), b], ROWS),
    (lambda x, w: [tf.zeros([8, 4]), fixed(x)],
     lambda w, a, b: [tf.reverse(a, [0]) + b, b], UNKNOWN),
    (lambda x, w: [tf.zeros([7, 4]), fixed(x)], lambda w, a, b: [a + b[:7], b], UNKNOWN)])
def test_a_loop_keeps_rows_apart_or_not(begin, turn, expected):
    assert relation(lambda x, y, w: tf.while_loop(
        lambda count, *_: count < 3, lambda count, *state: [count + 1] + turn(w, *state),
        [0] + begin(x, w))[1]) == expected


@pytest.mark.parametrize("value, expected", [
    (lambda x, w: x * w[0], Rows(1)), (lambda x, w: w * 2.0, SAME), (lambda x, w: x[0], UNKNOWN)])
def test_what_a_loop_keeps_of_its_turns(value, expected):
    def make(x, y, w):
        return tf.while_loop(
            lambda turn, *_: turn < 3,
            lambda turn, row, kept: (turn + 1, tf.tanh(row), kept.write(turn, value(row, w))),
            [0, x, tf.TensorArray(tf.float32, 3)])[2].stack()
    assert relation(make) == expected


def some_through(condition):
    """As TensorFlow's recurrent networks spare a selection; `condition(time, lengths)`."""
    def make(x, y, w):
        new, old = tf.matmul(x, w), x
        return tf.cond(condition(2, y), lambda: tf.matmul(x, w), lambda: tf.where(
            tf.greater_equal(tf.constant(2, tf.int64), y), old, new))
    return make


@pytest.mark.parametrize("condition, expected", [
    (lambda time, y: time < tf.reduce_min(y), ROWS),
    (lambda time, y: time >= tf.reduce_max(y), ROWS),
    (lambda time, y: time < tf.reduce_max(y), UNKNOWN),
    (lambda time, y: time + 1 < tf.reduce_min(y), UNKNOWN),
    (lambda time, y: time < tf.reduce_min(y + 1), UNKNOWN)])
def test_branches_that_come_to_the_same_for_every_row(condition, expected):
    assert relation(some_through(condition)) == expected
    assert relation(lambda x, y, w: tf.nn.static_rnn(
        tf.nn.rnn_cell.GRUCell(4), [x, x], sequence_length=y, dtype=tf.float32)[1]) == ROWS


def lists(y, w, fill=True, combiner="mean", weights=None):
    """Rows of two words each, of which -1 is none, looked up in `w`."""
    ids = tf.stack([y, y - 1], 1)
    where = tf.where(tf.not_equal(ids, -1))
    words = tf.SparseTensor(where, tf.gather_nd(ids, where), tf.shape(ids, out_type=tf.int64))
    if fill:
        return tf.nn.safe_embedding_lookup_sparse([w], words, combiner=combiner)
    return tf.nn.embedding_lookup_sparse(w, words, None, combiner=combiner)


@pytest.mark.parametrize("make, expected", [
    (lambda y, w: lists(y, w), ROWS), (lambda y, w: lists(y, w, combiner="sqrtn"), ROWS),
    (lambda y, w: lists(y, w, fill=False), UNKNOWN),  # lists at the end may be empty
    (lambda y, w: lists(y, w - tf.cast(tf.reduce_sum(y), tf.float32)), UNKNOWN),
    (lambda y, w: tf.gather(w, tf.unique(y)[0]), UNKNOWN),
    (lambda y, w: tf.boolean_mask(y, y > 0), LISTED)])
def test_lists_of_words_that_are_looked_up(make, expected):
    assert relation(lambda x, y, w: make(y, w)) == expected


def turns(x, of_row, begin=0, number=None):
    """A loop by hand over `number` rows, or all."""
    number = tf.shape(x)[0] if number is None else number
    given = tf.TensorArray(tf.float32, tf.shape(x)[0]).unstack(x)

    def turn(count, made):
        return count + 1, made.write(count, of_row(count, given.read(count)))

    made = tf.while_loop(lambda count, made: count < number, turn,
                         [begin, tf.TensorArray(tf.float32, number)])[1]
    return made.stack()


def test_an_operation_waits_for_all_that_it_takes():
    """What two ways lead to is looked at before either of them goes on."""
    def diamond(x, label, weights):
        near, far = x, x
        for _ in range(5):
            far = far + near
            near = tf.nn.relu(near) + far
        return tf.reduce_mean(near + far)

    assert relation(diamond) == MEAN
