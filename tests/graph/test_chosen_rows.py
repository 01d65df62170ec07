# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Means and sums over rows that a mask chooses, as `tf.boolean_mask` does, are those of all."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices, test_unequal_rows
from tests.graph.devices import ACCUMULATION, BOTH, REPLICAS, assert_same, reference, run
from tests.graph.test_terms_of_losses import LAYOUTS, MASK, OTHER, said_of, train
from tests.support import layers


def chosen(error, mask):
    return tf.boolean_mask(error, mask > 0)


def mean_of(error, mask):
    return tf.reduce_mean(chosen(error, mask))


def by_time(error, mask):
    """Errors [rows, 3] of which a row may have any."""
    times = tf.stack([mask, tf.square(mask), 1.0 - mask], 1)
    return tf.reduce_mean(chosen(error[:, None] * [[1.0, 2.0, 3.0]], times))


def of_two_columns(error, mask):
    columns = tf.stack([error, tf.sqrt(error + 1.0)], 1)
    return tf.reduce_mean(tf.reduce_mean(chosen(columns, mask), 0))


def cross_entropy(error, mask):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(chosen(mask, mask), tf.int32),
        logits=chosen(tf.stack([error, 1.0 - error], 1), mask)))


def through_a_layer(error, mask):
    """The rest of the model sees nothing but what was chosen."""
    return tf.reduce_mean(layers.dense(chosen(error[:, None], mask), 2, tf.tanh, name="rest",
                                       kernel_initializer=tf.ones_initializer()))


def above(error, mask):
    kept = chosen(error, mask)
    return tf.reduce_mean(tf.maximum(kept - 0.3, tf.zeros(tf.shape(kept))))


def with_dropout(error, mask):
    """Of which nothing is dropped."""
    return tf.reduce_mean(tf.nn.dropout(chosen(error, mask), rate=1e-9, seed=3))


def by_size(error, mask, least=0):
    kept = chosen(error, mask)
    return tf.reduce_sum(kept) / tf.cast(tf.maximum(tf.size(kept), least), tf.float32)


def by_shape(error, mask):
    kept = chosen(error, mask)
    return tf.reduce_sum(kept) / tf.cast(tf.shape(kept)[0], tf.float32)


LOSSES = {
    "mean": lambda e, m, o: mean_of(e, m),
    "mean_and_others": lambda e, m, o: mean_of(e, m) + tf.reduce_mean(e) + 0.1 * tf.reduce_sum(e)
    + tf.reduce_sum(e * o) / tf.reduce_sum(o),
    "two_masks": lambda e, m, o: mean_of(e, m) - 0.3 * mean_of(tf.sqrt(e + 1.0), o),
    "by_a_number": lambda e, m, o: mean_of(e, m) / 4.0 + 0.01 * tf.nn.l2_loss(
        tf.trainable_variables()[0]),
    "by_a_statistic": lambda e, m, o: mean_of(e, m) / (1.0 + tf.reduce_mean(o)),
    "by_time": lambda e, m, o: by_time(e, m),
    "of_two_columns": lambda e, m, o: of_two_columns(e, m),
    "by_their_numbers": lambda e, m, o: tf.reduce_mean(tf.gather(e, tf.where(m > 0)[:, 0])),
    "by_their_places": lambda e, m, o: tf.reduce_mean(tf.gather_nd(e, tf.where(m))),
    "cross_entropy": lambda e, m, o: cross_entropy(e, m),
    "by_library": lambda e, m, o: tf.losses.huber_loss(chosen(tf.tanh(e), m), chosen(e, m)),
    "through_a_layer": lambda e, m, o: through_a_layer(e, m),
    "with_dropout": lambda e, m, o: with_dropout(e, m),
    "above": lambda e, m, o: above(e, m),
    "by_size": lambda e, m, o: by_size(e, m),
    "by_one_at_least": lambda e, m, o: by_size(e, m, least=1),
    "by_shape": lambda e, m, o: by_shape(e, m),
    "by_size_of_others": lambda e, m, o: tf.reduce_sum(chosen(e, m)) / tf.cast(
        tf.shape(chosen(o, m))[0], tf.float32),
    "sum": lambda e, m, o: tf.reduce_sum(chosen(e, m)),
    "sum_by_count": lambda e, m, o: tf.reduce_sum(chosen(e, m)) / tf.reduce_sum(m),
    "sum_by_rows": lambda e, m, o: tf.reduce_sum(chosen(e, m)) / tf.cast(
        tf.shape(m)[0], tf.float32),
    "sum_of_learned": lambda e, m, o: tf.reduce_sum(tf.boolean_mask(e, e > 0.2)) / tf.reduce_sum(m),
}


QUARTERS = devices.Layout(micro_batches=4)
CASES = [(name, layout) for name in sorted(LOSSES) for layout in (
    LAYOUTS if name == "mean_and_others" else (QUARTERS, BOTH))]


@pytest.mark.parametrize("name, layout", [
    pytest.param(name, layout, id="{}-{}".format(name, layout),
                 marks=pytest.mark.xdist_group("chosen " + name)) for name, layout in CASES])
def test_equals_one_device(name, layout):
    """Of four micro-batches of two rows one has none that is chosen."""
    assert not MASK[2:4].any() and MASK[:2].any()

    def script(stage):
        return train(stage, LOSSES[name], True)

    with mock.patch.object(tf.logging, "warning") as said, \
            contextlib.nullcontext() if layout == BOTH else devices.unoptimized():
        found = run(layout, script)
    assert not said.call_args_list
    assert_same(found[1:], reference(("chosen", name), script)[1:], 2e-5, 2e-6)


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS], ids=str)
@pytest.mark.parametrize("name", ["mean", "mean_and_others", "by_library", "by_one_at_least"])
def test_of_a_fixed_batch_equals_one_device(name, layout):
    found = run(layout, lambda stage: train(stage, LOSSES[name], True, fixed=4))
    assert_same(found, reference(("fixed chosen", name), lambda stage: train(
        stage, LOSSES[name], True, fixed=8)), 2e-5, 2e-6)


@pytest.mark.parametrize("name", ["mean_and_others", "by_time"])
def test_with_ref_variables(name):
    assert_same(run(BOTH, lambda stage: train(stage, LOSSES[name], False))[1:],
                run(None, lambda stage: train(stage, LOSSES[name], False))[1:], 2e-5, 2e-6)


def of_unequal(error, mask, weights):
    return mean_of(error[:, 0], mask) + tf.reduce_mean(error)


def of_unequal_sums(error, mask, weights):
    return mean_of(error[:, 0], mask) + 0.2 * tf.reduce_sum(error)


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
@pytest.mark.parametrize("loss_of", [of_unequal, of_unequal_sums])
def test_of_parts_with_unequal_rows_equals_one_device(loss_of, layout):
    assert_same(test_unequal_rows.train(layout, loss_of), test_unequal_rows.train(None, loss_of))


@pytest.mark.parametrize("loss_of", [of_unequal, of_unequal_sums])
def test_of_workers_with_unequal_rows_equals_one_device(loss_of):
    expected = test_unequal_rows.train(None, loss_of, steps=3)
    for found in test_unequal_rows.of_workers(loss_of):
        assert_same(found, expected)


@pytest.mark.parametrize("name, expected", [("mean", np.nan), ("by_one_at_least", 0.0)])
def test_none_is_chosen(name, expected):
    """Of the whole batch: as one device, where the script has not seen to it."""
    def script(stage):
        x, mask = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
        with stage(0):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            loss = LOSSES[name](x * weight, mask, mask)
            train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            return session.run([loss, train_op], {x: OTHER, mask: np.zeros(8)})[0], \
                session.run(weight)

    for layout in (None, ACCUMULATION):
        loss, weight = run(layout, script)
        assert_same(loss, np.float32(expected))
        assert_same(weight, np.float32(1.0))


def with_an_entry_for_each_row(error, mask):
    """There are more entries than were chosen: one for each row of which none was."""
    wide = tf.cast(tf.stack([mask, mask], 1) > 0.6, tf.int64)
    words = tf.where(wide)
    lists = tf.SparseTensor(words, tf.gather_nd(wide, words), tf.shape(wide, out_type=tf.int64))
    table = tf.get_variable("t", [2], initializer=tf.ones_initializer())
    filled, _ = tf.sparse.fill_empty_rows(lists, np.int64(0))
    return tf.reduce_mean(error) + tf.reduce_mean(tf.gather(table, filled.values))


def normalised(error, mask):
    """By the chosen rows of a part."""
    return tf.reduce_mean(tf.square(tf.nn.fused_batch_norm(
        chosen(error, mask)[:, None, None, None], [1.0], [0.5])[0]))


STRANGE = {
    "normalised": (normalised, "depends on batch normalisation"),
    "pairs": (lambda e, m: tf.reduce_mean(chosen(e, m)[:, None] * chosen(e, m)), "multiplies"),
    "filled": (with_an_entry_for_each_row, "is computed by"),
    "learned": (lambda e, m: tf.reduce_mean(tf.boolean_mask(e, e > 0.2)), "is computed by"),
    "all_by_their_size": (lambda e, m: tf.reduce_sum(e) / tf.cast(
        tf.size(chosen(e, m)), tf.float32), "divides by"),
    "by_two_sizes": (lambda e, m: tf.reduce_sum(chosen(e, m)) / tf.cast(
        tf.size(chosen(e, m)) + tf.size(e), tf.float32), "divides by"),
    "mean_by_rows": (lambda e, m: mean_of(e, m) / tf.cast(tf.shape(m)[0], tf.float32),
                     "is computed by"),
    "compared": (lambda e, m: tf.reduce_mean(tf.square(chosen(e, m) - mean_of(e, m))),
                 "is computed by"),
    "largest": (lambda e, m: tf.reduce_max(chosen(e, m)), "is computed by"),
}


@pytest.mark.parametrize("name", sorted(STRANGE))
def test_says_what_cannot_be_made_whole(name):
    loss_of, message = STRANGE[name]
    found = said_of(loss_of)
    assert len(found) == 1 and message in found[0] and "test_chosen_rows.py:" in found[0]
