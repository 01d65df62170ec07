# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What scripts written for the original EPL rely on with several workers."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs.common import start
from tests.graph import devices
from tests.support import loopback

FEATURES, LABELS = devices.data(64)


def model_fn(features, labels, mode):
    loss = tf.losses.mean_squared_error(labels, tf.layers.dense(features, 1))
    train = tf.train.AdamOptimizer(0.1).minimize(loss, tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)


def test_a_model_directory_of_its_own_exists_on_every_worker(tmp_path):
    def work(rank):
        start()
        epl.set_default_strategy(epl.replicate(1))
        directory = str(tmp_path / str(rank) / "model")
        tf.estimator.Estimator(model_fn, directory).train(
            lambda: tf.data.Dataset.from_tensor_slices((FEATURES, LABELS)).batch(8), steps=2)
        return os.listdir(directory)

    chief, other = loopback.run(work)
    assert "checkpoint" in chief and other == []


def test_every_worker_sees_its_own_devices():
    def work(rank):
        start()
        cluster = epl.Env.get().cluster
        return cluster.available_devices, cluster.total_gpu_num

    found = loopback.run(work, devices=2)
    assert found == [(["/job:worker/replica:0/task:{}/device:CPU:{}".format(rank, device)
                       for device in range(2)], 4) for rank in range(2)]


def pipeline(stage):
    """The weights after some steps of 16 rows, of which every worker feeds its own."""
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    with stage(0):
        hidden = devices.dense(x, 5, "one", tf.tanh)
    with stage(1):
        loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "two"))
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    cluster = epl.Env.get().cluster
    workers, rank = (cluster.worker_num, cluster.worker_index) if stage is not plain else (1, 0)
    with devices.session() as session:
        for rows in np.split(np.arange(64), 4):
            session.run(train, {x: FEATURES[rows][rank::workers], y: LABELS[rows][rank::workers]})
        return session.run(tf.trainable_variables())


plain = devices.stages(None)


@pytest.fixture
def launched(monkeypatch):
    """How many devices a worker has, as clusters look it up that scripts make themselves."""
    for name, value in (("NUM_WORKERS", "2"), ("GPU_PER_WORKER", "2"), ("DEVICE_TYPE", "cpu")):
        monkeypatch.setenv("EPL_" + name, value)


def cluster_of(rank, layout):
    return epl.Cluster("10.0.0.1:1,10.0.0.2:1", worker_index=rank, layout=layout)


def test_stages_are_where_the_script_puts_them(launched):
    names = [["/job:worker/task:{}/device:CPU:{}".format(*each)] for each in (
        (0, 1), (1, 0), (0, 0), (1, 1))]

    def work(rank):
        epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
        with cluster_of(rank, {"specific": [names[:2], names[2:]]}):
            tf.set_random_seed(11)
            return pipeline(lambda number: epl.replicate(1, "stage_{}".format(number)))

    expected = devices.run(None, lambda _: pipeline(plain))
    for found in loopback.run(work, devices=2):
        devices.assert_same(found, expected)


def test_a_taskgraph_on_several_workers_is_refused(launched, monkeypatch):
    monkeypatch.setenv("EPL_GPU_PER_WORKER", "1")

    def work(rank):
        epl.init()
        with cluster_of(rank, {"aware_row": 1}):
            return pipeline(lambda number: epl.replicate(1, "stage_{}".format(number)))

    with pytest.raises(epl.ConfigError, match="lies on several workers.*communicator = .native."):
        loopback.run(work)
