# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A session that lacks the devices of its graph says so, and what to do; no placement error."""

import contextlib

import pytest
import tensorflow.compat.v1 as tf

from epl.runtime import monitored
from tests.graph import devices
from tests.graph.devices import ONE, PIPELINE, REPLICAS, ROWS, started, weight_after


@contextlib.contextmanager
def made_before(layout):
    """A session made in plain TensorFlow, then EPL, all in one graph."""
    with devices.plain() as graph, tf.Session(config=devices.session_config()) as session:
        with started(layout), graph.as_default():
            yield session


@pytest.mark.parametrize("layout", [PIPELINE, REPLICAS], ids=str)
def test_the_cure_is_named_and_works(layout):
    with made_before(layout) as session:
        model = devices.fit(devices.stages(layout))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no device /device:CPU:1.* call epl.init.. fir"):
                session.run(tf.global_variables_initializer())
        with devices.session() as later:
            later.run(model.train, {model.x: ROWS})
            assert later.run(model.weight) == weight_after(1)


def test_made_under_an_init_with_fewer_devices():
    with started(ONE) as graph, tf.Session() as session, started(PIPELINE), graph.as_default():
        devices.fit(devices.stages(PIPELINE))
        with pytest.raises(RuntimeError, match="made before epl.init.. gave this worker 2 devices"):
            session.run(tf.global_variables_initializer())


def test_one_device_needs_nothing_of_the_session():
    layout = devices.ACCUMULATION
    with made_before(layout) as session:
        model = devices.fit(devices.stages(layout))
        session.run(tf.global_variables_initializer())
        session.run(model.train, {model.x: ROWS})
        assert session.run(model.weight) == weight_after(1)


def test_what_a_monitored_session_is_for():
    with tf.Graph().as_default() as graph:
        named = tf.train.ChiefSessionCreator(checkpoint_filename_with_path="model.ckpt-1")
        found = tf.train.ChiefSessionCreator(checkpoint_dir="model")
        nothing, worker = tf.train.ChiefSessionCreator(), tf.train.WorkerSessionCreator()
        creators = [named, found, nothing, worker, None]
        assert [monitored.evaluates(creator, graph) for creator in creators] == [True] + [False] * 4
        graph.add_to_collection(tf.GraphKeys.EVAL_STEP, tf.constant(0))
        assert [monitored.evaluates(creator, graph) for creator in creators] == [
            True, False, True, True, True]
