# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step whose parts have other numbers of rows says so, once."""

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
            loss = tf.reduce_mean(tf.square(x - w))
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
    ((4, 3), (2, 2), "different numbers of rows"), ((4, 4), (3, 2), "parts of different lengths"),
    ((4, 4), (3, 3), None)])
def test_workers_that_feed_unequally_are_told(rows, length, expected):
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
