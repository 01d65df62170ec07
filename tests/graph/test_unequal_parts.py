# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step whose parts have other numbers of rows says so, once."""

import contextlib
import re
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH
from tests.support import loopback


def warnings(layout, rows, drop=False, repeat=False, steps=2):
    """What a training on so many rows in batches of 4 is told."""
    with devices.started(layout), mock.patch.object(tf.logging, "warning") as said:
        data = tf.data.Dataset.from_tensor_slices(np.arange(rows, dtype=np.float32))
        data = data.batch(4, drop_remainder=drop).repeat(None if repeat else 1)
        x = tf.data.make_one_shot_iterator(data).get_next()
        with devices.stages(layout)(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
        with devices.stages(layout)(1):
            # EPL cannot tell whether the 4 is the number of a part's rows.
            loss = tf.reduce_sum(tf.square(x - w)) / 4.0
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with devices.session() as session:
            losses = [session.run([train, loss])[1] for _ in range(steps)]
        assert all(np.shape(loss) == () for loss in losses)
        return [call[0][0] for call in said.call_args_list if "rows" in call[0][0]]


@pytest.mark.parametrize("layout, rows, expected", [
    (ACCUMULATION, 14, "4, 2 on this worker, 3 in the mean"), (ACCUMULATION, 16, None),
    (BOTH, 31, "4, 4, 4, 3 on this worker, 3.75 in the mean")], ids=str)
def test_smaller_last_batch(layout, rows, expected):
    found = warnings(layout, rows)
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


def test_said_once():
    assert len(warnings(ACCUMULATION, 6, repeat=True, steps=3)) == 1


def test_full_batches_are_not_counted():
    assert warnings(ACCUMULATION, 14, drop=True, steps=1) == []


def test_rows_fed_to_one_worker_are_not_counted():
    with devices.started(ACCUMULATION) as graph:
        devices.fit(devices.stages(ACCUMULATION))
        devices.session()
        group, = groups_of(state_of(graph))
        assert group.rewritten and group.counts is None


LENGTHS = np.array([1, 2, 4, 3, 2, 2, 3, 3])  # the longest of four rows each: 4 and 3
WORDS = [np.arange(1.0, n + 1, dtype=np.float32) for n in LENGTHS]


def masked(value, lengths):
    mask = tf.sequence_mask(lengths, tf.shape(value)[1], dtype=tf.float32)
    return tf.reduce_sum(value * mask) / tf.reduce_sum(mask)


def flat_mean(value, lengths):
    return tf.reduce_mean(tf.reshape(value, [-1]), name="mean")


def pooled(value, lengths):
    return tf.reduce_mean(tf.square(tf.reduce_mean(value, 1, name="mean")))


def by_size(value, lengths):
    return tf.reduce_sum(value) / tf.cast(tf.size(value, name="mean"), tf.float32)


def told_of_sequences(layout, loss_of, width=None):
    with devices.started(layout), mock.patch.object(tf.logging, "warning") as said:
        data = tf.data.Dataset.from_generator(
            lambda: zip(WORDS, LENGTHS), (tf.float32, tf.int32), ([None], [])).repeat()
        data = data.padded_batch(4, ([width], []), drop_remainder=True)
        x, lengths = tf.data.make_one_shot_iterator(data).get_next()
        with devices.stages(layout)(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
            value = tf.square(x - w)
        with devices.stages(layout)(1):
            loss = loss_of(value, lengths)
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with devices.session() as session:
            for _ in range(2):
                session.run([train, loss])
        return [call[0][0] for call in said.call_args_list if "length" in call[0][0]]


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
@pytest.mark.parametrize("loss_of", [flat_mean, pooled, by_size])
def test_means_over_padding_are_named(layout, loss_of):
    found, = told_of_sequences(layout, loss_of)
    assert "parts of different lengths" in found and "test_unequal_parts.py:" in found


def test_masked_sequences_are_told_of_their_padding():
    found, = told_of_sequences(ACCUMULATION, masked)
    assert "axis 1 of 'IteratorGetNext'" in found and "has 4, 3 on this worker, 3.5 in" in found


@pytest.mark.parametrize("loss_of", [flat_mean, masked])
def test_sequences_of_a_fixed_length_are_told_nothing(loss_of):
    assert told_of_sequences(ACCUMULATION, loss_of, 4) == []


@pytest.mark.parametrize("rows, length, expected", [
    ((4, 3), (2, 2), None), ((4, 4), (3, 2), "parts of different lengths"),
    ((4, 4), (3, 3), None)])
def test_workers_that_feed_other_lengths_are_told(rows, length, expected):
    """Each with one clone of the model, of which no copies are made."""
    def body(rank):
        epl.init()
        epl.set_default_strategy(epl.replicate(1))
        x = tf.placeholder(tf.float32, [None, None])
        w = tf.get_variable("w", [], initializer=tf.ones_initializer())
        train = tf.train.GradientDescentOptimizer(0.25).minimize(tf.reduce_mean(tf.square(x - w)))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {x: np.ones([rows[rank], length[rank]])})

    with mock.patch.object(tf.logging, "warning") as said:
        loopback.run(body)
    found = [call[0][0] for call in said.call_args_list if "in the mean over all" in call[0][0]]
    assert len(found) == (2 if expected else 0) and all(expected in text for text in found)


# Each cuts to the longest row of its part: of the eight rows of a step a part of four has 4 or 3.
SENTENCES = np.random.RandomState(5).rand(8, 5, 2).astype(np.float32)
ENDS = np.array([1, 2, 4, 3, 2, 2, 3, 3])


def hidden(x, n, w):
    return tf.tanh(tf.tensordot(x[:, :tf.reduce_max(n)], w, 1), name="hidden")


def mask_of(n):
    return tf.sequence_mask(n, dtype=tf.float32)


TOLD = {  # loss, what it says
    "mean": (lambda x, n, w: tf.reduce_mean(hidden(x, n, w)), "'hidden'LINE counts"),
    "mean_of_mask": (lambda x, n, w: tf.reduce_mean(
        tf.reduce_sum(hidden(x, n, w), 2, name="words") * mask_of(n)), "'mul'LINE counts"),
    "size": (lambda x, n, w: tf.reduce_sum(tf.reduce_sum(hidden(x, n, w), 2) * mask_of(n))
             / tf.cast(tf.size(mask_of(n)), tf.float32), "'SequenceMask_1/Cast_1'LINE c"),
    "shape": (lambda x, n, w: tf.reduce_mean(tf.reduce_sum(
        hidden(x, n, w) * mask_of(n)[:, :, None], [1, 2]))
        / tf.cast(tf.shape(hidden(x, n, w))[1], tf.float32), "the size of 'hidden_1'LINE, which"),
    "sum": (lambda x, n, w: tf.reduce_mean(tf.reduce_sum(hidden(x, n, w), 1, name="all")),
            "and 'all'LINE takes all"),
    "softmax": (lambda x, n, w: tf.reduce_mean(tf.square(
        tf.nn.softmax(hidden(x, n, w)[:, :, 0], name="all")[:, :1])), "and 'all'LINE takes all"),
    "last": (lambda x, n, w: tf.reduce_mean(hidden(x, n, w)[:, -1]),
             "and 'strided_slice_1'LINE takes"),
    "state": (lambda x, n, w: tf.reduce_mean(tf.nn.dynamic_rnn(
        tf.nn.rnn_cell.BasicRNNCell(2), hidden(x, n, w), dtype=tf.float32)[1]), "takes all"),
    "one_hot": (lambda x, n, w: tf.reduce_mean(tf.one_hot(n, 1 + tf.reduce_max(n)) * w[0, 0]),
                "'mul'LINE counts"),
}
EXACT = {
    "masked": lambda x, n, w: tf.reduce_sum(tf.reduce_sum(hidden(x, n, w), 2) * mask_of(n))
    / tf.reduce_sum(mask_of(n)),
    "per_row": lambda x, n, w: tf.reduce_mean(tf.reduce_sum(
        tf.reduce_sum(hidden(x, n, w), 2) * mask_of(n), 1) / tf.cast(n, tf.float32)),
    "attention": lambda x, n, w: tf.reduce_mean(tf.reduce_sum(
        tf.nn.softmax(tf.where(tf.sequence_mask(n), hidden(x, n, w)[:, :, 0], tf.fill(
            tf.shape(mask_of(n)), -1e9))) * hidden(x, n, w)[:, :, 1], 1)),
    "ends": lambda x, n, w: tf.reduce_mean(tf.nn.dynamic_rnn(
        tf.nn.rnn_cell.BasicRNNCell(2), hidden(x, n, w), n, dtype=tf.float32)[1]),
    "places": lambda x, n, w: tf.reduce_sum(
        tf.reduce_sum(hidden(x, n, w), 2) * mask_of(n) * tf.cast(
            tf.range(tf.reduce_max(n)), tf.float32)) / tf.reduce_sum(mask_of(n)),
    # The longest of all rows is a number of the data, that of the whole batch.
    "shorter": lambda x, n, w: tf.reduce_mean(tf.reduce_sum(tf.tensordot(x, w, 1), [1, 2])
                                              * tf.cast(n < tf.reduce_max(n), tf.float32)),
    "missing": lambda x, n, w: tf.reduce_mean(tf.reduce_sum(tf.tensordot(x, w, 1), [1, 2])
                                              * tf.cast(tf.reduce_max(n) - n, tf.float32)),
}


def cut_to_the_longest(layout, loss_of):
    """(losses of two steps, what was said) of rows that the script cuts itself."""
    def script(stage):
        x, n = tf.placeholder(tf.float32, [None, 5, 2]), tf.placeholder(tf.int32, [None])
        with stage(0):
            w = tf.get_variable("w", initializer=np.array([[.3, -.2], [.5, 1]], np.float32))
        with stage(1):
            loss = loss_of(x, n, w)
        step = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with devices.session() as session:
            return [session.run([loss, step], {x: SENTENCES, n: ENDS})[0] for _ in range(2)]

    with mock.patch.object(tf.logging, "warning") as said, devices.unoptimized():
        found = devices.run(layout, script)
    return found, [call[0][0] for call in said.call_args_list if "length" in call[0][0]
                   or "the loss" in call[0][0]]


@pytest.mark.parametrize("name", TOLD)
def test_what_counts_a_length_of_its_part_is_named(name):
    loss_of, expected = TOLD[name]
    _, (text,) = cut_to_the_longest(ACCUMULATION, loss_of)
    line = re.escape(" (tests/graph/test_unequal_parts.py:") + "[0-9]+\\)"
    assert re.search(re.escape(expected).replace("LINE", line), text)
    assert "different lengths" in text and "fixed length (maxlen=...)" in text


def repeated(body, state, turns=2):
    return tf.while_loop(lambda i, _: i < turns, lambda i, s: (i + 1, body(s)), [0, state])[1]


LOOPS = {
    "turns": lambda x, n, w: tf.reduce_mean(repeated(
        lambda s: 0.5 * s, tf.tensordot(x, w, 1), tf.reduce_max(n))),
    "inside": lambda x, n, w: tf.reduce_mean(repeated(
        lambda s: s + tf.reduce_sum(hidden(x, n, w), [1, 2]), x[:, 0, 0])),
    "state": lambda x, n, w: tf.reduce_mean(tf.reduce_sum(repeated(tf.tanh, hidden(x, n, w)), 1)),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_over_what_is_cut_is_named(name, version):
    """Also a loop that stays an operation which calls functions."""
    with devices.control_flow_v2() if version == 2 else contextlib.nullcontext():
        _, said = cut_to_the_longest(ACCUMULATION, LOOPS[name])
    assert said and all("(tests/graph/test_unequal_parts.py:" in text for text in said)


@pytest.mark.parametrize("name", EXACT)
def test_what_asks_rows_for_their_ends_needs_no_word(name):
    found, said = cut_to_the_longest(ACCUMULATION, EXACT[name])
    assert not said
    devices.assert_same(found, cut_to_the_longest(None, EXACT[name])[0])


def test_a_number_of_the_data_that_is_a_length_as_well_is_named():
    """The whole batch's in its place would not go with what is as long as the part's."""
    def turned(x, n, w):
        places = tf.cast(tf.range(tf.reduce_max(n))[::-1], tf.float32)
        return tf.reduce_sum(tf.reduce_sum(hidden(x, n, w), 2) * mask_of(n) * places) / 8.0

    _, said = cut_to_the_longest(ACCUMULATION, turned)
    assert any("compares with others of the batch" in text for text in said)


def run_padded(layout, use, width=None):
    """Two steps that also do what `use` makes of the rows' values [rows, length] and lengths."""
    with devices.started(layout), devices.unoptimized():
        data = tf.data.Dataset.from_generator(
            lambda: zip(WORDS, LENGTHS), (tf.float32, tf.int32), ([None], [])).repeat()
        x, lengths = tf.data.make_one_shot_iterator(
            data.padded_batch(4, ([width], []), drop_remainder=True)).get_next()
        with devices.stages(layout)(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
            value = tf.square(x - w, name="value")
        loss = masked(value, lengths)
        fetched = use(value, lengths)
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with devices.session() as session:
            return [session.run([train, fetched])[1] for _ in range(2)]


def known_words(value, lengths):
    return tf.metrics.mean(tf.boolean_mask(
        value, tf.sequence_mask(lengths, tf.shape(value)[1])))[1]


def test_rows_of_unequal_lengths_that_cannot_be_joined_are_named():
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        run_padded(ACCUMULATION, lambda value, lengths: tf.identity(value))
    text = str(raised.value)
    assert "(tests/graph/test_unequal_parts.py:" in text and "Pad to a fixed length" in text
    assert "the parts have rows of different sizes" in text
    assert len(run_padded(ACCUMULATION, lambda value, lengths: tf.identity(value), 4)) == 2


def test_workers_whose_rows_cannot_be_joined_are_told():
    def body(rank):
        epl.init()
        epl.set_default_strategy(epl.replicate(1))
        x = tf.placeholder(tf.float32, [None, None], "x")
        w = tf.get_variable("w", [], initializer=tf.ones_initializer())
        epl.add_to_collection(tf.multiply(x, w, "rows"), epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
        train = tf.train.GradientDescentOptimizer(0.25).minimize(tf.reduce_mean(x) * w)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {x: np.ones([4, 2 + rank])})

    for error in loopback.outcomes(body):
        assert "the rows of 'rows' (tests/graph/test_unequal_parts.py:" in str(error)
        assert "Pad to a fixed length" in str(error)


def test_a_masked_metric_of_unequal_lengths_counts_all_rows():
    mean, known = run_padded(ACCUMULATION, lambda value, lengths: tf.metrics.mean(
        value, tf.sequence_mask(lengths, tf.shape(value)[1]))[1]), np.concatenate(WORDS)
    np.testing.assert_allclose(mean[0], np.mean(np.square(known - 1)), 1e-6)


def largest_words(value, lengths):
    return tf.metrics.mean(tf.nn.top_k(tf.boolean_mask(
        value, tf.sequence_mask(lengths, tf.shape(value)[1])), 3).values)[1]


def test_rows_and_lengths_in_one_axis_are_refused_where_lengths_differ():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)) as raised:
        run_padded(ACCUMULATION, largest_words)
    assert "has rows and lengths in one axis" in str(raised.value)
    assert "(tests/graph/test_unequal_parts.py:" in str(raised.value)
    first = np.sort(np.square(np.concatenate(WORDS) - 1))[-3:].mean()
    assert run_padded(ACCUMULATION, largest_words, 4)[0] == pytest.approx(first)


@pytest.mark.parametrize("padded", [None, 4])
def test_words_are_counted_whatever_parts_are_padded_to(padded):
    first = np.mean(np.square(np.concatenate(WORDS) - 1))
    assert run_padded(ACCUMULATION, known_words, padded)[0] == pytest.approx(first)


@pytest.mark.parametrize("use", [
    lambda x, n: x + tf.zeros([n, 3]), lambda x, n: x * tf.tile(tf.ones([1, 3]), [n, 1]),
    lambda x, n: tf.gather(x, tf.range(n)), lambda x, n: x + 0.0 * tf.random_normal([n, 3])])
def test_a_fed_number_of_rows_that_parts_do_not_have_is_named(use):
    def script(stage):
        x, n = tf.placeholder(tf.float32, [None, 3], "x"), tf.placeholder(tf.int32, [], "n")
        with stage(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(use(x, n) * w)
        step = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with devices.session() as session:
            session.run(step, {x: np.ones([8, 3], np.float32), n: 8})

    with pytest.raises(tf.errors.InvalidArgumentError) as raised, devices.unoptimized():
        devices.run(ACCUMULATION, script)
    text = str(raised.value)
    assert "'n' (tests/graph/test_unequal_parts.py:" in text and "write tf.shape(x)[0]" in text
    assert "is fed 8, as many as a step has rows" in text


def test_what_is_computed_from_all_rows_with_the_number_of_one_clone_is_named():
    """As the initial state of a recurrent network is, for a batch of open shape."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        with stage(0):
            w = tf.get_variable("w", [3, 3], initializer=tf.ones_initializer(), use_resource=True)
            state = tf.concat([tf.matmul(x, w), tf.zeros([4, 2])], 1)
        step = tf.train.GradientDescentOptimizer(0.25).minimize(tf.reduce_mean(state))
        with devices.session() as session:
            session.run([step, tf.reduce_max(state, 0)], {x: np.ones([8, 3], np.float32)})

    with pytest.raises(tf.errors.InvalidArgumentError) as raised, devices.unoptimized():
        devices.run(ACCUMULATION, script)
    text = str(raised.value)
    assert "from the rows of all clones" in text and "tf.shape(batch)[0]" in text
    assert "(tests/graph/test_unequal_parts.py:" in text
