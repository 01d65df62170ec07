# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A sparse tensor that is fed is divided by the rows of the batch, not by its values."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.runtime import sparse_feeds
from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, REPLICAS, Layout

FOUR = Layout(micro_batches=4)
EACH = pytest.mark.parametrize("layout", [FOUR, REPLICAS, PIPELINE, BOTH], ids=str)
RESOURCE = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
ROWS = 8
LABELS = np.random.RandomState(1).randn(ROWS, 1).astype(np.float32)


def batch(number, values=np.float32):
    """(indices, values, shape) of [8, 5], with empty rows and others that are longer."""
    random = np.random.RandomState(number)
    dense = random.randint(1, 5, [ROWS, 5]) * (random.rand(ROWS, 5) < 0.4)
    indices = np.argwhere(dense)
    return indices, dense[tuple(indices.T)].astype(values), np.array(dense.shape)


def placeholder(dtype=tf.float32, shape=(None, 5)):
    made = tf.sparse_placeholder(dtype, None if shape is None else list(shape))
    return made, lambda parts: {made: tf.SparseTensorValue(*parts)}


def as_tuple(dtype=tf.float32):
    made = tf.sparse_placeholder(dtype, [None, 5])
    return made, lambda parts: {made: tuple(part.tolist() for part in parts)}


def by_hand(dtype=tf.float32):
    parts = tf.placeholder(tf.int64, [None, 2]), tf.placeholder(dtype, [None]), \
        tf.placeholder(tf.int64, [2])
    return tf.SparseTensor(*parts), lambda given: dict(zip(parts, given))


def casted(dtype=tf.float32):
    indices, values = tf.placeholder(tf.int32, [None, 2]), tf.placeholder(dtype, [None])
    shape = tf.placeholder(tf.int32, [2])
    made = tf.SparseTensor(tf.cast(indices, tf.int64), tf.identity(values),
                           tf.cast(shape, tf.int64))
    return made, lambda given: {(indices, values, shape): tuple(given)}


FED = {"sparse_placeholder": placeholder, "no_shape": lambda dtype=tf.float32: placeholder(
    dtype, None), "tuple": as_tuple, "by_hand": by_hand, "cast": casted}


def product(fed, resource):
    made, feed = fed()
    weights = tf.get_variable("w", [5, 2], use_resource=resource,
                              initializer=tf.random_uniform_initializer(seed=5))
    return tf.sparse_tensor_dense_matmul(made, weights), feed, np.float32


def lookup(fed, resource):
    """Some rows are empty: TensorFlow gives these zeros, whatever the combiner."""
    made, feed = fed(tf.int64)
    table = tf.get_variable("table", [5, 2], use_resource=resource,
                            initializer=tf.random_uniform_initializer(seed=5))
    hidden = tf.nn.safe_embedding_lookup_sparse([table], made)
    return tf.reshape(hidden, [-1, 2]), feed, np.int64


def weighted_lookup(fed, resource):
    """Two sparse tensors of the same indices."""
    indices, ids = tf.placeholder(tf.int64, [None, 2]), tf.placeholder(tf.int64, [None])
    weights, shape = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int64, [2])
    table = tf.get_variable("table", [5, 2], use_resource=resource,
                            initializer=tf.random_uniform_initializer(seed=5))
    hidden = tf.nn.embedding_lookup_sparse(
        table, tf.SparseTensor(indices, ids, shape), tf.SparseTensor(indices, weights, shape),
        combiner="sum")

    def feed(parts):
        given, numbers, dense_shape = parts
        last = np.array([[ROWS // 4 * n - 1, 4] for n in (1, 2, 3, 4)])  # the last row of all parts
        given = np.concatenate([given, last])
        order = np.lexsort(given.T[::-1])
        numbers = np.concatenate([numbers, [1] * 4])[order]
        return {indices: given[order], ids: numbers, weights: 0.5 * numbers, shape: dense_shape}
    return hidden, feed, np.int64


def to_dense(fed, resource):
    made, feed = fed()
    dense = tf.reshape(tf.sparse.to_dense(made), [-1, 5])
    weights = tf.get_variable("w", [5, 2], use_resource=resource,
                              initializer=tf.random_uniform_initializer(seed=5))
    return tf.matmul(dense, weights), feed, np.float32


MODELS = {"product": product, "lookup": lookup, "to_dense": to_dense}


def script(model, fed, resource=False, optimizer=tf.train.AdamOptimizer):
    def whole(stage):
        labels = tf.placeholder(tf.float32, [None, 1], "labels")
        with stage(0):
            hidden, feed, values = model(fed, resource)
        with stage(1):
            loss = tf.reduce_mean(tf.square(devices.dense(hidden, 1, "out") - labels))
        train = optimizer(0.1).minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, train], {**feed(batch(n, values)), labels: LABELS})[0]
                      for n in range(3)]
            return losses, session.run({v.name: v for v in tf.global_variables()})
    return whole


def compared(layout, whole, *key):
    """`key`: what decides about `whole`, beside the test that asks."""
    expected = devices.reference((whole.__code__,) + key, whole)
    devices.assert_same(devices.run(layout, whole), expected)


@EACH
@pytest.mark.parametrize("fed", sorted(FED))
@pytest.mark.parametrize("model", [
    pytest.param(model, marks=pytest.mark.xdist_group("sparse " + model))
    for model in sorted(MODELS)])
def test_a_fed_sparse_tensor_is_divided_by_rows(layout, model, fed):
    compared(layout, script(MODELS[model], FED[fed]), model, fed)


@EACH
@RESOURCE
@pytest.mark.parametrize("optimizer", [tf.train.AdamOptimizer, tf.train.GradientDescentOptimizer])
def test_lookups_of_fed_sparse_ids(layout, resource, optimizer):
    compared(layout, script(lookup, placeholder, resource, optimizer), 1, resource, optimizer)
    compared(layout, script(weighted_lookup, None, resource, optimizer), 2, resource, optimizer)


@EACH
def test_a_sparse_tensor_alone_is_divided_by_rows(layout):
    """Nothing else is fed whose rows would tell the number of the batch."""
    def whole(stage):
        made, feed = by_hand()
        with stage(0):
            weights = tf.get_variable("w", [5, 1], initializer=tf.ones_initializer())
            hidden = tf.sparse_tensor_dense_matmul(made, weights)
        with stage(1):
            loss = tf.reduce_mean(tf.square(hidden - 1.0))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        with devices.session() as session:
            return session.run([loss, train], feed(batch(0)))[0], session.run(weights)
    compared(layout, whole)


@EACH
def test_a_shared_sparse_tensor_is_whole_for_all_clones(layout):
    def whole(stage):
        x = tf.placeholder(tf.float32, [None, 8])
        made, feed = placeholder()
        epl.share_feed(made)
        with stage(0):
            weights = tf.get_variable("w", [5, 1], initializer=tf.ones_initializer())
            mixed = tf.matmul(x, tf.sparse_tensor_dense_matmul(made, weights))
        with stage(1):
            loss = tf.reduce_mean(tf.square(mixed - 1.0))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        rows = np.random.RandomState(0).randn(ROWS, 8)
        with devices.session() as session:
            return session.run([loss, train], {x: rows, **feed(batch(0))})[0], \
                session.run(weights)
    compared(layout, whole)


@EACH
def test_a_fixed_number_of_rows_has_to_be_declared(layout):
    def whole(stage, clones=1, declare=epl.divide_feed):
        made, feed = placeholder(shape=[ROWS // clones, 5])
        declare(made)
        with stage(0):
            weights = tf.get_variable("w", [5, 1], initializer=tf.ones_initializer())
            hidden = tf.sparse_tensor_dense_matmul(made, weights)
        with stage(1):
            loss = tf.reduce_mean(tf.square(hidden))
        gradient, = tf.gradients(loss, [weights])
        given = feed(batch(0))
        with devices.session() as session:
            if not session.graph.is_feedable(made.dense_shape):  # TensorFlow 1 knows it already
                given = dict(zip([made.indices, made.values], list(given.values())[0][:2]))
            return session.run([loss, gradient], given)

    devices.assert_same(devices.run(layout, lambda stage: whole(stage, layout.clones)),
                        devices.run(None, whole))
    with pytest.raises(ValueError, match=r"fixed number of rows, {}.*divide_feed\(".format(
            ROWS // layout.clones)):
        devices.run(layout, lambda stage: whole(stage, layout.clones, lambda made: made))


@EACH
def test_what_cannot_be_divided_by_rows_is_refused(layout):
    with devices.started(layout):
        made, feed = by_hand()
        labels = tf.placeholder(tf.float32, [None, 1], "labels")
        with devices.stages(layout)(0):
            weights = tf.get_variable("w", [5, 1], initializer=tf.ones_initializer())
            hidden = tf.sparse_tensor_dense_matmul(made, weights)
        with devices.stages(layout)(1):
            loss = tf.reduce_mean(tf.square(hidden - labels))
        gradient, = tf.gradients(loss, [weights])
        indices, values, shape = batch(0)
        with devices.session() as session:
            for rows, words in ((ROWS + 1, "9 rows"), (0, "0 rows"),
                                (2 * ROWS, "'Placeholder:0' 16, 'labels:0' 8")):
                with pytest.raises(ValueError, match=words):
                    session.run(gradient, {**feed((indices, values, [rows, 5])), labels: LABELS})
            with pytest.raises(ValueError, match="row 7, and the sparse tensor has 4 rows"):
                session.run(gradient, {**feed((np.array([[7, 0]]), [1.0], [4, 5])),
                                       labels: LABELS[:4]})
            for missing in made.indices, made.dense_shape:
                given = {k: v for k, v in feed(batch(0)).items() if k is not missing}
                with pytest.raises(ValueError, match="in part: '{}'".format(missing.name)):
                    session.run(gradient, {**given, labels: LABELS})


@EACH
def test_coordinates_that_are_put_together_are_refused(layout):
    with devices.started(layout):
        rows, columns = [tf.placeholder(tf.int64, [None], name) for name in ("rows", "columns")]
        values = tf.placeholder(tf.float32, [None])
        made = tf.SparseTensor(tf.stack([rows, columns], 1), values, [8, 5])
        devices.fit(devices.stages(layout), x=tf.sparse.reduce_sum(made, 1))
        with pytest.raises(ValueError, match=r"'rows:0' \(.*test_sparse_feeds.*sparse_placeholder"):
            devices.session()


@EACH
def test_a_sparse_tensor_of_a_dense_batch_is_its_rows(layout):
    def whole(stage):
        x = tf.placeholder(tf.float32, [None, 5])
        with stage(0):
            where = tf.where(tf.not_equal(x, 0.0))
            made = tf.SparseTensor(where, tf.gather_nd(x, where), tf.shape(x, out_type=tf.int64))
            weights = tf.get_variable("w", [5, 1], initializer=tf.ones_initializer())
            hidden = tf.sparse_tensor_dense_matmul(made, weights)
        with stage(1):
            loss = tf.reduce_mean(tf.square(hidden - 1.0))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        with devices.session() as session:
            rows = np.maximum(np.random.RandomState(0).randn(ROWS, 5), 0.0)
            return session.run([loss, train], {x: rows})[0], session.run(weights)
    compared(layout, whole)


@EACH
def test_sparse_batches_of_a_dataset_come_to_the_clones_in_order(layout):
    indices, values, shape = batch(0)

    def whole(stage, clones=1):
        data = tf.data.Dataset.from_tensor_slices(tf.SparseTensor(indices, values, shape))
        made = tf.data.make_one_shot_iterator(data.batch(ROWS // clones)).get_next()
        with stage(0):
            weights = tf.get_variable("w", [5, 1], initializer=tf.ones_initializer())
            hidden = tf.sparse_tensor_dense_matmul(made, weights)
        with stage(1):
            loss = tf.reduce_mean(tf.square(hidden - 1.0))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        with devices.session() as session:
            return session.run([loss, train])[0], session.run(weights)
    devices.assert_same(devices.run(layout, lambda stage: whole(stage, layout.clones)),
                        devices.run(None, whole))


@EACH
def test_ragged_feeds_are_refused_with_a_cure(layout):
    with devices.started(layout):
        fed = tf.ragged.placeholder(tf.float32, 1, [])
        feed = {fed: tf.ragged.constant_value([[1.0, 2.0], [3.0]] * 4, dtype=np.float32)}
        dense = tf.RaggedTensor.from_row_splits(fed.flat_values, fed.row_splits).to_tensor()
        weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
        with devices.stages(layout)(0):
            rows = tf.reduce_sum(dense, 1) * weight
        with devices.stages(layout)(1):
            loss = tf.reduce_mean(rows)
        gradient, = tf.gradients(loss, [weight])
        with devices.session() as session:
            assert session.run(loss, feed) == 3.0  # no step, nothing to divide
            with pytest.raises(NotImplementedError, match="sparse_placeholder.*from_sparse"):
                session.run(gradient, feed)


@EACH
def test_the_cure_for_ragged_feeds(layout):
    def whole(stage):
        made, feed = placeholder()
        weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
        indices = np.array([[row, column] for row in range(8) for column in range(row % 3 + 1)])
        with stage(0):
            rows = tf.reduce_sum(tf.RaggedTensor.from_sparse(made).to_tensor(), 1) * weight
        with stage(1):
            loss = tf.reduce_mean(tf.square(rows - 1.0))
        gradient, = tf.gradients(loss, [weight])
        with devices.session() as session:
            return session.run([loss, gradient], feed(
                (indices, np.arange(1.0, len(indices) + 1), [8, 5])))
    compared(layout, whole)


def test_parts_are_those_of_the_rows():
    with tf.Graph().as_default():
        parts = [tf.placeholder(tf.int64, [None, 2]), tf.placeholder(tf.float32, [None]),
                 tf.placeholder(tf.int64, [2])]
        tf.SparseTensor(*parts)
        given = [np.array([[0, 1], [3, 0], [0, 2], [2, 1]]), np.arange(4.0), np.array([4, 3])]
        divided = sparse_feeds.Sparse(parts, given, lambda tensor: 2)
        if not divided.has(parts[0]):
            pytest.skip("epl.init has not been called in this process")
        clones = [[parts[0]], [parts[1]]]
        (_, first), (_, second) = divided.shares(parts[0], clones)
        assert first.tolist() == [[0, 1], [0, 2]] and second.tolist() == [[1, 0], [0, 1]]
        (_, first), (_, second) = divided.shares(parts[1], clones)
        assert first.tolist() == [0.0, 2.0] and second.tolist() == [1.0, 3.0]
        (_, shape), = divided.shares(parts[2], [])
        assert shape.tolist() == [2, 3] and given[2].tolist() == [4, 3]
        assert divided.undeclared_rows == {parts[0].name: 4}
