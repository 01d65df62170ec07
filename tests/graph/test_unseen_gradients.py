# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step whose gradients EPL has not seen is refused on several workers, and told of on one."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.runtime import unseen
from tests.graph import devices

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
OPTIMIZERS = {
    "sgd": lambda: tf.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: tf.train.MomentumOptimizer(0.1, 0.9),
    "adam": lambda: tf.train.AdamOptimizer(0.1),
}


@contextlib.contextmanager
def workers(number):
    """The run is looked at as that of one of so many workers; there is nothing to exchange."""
    with devices.started(devices.REPLICAS), mock.patch.object(unseen, "context_of") as context:
        context.return_value.cluster.worker_num = number
        yield


def exported(optimizer, resource, sparse=False):
    """The meta graph of a training in plain TensorFlow."""
    with devices.plain() as graph:
        if sparse:
            x = tf.placeholder(tf.int32, [None], "x")
            table = tf.get_variable("table", [4, 3], use_resource=resource)
            loss = tf.reduce_mean(tf.gather(table, x) ** 2, name="loss")
        else:
            x = tf.placeholder(tf.float32, [None, 3], "x")
            weight = tf.get_variable("weight", [3, 1], use_resource=resource)
            loss = tf.reduce_mean(tf.matmul(x, weight) ** 2, name="loss")
        optimizer.minimize(loss, name="train")
        tf.global_variables_initializer()
        return tf.train.export_meta_graph(graph=graph)


def train(rows=ROWS):
    """One step of the graph that was imported. Returns the loss before it."""
    with tf.Session() as session:
        session.run("init")
        return session.run(["loss:0", "train"], {"x:0": rows})[0]


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_an_imported_training_is_refused_on_several_workers(optimizer, resource, sparse):
    meta_graph = exported(OPTIMIZERS[optimizer](), resource, sparse)
    with workers(2):
        tf.train.import_meta_graph(meta_graph)
        with pytest.raises(RuntimeError) as caught:
            train(np.array([0, 2, 1, 2]) if sparse else ROWS)
    told = str(caught.value)
    assert "imported" in told and "2 workers" in told and "build the model" in told
    assert "operation 'train/update_" in told


def test_an_imported_training_on_one_worker_is_told_to_run_on_one_device():
    meta_graph = exported(OPTIMIZERS["sgd"](), False)
    with workers(1), mock.patch.object(tf.logging, "warning") as warning:
        tf.train.import_meta_graph(meta_graph)
        assert np.isfinite(train())
    assert "one device with all its rows" in warning.call_args[0][0]


def test_gradients_of_a_tape_are_refused_on_several_workers():
    with workers(2):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        weight = tf.get_variable("weight", [3, 1], use_resource=True)
        with tf.GradientTape() as tape:
            tape.watch(weight)
            loss = tf.reduce_mean(tf.matmul(x, weight) ** 2, name="loss")
        OPTIMIZERS["sgd"]().apply_gradients(
            [(tape.gradient(loss, weight), weight)], name="train")
        tf.global_variables_initializer()
        with pytest.raises(RuntimeError, match="tf.gradients did not build it"):
            train()


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("write", [
    lambda weight, change: weight.assign_sub(change),
    lambda weight, change: weight.assign(weight - change)], ids=["assign_sub", "assign"])
def test_gradients_by_hand_are_refused_on_several_workers(write, resource):
    with workers(2):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        weight = tf.get_variable("weight", [3, 1], use_resource=resource)
        output = tf.matmul(x, weight)
        tf.reduce_mean(output ** 2, name="loss")
        change = 0.1 * tf.matmul(x, output, transpose_a=True)
        tf.group(write(weight, change), name="train")
        tf.global_variables_initializer()
        with pytest.raises(RuntimeError, match="tf.gradients did not build it"):
            train()


def _evaluation(x, weight):
    return tf.matmul(x, weight), {x: ROWS}


def _gradient_that_is_fed(x, weight):
    fed = tf.placeholder(tf.float32, [3, 1])
    train_op = OPTIMIZERS["adam"]().apply_gradients([(fed, weight)])
    return train_op, {fed: np.ones([3, 1])}


def _gradient_of_no_known_shape_that_is_fed(x, weight):
    fed = tf.placeholder(tf.float32)
    fed_shaped = tf.reshape(fed, [3, 1])
    return OPTIMIZERS["sgd"]().apply_gradients([(fed_shaped, weight)]), {fed: np.ones([3, 1])}


def _accumulated_gradient(x, weight):
    kept = tf.get_variable("kept", [3, 1], trainable=False, initializer=tf.ones_initializer())
    return OPTIMIZERS["sgd"]().apply_gradients([(kept, weight)]), {}


def _assigned_rows(x, weight):
    return weight.assign(tf.reduce_mean(x, 0)[:, None]), {x: ROWS}


def _update_of_what_is_not_trained(x, weight):
    counts = tf.get_variable("counts", [4], trainable=False, initializer=tf.zeros_initializer())
    return tf.scatter_add(counts, tf.cast(x[:, 0], tf.int32) % 4, x[:, 1]), {x: ROWS}


@pytest.mark.parametrize("script", [
    _evaluation, _gradient_that_is_fed, _gradient_of_no_known_shape_that_is_fed,
    _accumulated_gradient, _assigned_rows, _update_of_what_is_not_trained])
def test_what_is_the_same_everywhere_or_no_training_runs(script):
    with workers(2), mock.patch.object(tf.logging, "warning") as warning:
        x = tf.placeholder(tf.float32, [None, 3], "x")
        fetch, feed = script(x, tf.get_variable("weight", [3, 1]))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(fetch, feed)
    assert not warning.called
