# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows that are unique in a batch are so in the whole batch; a gradient's norm depends on it."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import SEVERAL

_RANDOM = np.random.RandomState(0)
IDS = _RANDOM.randint(0, 6, (16, 3)).astype(np.int32)  # of 6: clones share most of them
LABELS = _RANDOM.randn(16, 1).astype(np.float32)


def tables(count=1):
    values = 0.1 * np.arange(24 // count, dtype=np.float32).reshape([-1, 4])
    return [tf.get_variable("table{}".format(n), values.shape,
                            initializer=tf.constant_initializer(values - n)) for n in range(count)]


def sparse(ids, params):
    where = tf.where(tf.concat([ids[:, :1] >= 0, ids[:, 1:] > 1], 1))
    lists = tf.SparseTensor(where, tf.gather_nd(ids, where), tf.shape(ids, out_type=tf.int64))
    return tf.nn.embedding_lookup_sparse(params, lists, None, combiner="mean")


def lookup_sparse(ids):
    return sparse(ids, tables()[0])


def in_two_parts(ids):
    return sparse(ids, tables(2))


def by_hand(ids):
    """Rows of unique ids; 64 bits on the way, and another shape."""
    unique, places = tf.unique(tf.reshape(ids, [-1]))
    rows = tf.gather(tables()[0], tf.cast(tf.reshape(unique, [-1, 1]), tf.int64))
    return tf.reduce_mean(tf.reshape(tf.gather(tf.tanh(rows), places), [-1, 3, 4]), 1)


def every_kind(ids):
    """The same table by unique ids, by ids and by the same for all."""
    table = tables()[0]
    return (sparse(ids, table) + tf.reduce_mean(tf.nn.embedding_lookup(table, ids), 1)
            + tf.reduce_mean(tf.gather(table, tf.range(3)), 0))


def hashed(ids):
    """Not unique any more: some meet in one row, on one device too."""
    unique, places = tf.unique(tf.reshape(ids, [-1]))
    rows = tf.gather(tables()[0], unique % 4)
    return tf.reduce_mean(tf.reshape(tf.gather(rows, places), [-1, 3, 4]), 1)


def script(model, resource):
    def whole(stage):
        ids, y = tf.placeholder(tf.int32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with tf.variable_scope("", use_resource=resource):
            with stage(0):
                hidden = model(ids)
            with stage(1):
                loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "head"))
            optimizer = tf.train.MomentumOptimizer(0.5, 0.9)
            gradients, variables = zip(*optimizer.compute_gradients(loss))
            clipped, norm = tf.clip_by_global_norm(gradients, 0.1)
            train = optimizer.apply_gradients(zip(clipped, variables))
        rows = [tf.sort(g.indices) for g in gradients if isinstance(g, tf.IndexedSlices)]
        with devices.session() as session:
            found = [session.run([loss, norm, rows, train], {ids: IDS, y: LABELS})[:3]
                     for _ in range(3)]
            return found, session.run({v.name: v for v in tf.global_variables()})
    return whole


@pytest.mark.parametrize("layout", SEVERAL, ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("model", [lookup_sparse, in_two_parts, by_hand, every_kind])
def test_norms_and_updates_are_those_of_the_whole_batch(model, resource, layout):
    expected = devices.reference(("unique rows", model, resource), script(model, resource))
    devices.assert_same(devices.run(layout, script(model, resource)), expected)


def test_rows_that_only_come_from_unique_ones_stay_as_they_are():
    found, _ = devices.run(SEVERAL[0], script(hashed, False))
    rows = found[0][2][0]
    assert len(rows) > len(set(rows))
