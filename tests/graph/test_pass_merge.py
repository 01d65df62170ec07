# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A registered tensor that a step can compute from its batch is merged, however it is computed."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from epl.rewrite.registered import sources_of
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import ROWS, Layout

KEYS = epl.GraphKeys
TWO = Layout(micro_batches=2)


def table():
    keys, values = tf.constant([4, 8], tf.int64), tf.constant([1.0, 2.0])
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)


def asserted(x):
    with tf.control_dependencies([tf.assert_non_negative(x)]):
        return tf.reduce_sum(x)


def counted(x):
    classes = tf.cast(x > 4.0, tf.int64)
    return tf.cast(tf.confusion_matrix(classes, classes, 2), tf.float32)


def added_up(x):
    _, total = tf.while_loop(lambda n, _: n < tf.shape(x)[0],
                             lambda n, value: (n + 1, value + tf.gather(x, n)), [0, 0.0])
    return total


# How a script computes a number from rows of the batch -> its sum over `ROWS` as two batches.
METRICS = {
    "plain": (tf.reduce_sum, ROWS.sum()),
    "py_func": (lambda x: tf.py_func(lambda rows: rows.sum(), [x], tf.float32), ROWS.sum()),
    "map_fn": (lambda x: tf.reduce_sum(tf.map_fn(lambda row: 2.0 * row, x)), 2 * ROWS.sum()),
    "while_loop": (added_up, ROWS.sum()),
    "lookup": (lambda x: tf.reduce_sum(table().lookup(tf.cast(x, tf.int64))), 3.0),
    "print": (lambda x: tf.Print(tf.reduce_sum(x), [], "seen"), ROWS.sum()),
    "assert": (asserted, ROWS.sum()),
    "confusion_matrix": (counted, np.diag([4.0, 4.0])),
    "random": (lambda x: tf.reduce_sum(tf.floor(x + tf.random_uniform([]) * 0.5)), ROWS.sum()),
}
EACH = pytest.mark.parametrize("name", sorted(METRICS))


@EACH
def test_what_works_on_a_batch_brings_no_data_of_its_own(name):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None])
        metric = METRICS[name][0](x)
        assert sources_of([metric], state_of(graph)) == {x.op}


@pytest.mark.parametrize("make", [
    lambda: table().lookup(tf.constant([4, 5], tf.int64)),
    lambda: tf.Print(tf.get_variable("w", [3]), ["w"]),
    lambda: tf.random_uniform([2]), lambda: tf.get_variable("w", [3]) + 1.0,
], ids=["lookup", "print", "random", "variable"])
def test_what_depends_on_constants_and_state_alone_brings_no_data(make):
    with tf.Graph().as_default() as graph:
        assert sources_of([make()], state_of(graph)) == set()


@EACH
def test_a_metric_beside_the_loss_is_merged(name):
    make, expected = METRICS[name]
    with devices.started(TWO):
        x = tf.placeholder(tf.float32, [None], "x")
        model = devices.fit(devices.stages(TWO), x=x)
        metric = make(x)
        epl.add_to_collection(metric, KEYS.GLOBAL_SUM_OBJECTS)
        with devices.session() as session:
            session.run(tf.tables_initializer())
            found, _ = session.run([metric, model.train], {x: ROWS})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_tensor_that_needs_further_data_is_left_alone():
    with devices.started(TWO) as graph:
        other = tf.placeholder(tf.float32, [None], "other")
        model = devices.fit(devices.stages(TWO))
        further = tf.data.make_one_shot_iterator(tf.data.Dataset.range(9).repeat()).get_next()
        for tensor in (tf.reduce_sum(other), tf.reduce_max(model.x) + tf.reduce_sum(other),
                       tf.cast(further, tf.float32)):
            epl.add_to_collection(tensor, KEYS.GLOBAL_MEAN_OBJECTS)
        rewrite(graph)
        assert set(groups_of(state_of(graph))[0].merged) == {model.loss.name}


def test_the_mean_of_a_double_loss_has_the_precision_of_a_double():
    layout = Layout(micro_batches=3)
    rows = np.random.RandomState(0).rand(9)
    with devices.started(layout):
        x = tf.placeholder(tf.float64, [None])
        with epl.replicate(1):
            weight = tf.get_variable("w", [], tf.float64, tf.ones_initializer())
            loss = tf.reduce_mean(x * weight)
        gradient, = tf.gradients(loss, [weight])
        with devices.session() as session:
            found, _ = session.run([loss, gradient], {x: rows})
    # A few additions of 64-bit floats.
    np.testing.assert_allclose(found, rows.mean(), rtol=1e-14)


@pytest.mark.parametrize("make", [
    added_up, lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: tf.reduce_sum(x), lambda: 0.0)],
    ids=["while_loop", "cond"])
def test_a_loss_straight_out_of_control_flow_is_merged(make):
    with devices.started(TWO):
        x = tf.placeholder(tf.float32, [None])
        with epl.replicate(1):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            loss = make(x * weight)
        gradient, = tf.gradients(loss, [weight])
        with devices.session() as session:
            assert session.run([loss, gradient], {x: ROWS}) == [ROWS.sum() / 2, ROWS.sum() / 2]
