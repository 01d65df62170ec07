# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What data-parallel workers are said to send each other."""

import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.support import loopback

ROWS, WIDTH, MICRO_BATCHES = 4, 256, 3


def explained(config):
    """The lines of `epl.explain()` that say what each worker sends of its gradients."""
    epl.init(epl.Config(dict(config, **{"pipeline.num_micro_batch": MICRO_BATCHES})))
    epl.set_default_strategy(epl.replicate(device_count=1))
    ids = tf.placeholder(tf.int32, [None])
    table = tf.get_variable("table", [1000, WIDTH])
    kernel = tf.get_variable("kernel", [WIDTH, WIDTH])
    loss = tf.reduce_mean(tf.matmul(tf.nn.embedding_lookup(table, ids), kernel))
    tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    return [line for line in epl.explain(rows=ROWS).splitlines() if " of each" in line]


@pytest.mark.parametrize("workers, devices", [(2, 1), (2, 2)])
def test_dense_gradients_are_added_up_and_rows_of_sparse_ones_are_gathered(workers, devices):
    rows = ROWS * MICRO_BATCHES * devices  # those that a worker's clones have looked up
    for lines in loopback.run(lambda rank: explained({}), workers, devices):
        assert lines == [
            "  workers 0 1 add up gradients of stage 0: {:.1f} of each".format(
                WIDTH * WIDTH * 4 / 1024),
            "  workers 0 1 gather rows of gradients of stage 0: {:.1f} of each".format(
                rows * (WIDTH + 1) * 4 / 1024)]  # an index of 32 bits beside each row


def unknown_sizes():
    """The same of a loop's gradient, and of rows of whose number the graph says nothing."""
    epl.init()
    epl.set_default_strategy(epl.replicate(device_count=1))
    x = tf.placeholder(tf.float32, [None, WIDTH])
    chosen = tf.where(x[:, 0] > 0)[:, 0]
    kernel = tf.get_variable("kernel", [WIDTH, WIDTH])
    state = tf.scan(lambda h, row: tf.tanh(tf.matmul(h, kernel) + row), x, tf.zeros([1, WIDTH]))
    rows = tf.nn.embedding_lookup(tf.get_variable("table", [1000, WIDTH]), chosen)
    tf.train.GradientDescentOptimizer(0.1).minimize(
        tf.reduce_mean(state) + tf.reduce_mean(rows))
    return epl.explain(rows=ROWS).partition("sent between workers")[2].splitlines()[1:]


def test_sizes_that_the_graph_does_not_say():
    for lines in loopback.run(lambda rank: unknown_sizes()):
        assert lines == [
            "  workers 0 1 add up gradients of stage 0: {:.1f} of each".format(
                WIDTH * WIDTH * 4 / 1024),
            "  1 value(s) more, whose sizes the graph does not say"]


def test_nothing_is_foretold_of_state_that_is_shared_out():
    for lines in loopback.run(lambda rank: explained({"zero.level": "v1"})):
        assert not lines
