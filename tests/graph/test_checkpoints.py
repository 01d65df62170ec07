# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is that of one device, whatever wrote it, and any number of devices goes on from it.

A network of two stages, Adam, an embedding and moving averages; three steps, a checkpoint, three
more steps, in every pair of layouts.
"""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, REPLICAS, ROWS, weight_after

STEPS = 3
SIDES = {"plain": None, "stages": PIPELINE, "replicas": REPLICAS, "both": BOTH}
FEATURES, LABELS = devices.data()


def trained(restore=None, save=None):
    """A script: three steps from a checkpoint or from the beginning; returns the losses."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        y = tf.placeholder(tf.float32, [None, 1], "y")
        # What comes before the first stage belongs to it; these are ref variables.
        short = tf.get_variable("s", [3], initializer=tf.ones_initializer())
        table = tf.get_variable("table", [5, 3], initializer=tf.ones_initializer())
        ids = tf.cast(tf.abs(2 * x[:, 0]), tf.int32) % 5
        hidden = tf.multiply(x, short, name="scaled") * tf.nn.embedding_lookup(table, ids)
        with tf.variable_scope("my_global_step", use_resource=True):
            loss = tf.losses.mean_squared_error(y, devices.network(hidden, stage))
        step = tf.train.get_or_create_global_step()
        train = tf.train.AdamOptimizer(0.05, epsilon=1e-3).minimize(loss, step)
        averages = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([train]):
            train = averages.apply(tf.trainable_variables())
        saver = tf.train.Saver()
        with tf.Session(config=devices.session_config()) as session:
            if restore:
                saver.restore(session, restore)
            else:
                session.run(tf.global_variables_initializer())
            losses = []
            for _ in range(STEPS):
                first = 16 * session.run(step)
                fed = {x: FEATURES[first:first + 16], y: LABELS[first:first + 16]}
                losses.append(session.run([loss, train], fed)[0])
            if save:
                assert saver.save(session, save, step) == "{}-{}".format(save, session.run(step))
            return losses
    return script


def content(path):
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """side -> (losses, prefix of the checkpoint it wrote)."""
    found = {}
    for side, layout in SIDES.items():
        prefix = os.path.join(str(tmp_path_factory.mktemp(side)), "model")
        found[side] = devices.run(layout, trained(save=prefix)), prefix + "-3"
    return found


@pytest.mark.parametrize("side", [side for side in SIDES if side != "plain"])
def test_names_and_values_are_those_of_plain_tensorflow(written, side):
    (expected_losses, expected), (losses, path) = written["plain"], written[side]
    devices.assert_same(losses, expected_losses)
    expected, found = content(expected), content(path)
    assert {"s", "s/Adam", "s/Adam_1", "s/ExponentialMovingAverage", "beta1_power",
            "my_global_step/first/kernel/Adam", "global_step"} < set(expected)
    assert {name: value.dtype for name, value in found.items()} == \
        {name: value.dtype for name, value in expected.items()}
    devices.assert_same(found, expected)


@pytest.fixture(scope="module")
def uninterrupted(written):
    """Losses of three more steps in plain TensorFlow."""
    return devices.run(None, trained(restore=written["plain"][1]))


@pytest.mark.parametrize("reader", SIDES)
@pytest.mark.parametrize("writer", SIDES)
def test_training_goes_on_from_any_other(written, uninterrupted, writer, reader):
    losses = devices.run(SIDES[reader], trained(restore=written[writer][1]))
    assert not np.allclose(losses, written["plain"][0], rtol=1e-3)
    devices.assert_same(losses, uninterrupted)


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_second_monitored_session_on_the_same_graph_resumes(layout, tmp_path):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        for last in (2, 4):
            with tf.train.MonitoredTrainingSession(
                    checkpoint_dir=str(tmp_path), config=devices.session_config(),
                    hooks=[tf.train.StopAtStepHook(last_step=last)]) as session:
                while not session.should_stop():
                    session.run(model.train, {model.x: ROWS})
    assert content(str(tmp_path)) == {"w": weight_after(4), "global_step": 4}


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_variables_loaded_between_steps_count(layout, tmp_path):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        saver = tf.train.Saver()
        with devices.session() as session:
            session.run(model.train, {model.x: ROWS})
            path = saver.save(session, str(tmp_path / "model"))
            model.weight.load(100.0, session)
            session.run(model.train, {model.x: ROWS})
            assert session.run(model.weight) == (100 + 4.5) / 2
            saver.restore(session, path)
            session.run(model.train, {model.x: ROWS})
            assert session.run([model.weight, model.step]) == [weight_after(2), 2]
