# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A sum over rows that is divided by their number is a mean, whichever way the number comes in."""

from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, assert_same, reference, unoptimized
from tests.support import loopback

ROWS = np.random.RandomState(5).randn(16, 3).astype(np.float32)
LAYOUTS = (devices.Layout(micro_batches=4), BOTH)

# Of the errors of rows and a number that is fed.
LOSSES = {
    "divided": lambda e, n: tf.reduce_sum(e) / n,
    "halves": lambda e, n: tf.reduce_sum(e) / (2.0 * n),
    "halved_afterwards": lambda e, n: tf.reduce_sum(e) / n / 2.0,
    "times_its_inverse": lambda e, n: (1.0 / n) * tf.reduce_sum(e),
    "squares": lambda e, n: tf.nn.l2_loss(e) / n,
    "row_by_row": lambda e, n: tf.reduce_sum(3.0 * e / n),
    "two_sums": lambda e, n: tf.reduce_sum(e) / n + 0.1 * tf.reduce_sum(tf.sqrt(e + 1.0)) / n,
}


def train(stage, loss_of, rows, number, declare=lambda tensor: tensor):
    """Losses and variables of three steps on `rows`, which are fed beside `number`."""
    x, n = tf.placeholder(tf.float32, [None, 3]), declare(tf.placeholder(tf.float32, []))
    with stage(0):
        hidden = devices.dense(x, 4, "first", tf.tanh)
    with stage(1):
        loss = loss_of(tf.square(devices.dense(hidden, 1, "second")[:, 0] - x[:, 1]), n)
    step = tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss)
    with devices.session() as session:
        losses = [session.run([loss, step], {x: rows, n: number})[0] for _ in range(3)]
        return losses, session.run(tf.global_variables())


def of_one_device(name, number=16.0):
    return reference(("numbers of rows", name, number), lambda stage: train(
        stage, LOSSES[name], ROWS, number))


@pytest.mark.parametrize("name, layout", [("divided", BOTH)] + [
    (name, LAYOUTS[0]) for name in sorted(LOSSES)])
def test_a_number_that_is_fed_counts_the_rows_that_are_fed(name, layout):
    with unoptimized(), mock.patch.object(tf.logging, "warning") as said:
        found = devices.run(layout, lambda stage: train(stage, LOSSES[name], ROWS, 16.0))
    assert not said.called
    assert_same(found, of_one_device(name))


@pytest.mark.parametrize("number", [8.0, 3.7])
def test_it_may_count_a_micro_batch_or_no_rows_at_all(number):
    """Eight rows are one micro-batch: with a batch of sixteen the number would be sixteen."""
    found = devices.run(ACCUMULATION, lambda stage: train(stage, LOSSES["divided"], ROWS, number))
    assert_same(found, of_one_device("divided", 16.0 if number == 8.0 else number))


@pytest.mark.parametrize("name", ["divided", "halves", "row_by_row"])
def test_every_worker_feeds_the_number_of_its_rows(name):
    expected = of_one_device(name)
    with mock.patch.object(tf.logging, "warning") as said:
        for found in _on_two_workers(name, 8.0):
            assert_same(found, expected)
    texts = [call[0][0] for call in said.call_args_list]
    assert texts and all("test_numbers_of_rows.py:" in text and "epl.share_feed" in text
                         for text in texts)


def test_a_number_that_is_declared_to_be_the_same_is_no_number_of_rows():
    with mock.patch.object(tf.logging, "warning") as said:
        found = _on_two_workers("divided", 3.7, epl.share_feed)
    assert not said.called
    for each in found:
        assert_same(each, of_one_device("divided", 3.7))


def _on_two_workers(name, number, declare=lambda tensor: tensor):
    def work(rank):
        epl.init()
        epl.set_default_strategy(epl.replicate(1))
        tf.set_random_seed(11)
        with unoptimized():
            return train(devices.stages(None), LOSSES[name], ROWS[rank::2], number, declare)

    return loopback.run(work)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_constant_by_which_rows_are_divided_one_by_one(layout):
    """As if their sum were divided by it."""
    def script(stage, rows):
        return train(stage, lambda e, n: tf.reduce_sum(0.5 * e / float(rows)), ROWS, 0.0)

    with unoptimized():
        found = devices.run(layout, lambda stage: script(stage, 16 // layout.clones))
    assert_same(found, devices.run(None, lambda stage: script(stage, 16)))
