# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masked means, sums and what else a loss is put together of are those of the whole batch."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import (
    ACCUMULATION,
    BOTH,
    PIPELINE,
    REPLICAS,
    assert_same,
    reference,
    run,
    unoptimized,
)
from tests.support import layers, loopback

LAYOUTS = [ACCUMULATION, REPLICAS, PIPELINE, BOTH, devices.Layout(micro_batches=4)]

RNG = np.random.RandomState(5)
ROWS = RNG.randn(8, 3).astype(np.float32)
MASK = np.array([1, 0, 0, 0, 1, 1, 0.5, 1], np.float32)  # every part has another count
OTHER = np.array([0, 1, 1, 1, 0, 2, 3, 1], np.float32)


def masked(error, mask):
    return tf.reduce_sum(error * mask) / tf.reduce_sum(mask)


def by_columns(error, mask):
    """A weighted mean of each column, then their mean."""
    wide = tf.stack([error, tf.square(error)], 1)
    weights = tf.stack([mask, tf.square(mask)], 1)
    return tf.reduce_mean(tf.reduce_sum(wide * weights, 0) / (tf.reduce_sum(weights, 0) + 1e-5))


def guarded(error, mask):
    """0 if nothing counts."""
    count = tf.reduce_sum(mask)
    mean = tf.reduce_sum(error * mask) / tf.maximum(count, 1e-3)
    return tf.where(tf.equal(count, 0.0), tf.zeros([]), mean)


def normalised_mask(error, mask):
    """As graph convolution networks weigh the nodes that have a label."""
    return tf.reduce_mean(error * (mask / tf.reduce_mean(mask)))


def standardised(error, mask):
    """Weights with mean 0 and variance 1, as advantages of policies have them."""
    mean, variance = tf.nn.moments(mask, [0])
    return tf.reduce_mean(error * (mask - mean) / tf.sqrt(variance + 1e-5))


def two_counts(error, mask, other):
    """As the pre-training of BERT: a masked mean and a mean, or another masked mean."""
    return masked(error, mask) + masked(tf.sqrt(error + 1.0), other) + tf.reduce_mean(error)


def with_weights(error, mask):
    penalty = tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()])
    return tf.reduce_sum(error) + 3.0 * penalty + tf.identity(masked(error, mask))


def standardised_by_hand(error, mask):
    """Its variance is computed from what is divided by it."""
    centred = mask - tf.reduce_mean(mask)
    return tf.reduce_mean(error * centred / tf.sqrt(tf.reduce_mean(tf.square(centred)) + 1e-5))


def weighted_by_class(error, label):
    """Every class weighs the same, however often it is there."""
    label = tf.cast(label, tf.int32)
    counts = tf.reduce_sum(tf.one_hot(label, 4), 0)
    return tf.losses.compute_weighted_loss(error, tf.gather(1.0 / (counts + 1.0), label))


LOSSES = {
    "masked": lambda e, m, o: masked(e, m),
    "masked_by_library": lambda e, m, o: tf.losses.compute_weighted_loss(e, m),
    "mean_of_weighted": lambda e, m, o: tf.losses.compute_weighted_loss(
        e, m, reduction=tf.losses.Reduction.MEAN),
    "guarded": lambda e, m, o: guarded(e, m),
    "by_columns": lambda e, m, o: by_columns(e, m),
    "mean_over_mean": lambda e, m, o: tf.reduce_mean(e * m) / tf.reduce_mean(m),
    "normalised_mask": lambda e, m, o: normalised_mask(e, m),
    "standardised": lambda e, m, o: standardised(e, m),
    "most": lambda e, m, o: tf.reduce_mean(e * m) / tf.reduce_max(m),
    "two_counts": two_counts,
    "sum": lambda e, m, o: tf.reduce_sum(e),
    "sum_by_a_number": lambda e, m, o: tf.reduce_sum(e) / 2.5 - 0.2 * tf.reduce_sum(e * m),
    "sum_by_all_rows": lambda e, m, o: tf.reduce_sum(e) / 8.0,
    "sum_of_halves_by_all_rows": lambda e, m, o: 0.125 * (0.5 * tf.reduce_sum(e)),
    "squares": lambda e, m, o: 0.01 * tf.nn.l2_loss(e),
    "sum_with_weights": lambda e, m, o: with_weights(e, m),
    "sum_times_a_weight": lambda e, m, o: tf.reduce_sum(e) * tf.trainable_variables()[0][0, 0],
    "counted_rows": lambda e, m, o: tf.reduce_sum(e * m) / tf.cast(tf.shape(m)[0], tf.float32),
    "product_of_vectors": lambda e, m, o: tf.squeeze(tf.matmul(
        e[:, None], m[:, None], transpose_a=True)) / tf.reduce_sum(m),
    "divided_rows": lambda e, m, o: tf.reduce_sum(e / tf.cast(tf.shape(m)[0], tf.float32)),
    "sum_of_normalised": lambda e, m, o: tf.reduce_sum(e * m / tf.reduce_sum(m)) + tf.reduce_mean(
        e / tf.reduce_max(o)),
    "standardised_by_hand": lambda e, m, o: standardised_by_hand(e, m),
    "weighted_by_class": lambda e, m, o: weighted_by_class(e, o),
    "like_the_first": lambda e, m, o: tf.reduce_mean(e * tf.cast(tf.equal(o, o[0]), tf.float32)),
    "cross_entropy": lambda e, m, o: tf.losses.softmax_cross_entropy(
        tf.one_hot(tf.cast(o, tf.int32), 2), tf.stack([e, -e], 1)),
    "sums_by_number": lambda e, m, o: tf.reduce_mean(
        tf.unsorted_segment_sum(e, tf.cast(o, tf.int32), 4)),
    "scaled_to_all_data": lambda e, m, o: 1000.0 / tf.cast(tf.shape(m)[0], tf.float32)
    * tf.reduce_sum(e) * 1e-3,
    "by_its_size": lambda e, m, o: tf.reduce_sum(e) / tf.cast(tf.size(e), tf.float32),
    "by_ones_of_its_shape": lambda e, m, o: by_ones_of_its_shape(e),
}
if not tf.__version__.startswith("1."):  # there it is put together of others, and a warning says so
    LOSSES["sum_by_equation"] = lambda e, m, o: tf.einsum("i,i->", e, m) / tf.reduce_sum(m)


def by_ones_of_its_shape(error):
    """As slim's losses count what is there: for each row the elements that it has, if any count."""
    rows = tf.reshape(tf.slice(tf.shape(error), [0], [1]), [])
    each = tf.cast(tf.size(error), tf.float32) / tf.cast(rows, tf.float32)
    each = tf.where(tf.equal(tf.constant(1.0), 0), 0.0, each)
    return tf.div_no_nan(tf.reduce_sum(error), tf.reduce_sum(tf.ones(tf.reshape(rows, [1])) * each))


def train(stage, loss_of, resource, opt=None, fixed=0):
    """Losses and variables of three steps.

    Args:
      fixed: rows of a batch whose shape is known when the graph is built; 0: they are fed.
    """
    x = tf.placeholder(tf.float32, [None, 3])
    mask, other = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    fed = {x: ROWS, mask: MASK, other: OTHER}
    if fixed:
        data = tf.data.Dataset.from_tensor_slices((ROWS, MASK, OTHER)).repeat()
        x, mask, other = tf.data.make_one_shot_iterator(
            data.batch(fixed, drop_remainder=True)).get_next()
        fed = {}
    with tf.variable_scope("m", use_resource=resource):
        with stage(0):
            hidden = layers.dense(x, 4, tf.tanh, kernel_initializer=tf.ones_initializer())
        with stage(1):
            out = layers.dense(hidden, 1, kernel_initializer=tf.constant_initializer(0.3))
            loss = loss_of(tf.square(out[:, 0] - x[:, 1]), mask, other)
            if opt is not None:
                opt = opt()
            train_op = (opt or tf.train.MomentumOptimizer(0.05, 0.9)).minimize(loss)
    fetched = [loss, loss * 2.0, train_op]
    with devices.session() as session:
        before = [] if fixed else session.run(loss, fed)
        steps = [session.run(fetched, fed)[:2] for _ in range(3)]
        return before, steps, session.run(tf.global_variables())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.xdist_group("terms " + name)) for name in sorted(LOSSES)])
def test_equals_one_device(name, layout):
    def script(stage):
        return train(stage, LOSSES[name], True)

    with mock.patch.object(tf.logging, "warning") as said, \
            contextlib.nullcontext() if layout == BOTH else unoptimized():
        found = run(layout, script)
    assert not [call for call in said.call_args_list if "the loss" in call[0][0]]
    assert_same(found, reference(("terms", name), script), 2e-5, 2e-6)


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS], ids=str)
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.xdist_group("terms " + name)) for name in sorted(LOSSES)])
def test_of_a_fixed_batch_equals_one_device(name, layout):
    """TensorFlow makes constants of its sizes."""
    with mock.patch.object(tf.logging, "warning") as said:
        found = run(layout, lambda stage: train(stage, LOSSES[name], True, fixed=4))
    assert not [call for call in said.call_args_list if "the loss" in call[0][0]]
    assert_same(found, reference(("fixed terms", name), lambda stage: train(
        stage, LOSSES[name], True, fixed=8)), 2e-5, 2e-6)


@pytest.mark.parametrize("name", ["two_counts", "sum_with_weights", "normalised_mask"])
def test_with_ref_variables(name):
    assert_same(run(BOTH, lambda stage: train(stage, LOSSES[name], False)),
                run(None, lambda stage: train(stage, LOSSES[name], False)), 2e-5, 2e-6)


@pytest.mark.parametrize("strategy", ["PreferForward", "PreferBackward"])
def test_first_micro_batch_does_not_wait_for_the_last(strategy):
    """The count of all rows is known before any cell has run, in every schedule."""
    config = {"pipeline.strategy": strategy}
    found = run(devices.Layout(stages=2, micro_batches=4), lambda stage: train(
        stage, LOSSES["masked_by_library"], True), config)
    assert_same(found, run(None, lambda stage: train(
        stage, LOSSES["masked_by_library"], True)), 2e-5, 2e-6)


def in_batch_negatives(error, mask):
    del mask
    alike = tf.matmul(error[:, None], error[None, :])
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(
        labels=tf.eye(tf.shape(error)[0]), logits=alike))


def by_learned_weights(error, mask):
    weights = tf.sigmoid(error) * mask
    return tf.reduce_sum(error * weights) / tf.reduce_sum(weights, name="learned")


def decided(error):
    """Which of two losses counts, all rows say together."""
    return tf.reduce_mean(tf.cond(tf.reduce_mean(error) > 0.5, lambda: error, lambda: error * 2.0))


def to_the_longest(error, mask):
    longest = tf.reduce_max(tf.cast(mask, tf.int32), name="s")
    return tf.reduce_mean(tf.while_loop(
        lambda n, _: n < longest, lambda n, inner: (n + 1, inner * 0.5), [0, error])[1])


def some_empty(error, mask):
    """Lists of words of which a row may have none."""
    words = tf.where(tf.stack([mask, mask], 1) > 0.6)
    lists = tf.SparseTensor(words, words[:, 1], [tf.shape(mask, out_type=tf.int64)[0], 2])
    table = tf.get_variable("t", [2, 1], initializer=tf.ones_initializer())
    return tf.reduce_mean(error) + tf.reduce_mean(
        tf.nn.embedding_lookup_sparse(table, lists, None, combiner="mean"))


def ragged(error, mask):
    """As many words in each row as it says."""
    words = tf.RaggedTensor.from_row_lengths(
        tf.ones([tf.reduce_sum(tf.cast(mask + 1.0, tf.int32))]), tf.cast(mask + 1.0, tf.int32))
    return tf.reduce_mean(error) + tf.reduce_mean(
        tf.reduce_mean(words * tf.trainable_variables()[0][0, 0], 1))


STRANGE = {
    "some_empty": (some_empty, "is computed by"),
    "root": (lambda e, m: tf.sqrt(tf.reduce_mean(e), name="root"), "computed by 'm/root'"),
    "negatives": (in_batch_negatives, "is computed by"),
    "learned": (by_learned_weights, "divides by 'm/learned'"),
    "product": (lambda e, m: tf.multiply(tf.reduce_mean(e), tf.reduce_mean(e * m), name="both"),
                "'m/both'"),
    "largest": (lambda e, m: tf.reduce_max(e, name="worst"), "computed by 'm/worst'"),
    "first_row": (lambda e, m: tf.reduce_mean(tf.square(tf.subtract(e, e[0], "s"))), "'m/s'"),
    "mixed_up": (lambda e, m: tf.reduce_mean(tf.multiply(e, tf.reverse(m, [0]), "s")), "'m/s'"),
    "shares": (lambda e, m: tf.reduce_sum(tf.multiply(m, tf.nn.softmax(e, 0), "s")), "'m/s'"),
    "by_the_largest": (lambda e, m: tf.reduce_mean(tf.divide(m, tf.reduce_max(e), "s")), "'m/s'"),
    "centred": (lambda e, m: tf.reduce_mean(tf.abs(tf.subtract(e, tf.reduce_mean(e), "s"))),
                "'m/s'"),
    "variance": (lambda e, m: tf.nn.moments(e, [0])[1], "compares with others"),
    "ranks": (lambda e, m: tf.reduce_mean(tf.subtract(e, tf.cumsum(e), "s")), "'m/s'"),
    "decided": (lambda e, m: decided(e), "that the batch decides about"),
    "in_a_loop": (lambda e, m: tf.reduce_mean(tf.while_loop(
        lambda n, _: n < 2, lambda n, inner: (n + 1, tf.multiply(
            inner, tf.reduce_sum(inner), "s")), [0, e])[1]), "s'"),
    "to_the_longest": (lambda e, m: tf.reduce_mean(tf.while_loop(
        lambda n, _: n < tf.reduce_max(tf.cast(m, tf.int32)),
        lambda n, inner: (n + 1, inner * 0.5), [0, e])[1]), "has as many turns as 'Placeholder_1'"),
    "longest_before": (lambda e, m: to_the_longest(e, m), "has as many turns as 'm/s'"),
    "sum_of_unequal": (lambda e, m: tf.reduce_sum(e, name="s") / 4.0 + tf.reduce_sum(e) * 0.0
                       + tf.get_default_graph().get_tensor_by_name("m/s:0"), "gives twice"),
}


@pytest.mark.parametrize("name", sorted(STRANGE))
def test_says_what_cannot_be_made_whole(name):
    loss_of, message = STRANGE[name]
    found = said_of(loss_of)
    assert len(found) == 1 and message in found[0] and "test_terms_of_losses.py:" in found[0]


def said_of(loss_of):
    """The warnings about a loss of errors and a mask, trained in two micro-batches."""
    with mock.patch.object(tf.logging, "warning") as said:
        run(ACCUMULATION, lambda stage: train(stage, lambda e, m, o: loss_of(e, m), True))
    return [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]


def test_ragged_rows_are_named():
    found = said_of(ragged)
    assert found and all("test_terms_of_losses.py:" in text for text in found)


def test_rows_that_a_function_computes_are_named():
    """What v2 loops keep for gradients does not hide what the loop makes of rows."""
    def in_a_loop(error, mask, other):
        return tf.reduce_mean(tf.subtract(tf.while_loop(
            lambda n, _: n < 2, lambda n, inner: (n + 1, inner * tf.reduce_max(inner)),
            [0, error])[1], mask, "s"))

    with devices.control_flow_v2(), mock.patch.object(tf.logging, "warning") as said:
        run(ACCUMULATION, lambda stage: train(stage, in_a_loop, True))
    found = [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
    assert found and all("test_terms_of_losses.py:" in text for text in found)


def test_inputs_that_the_model_normalises_are_named():
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            centred = tf.subtract(x, tf.reduce_mean(x, 0, name="mean"), name="centred")
            loss = tf.reduce_mean(tf.square(layers.dense(centred, 1)))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        devices.session()

    with mock.patch.object(tf.logging, "warning") as said:
        run(ACCUMULATION, script)
    found, = [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
    assert "'mean'" in found and "test_terms_of_losses.py:" in found


def test_half_of_a_sum_over_two_rows_is_named():
    """Two may be the number of rows of a part, or the factor of a quadratic loss."""
    def script(stage, rows):
        dataset = tf.data.Dataset.from_tensor_slices(ROWS).batch(rows, drop_remainder=True)
        with stage(0):
            output = layers.dense(tf.data.make_one_shot_iterator(dataset).get_next(), 1)
            loss = tf.reduce_sum(tf.square(output)) / 2.0
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        devices.session()

    for rows, times in (2, 1), (4, 0):
        with mock.patch.object(tf.logging, "warning") as said:
            run(ACCUMULATION, lambda stage, rows=rows: script(stage, rows))
        found = [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
        assert ["2 rows of a part" in text for text in found] == [True] * times


def test_a_loss_that_is_registered_is_that_of_the_whole_batch():
    def script(stage, register=False):
        def loss_of(error, mask, other):
            loss = two_counts(error, mask, other)
            if register:
                epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
            return loss
        return train(stage, loss_of, True)

    assert_same(run(BOTH, lambda stage: script(stage, True)), run(None, script), 2e-5, 2e-6)


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS, BOTH], ids=str)
def test_a_sum_that_two_optimizers_share(layout):
    """As in canned estimators: one loss, added up over rows, of which each has its variables."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            wide, deep = devices.dense(x, 1, "wide"), devices.dense(x, 4, "first", tf.tanh)
        with stage(1):
            deep = devices.dense(deep, 1, "deep")
            loss = tf.reduce_sum(tf.square(wide + deep - x[:, 1:2]))
        variables = tf.trainable_variables()
        steps = [tf.train.GradientDescentOptimizer(0.01).minimize(loss, var_list=part)
                 for part in (variables[:2], variables[2:])]
        with devices.session() as session:
            losses = [session.run([loss, steps], {x: ROWS})[0] for _ in range(3)]
            return losses, session.run(variables)

    def resource(stage):
        with tf.variable_scope("", use_resource=True):
            return script(stage)

    assert_same(run(layout, resource), run(None, resource), 2e-5, 2e-6)


def test_two_losses_that_take_turns():
    """Each is seen in the steps of the other."""
    def script(stage):
        x, mask = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None])
        with stage(0):
            hidden = layers.dense(x, 4, tf.tanh, kernel_initializer=tf.ones_initializer())
        with stage(1):
            error = tf.square(layers.dense(hidden, 1)[:, 0] - x[:, 1])
            losses = [masked(error, mask), tf.reduce_sum(tf.sqrt(error + 1.0)) * 0.1]
        steps = [tf.train.GradientDescentOptimizer(0.1).minimize(loss) for loss in losses]
        with devices.session() as session:
            found = [session.run([losses, steps[number % 2]], {x: ROWS, mask: MASK})[0]
                     for number in range(4)]
            return found, session.run(tf.trainable_variables())

    for layout in (ACCUMULATION, BOTH):
        with mock.patch.object(tf, "glorot_uniform_initializer", tf.ones_initializer):
            assert_same(run(layout, script), run(None, script), 2e-5, 2e-6)


def test_added_up_gradients_are_left_alone():
    """Who asks for the sum over the parts gets that."""
    config = {"communication.gradients_reduce_method": "sum"}
    found = run(ACCUMULATION, lambda stage: train(stage, LOSSES["sum"], True), config)
    assert_same(found, run(None, lambda stage: train(stage, LOSSES["sum"], True)), 2e-5, 2e-6)


def by_hand(hidden):
    mean, variance = tf.nn.moments(hidden, [0])
    return (hidden - mean) * tf.rsqrt(tf.add(variance, 0.1)) * 2.0


NORMALISED = {
    "by_hand": by_hand,
    "layer": lambda hidden: tf.layers.batch_normalization(hidden, training=True),
    "fused": lambda hidden: tf.layers.batch_normalization(
        hidden[:, None, None], training=True, fused=True)[:, 0, 0]}


@pytest.mark.parametrize("name", sorted(NORMALISED))
def test_batch_normalisation_is_told_of_once(name):
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            hidden = NORMALISED[name](layers.dense(x, 4))
            loss = tf.reduce_mean(tf.square(layers.dense(NORMALISED[name](hidden), 1)))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        devices.session()

    with mock.patch.object(tf.logging, "warning") as said:
        run(ACCUMULATION, script)
    found, = [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
    assert "batch normalisation" in found and "test_terms_of_losses.py:" in found


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
def test_sequences_padded_to_an_open_length_are_rows_without_a_word(layout):
    """Masked by hand, with the cross-entropy of a whole sequence in one operation."""
    words = RNG.randint(0, 5, (8, 4)).astype(np.int32)
    lengths = np.array([1, 4, 2, 2, 4, 3, 1, 1], np.int32)

    def script(stage):
        ids, n = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.int32, [None])
        with stage(0):
            hidden = tf.nn.embedding_lookup(tf.get_variable(
                "e", [5, 3], initializer=tf.glorot_uniform_initializer(seed=1)), ids)
        with stage(1):
            error = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=ids, logits=devices.dense(hidden, 5, "out"))
            mask = tf.sequence_mask(n, tf.shape(ids)[1], dtype=tf.float32)
            loss = tf.reduce_sum(error * mask) / tf.reduce_sum(mask)
        step = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
        with devices.session() as session:
            return [session.run([loss, step], {ids: words, n: lengths})[0] for _ in range(3)]

    with mock.patch.object(tf.logging, "warning") as said:
        found = run(layout, script)
    assert not [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
    assert_same(found, run(None, script))


def test_a_loop_over_the_rows_of_a_part_needs_no_word():
    def over_rows(error, mask, other):
        return tf.reduce_mean(tf.map_fn(lambda pair: pair[0] * pair[1], (error, mask), tf.float32))

    with mock.patch.object(tf.logging, "warning") as said:
        found = run(BOTH, lambda stage: train(stage, over_rows, True))
    assert not [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
    assert_same(found, run(None, lambda stage: train(stage, over_rows, True)))


@pytest.mark.parametrize("cell", [True, False])
def test_rows_that_end_before_the_longest_are_rows_without_a_word(cell):
    """In a recurrent network, and in a loop that asks each row for its length."""
    words = RNG.randn(8, 5, 3).astype(np.float32)
    lengths = np.array([1, 4, 2, 2, 5, 3, 1, 1], np.int32)

    def by_hand(x, n):
        return tf.while_loop(
            lambda turn, _: turn < tf.reduce_max(n),
            lambda turn, state: (turn + 1, tf.where(turn < n, state + 0.1 * tf.tanh(state), state)),
            [0, tf.reduce_sum(x[:, 0], 1)])[1]

    def script(stage):
        x, n = tf.placeholder(tf.float32, [None, 5, 3]), tf.placeholder(tf.int32, [None])
        with stage(0):
            hidden = layers.dense(x, 3)
        with stage(1):
            last = tf.nn.dynamic_rnn(
                tf.nn.rnn_cell.BasicRNNCell(2), hidden, n, dtype=tf.float32)[1] if cell else (
                    by_hand(hidden, n))
            loss = tf.reduce_mean(tf.square(last))
        step = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
        with devices.session() as session:
            return [session.run([loss, step], {x: words, n: lengths})[0] for _ in range(3)]

    with mock.patch.object(tf.logging, "warning") as said:
        found = run(BOTH, script)
    assert not [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]
    assert_same(found, run(None, script))


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
def test_feature_columns_are_rows_without_a_word(layout):
    """Some of the words are none."""
    words = np.array([0, 3, -1, 2, 2, 1, -1, 3])

    def script(stage):
        x, word = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.int64, [None, 1])
        column = tf.feature_column.categorical_column_with_identity("word", 4)
        with stage(0), tf.variable_scope("", initializer=tf.ones_initializer()):
            wide = tf.feature_column.linear_model({"word": word}, [column])
            deep = tf.feature_column.input_layer(
                {"x": x, "word": word}, [tf.feature_column.numeric_column("x", shape=[3]),
                                         tf.feature_column.embedding_column(
                    column, 2, initializer=tf.glorot_uniform_initializer(seed=3))])
        with stage(1):
            loss = tf.reduce_mean(tf.square(devices.dense(deep, 1, "deep") + wide - x[:, :1]))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, step], {x: ROWS, word: words[:, None]})[0]
                      for _ in range(3)]
            return losses, session.run(tf.trainable_variables())

    with mock.patch.object(tf.logging, "warning") as said:
        found = run(layout, script)
    assert not [c[0][0] for c in said.call_args_list if "the loss" in str(c[0][0])]
    assert_same(found, run(None, script))


def both_ways(x, n, keep):
    """The ends of a recurrent network that reads each row from both sides."""
    cells = [tf.nn.rnn_cell.BasicRNNCell(2) for _ in range(2)]
    ends = tf.nn.bidirectional_dynamic_rnn(*cells, x, n, dtype=tf.float32)[0]
    return tf.reduce_sum(tf.concat(ends, 2), 1)


@pytest.mark.parametrize("use", [
    both_ways,
    lambda x, n, keep: tf.nn.dropout(tf.reduce_sum(x, 1), keep),
    lambda x, n, keep: tf.reduce_sum(x, 1) * keep,
    lambda x, n, keep: tf.quantization.fake_quant_with_min_max_args(tf.reduce_sum(x, 1), -9, 9)],
    ids=["both_ways", "dropout", "number", "quantized"])
@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
def test_rows_without_a_word(use, layout):
    words, lengths = RNG.randn(8, 5, 3).astype(np.float32), np.array([1, 4, 2, 2, 5, 3, 1, 1])

    def script(stage):
        x, n = tf.placeholder(tf.float32, [None, 5, 3]), tf.placeholder(tf.int32, [None])
        keep = tf.placeholder(tf.float32)
        if stage(0) is not stage(1):
            epl.share_feed(keep)
        with stage(0):
            hidden = layers.dense(x, 3)
        with stage(1):
            loss = tf.reduce_mean(tf.square(use(hidden, n, keep)))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            return [session.run([loss, step], {x: words, n: lengths, keep: 1.0})[0]
                    for _ in range(3)]

    with mock.patch.object(tf.logging, "warning") as said:
        found = run(layout, script)
    assert not [call[0][0] for call in said.call_args_list if "the loss" in str(call[0][0])]
    assert_same(found, run(None, script))


@pytest.mark.parametrize("declared", [True, False])
def test_a_number_without_a_shape(declared):
    """Who has not said that it is shared is told what to say; who has may feed no more axes."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        keep = tf.placeholder(tf.float32, name="keep")
        if declared:
            epl.share_feed(keep)
        with stage(0):
            w = tf.get_variable("w", [3], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(tf.square(x * keep * w))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            session.run(step, {x: ROWS, keep: np.ones([3])})
            session.run(step, {x: ROWS, keep: np.ones([2, 1, 1])})

    if declared:
        with pytest.raises(ValueError, match=r"'keep' \(tests/graph/test_terms_of_losses.py:.*"
                                             "has no shape, and is fed an array of 3 axes"):
            run(ACCUMULATION, script)
        return
    with mock.patch.object(tf.logging, "warning") as said:
        loopback.outcomes(lambda rank: two_workers(script))
    told = [call[0][0] for call in said.call_args_list if "the loss" in str(call[0][0])]
    assert told and all("'keep' (tests/graph/test_terms_of_losses.py:" in text
                        and "epl.share_feed" in text for text in told)


def two_workers(script):
    epl.init()
    script(lambda number: epl.replicate(1))
