# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Conditions around a step: an update that is left out, an input that is chosen in every run."""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import PIPELINE, SEVERAL

FEATURES, LABELS = devices.data()
EACH_KIND = pytest.mark.parametrize("control_flow", [1, 2], ids=["v1", "v2"])


def control_flow_of(version):
    return devices.control_flow_v2() if version == 2 else contextlib.nullcontext()


@EACH_KIND
@pytest.mark.parametrize("layout", SEVERAL + (PIPELINE,), ids=str)
def test_a_step_is_left_out_for_the_norm_of_the_global_batch(layout, control_flow):
    """As with a loss scale: no update where the gradients are too large."""
    norms = []

    def script(stage):
        with tf.variable_scope(tf.get_variable_scope(), use_resource=control_flow == 2):
            x = tf.placeholder(tf.float32, [None, 3])
            y = tf.placeholder(tf.float32, [None, 1])
            loss = tf.losses.mean_squared_error(y, devices.network(x, stage))
            optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
            gradients, variables = zip(*optimizer.compute_gradients(loss))
            norm, step = tf.global_norm(gradients), tf.train.get_or_create_global_step()
            train = tf.cond(
                norm < 10.0, lambda: optimizer.apply_gradients(zip(gradients, variables), step),
                tf.no_op)
        found = []
        with devices.session() as session:
            for number, factor in enumerate((1.0, 100.0, 1.0, 100.0)):
                rows = slice(16 * number, 16 * number + 16)
                fed = {x: FEATURES[rows], y: factor * LABELS[rows]}
                found.append(session.run([loss, norm, train], fed)[:2])
                norms.append(found[-1][1])
            return found, session.run({v.name: v for v in tf.global_variables()})

    with control_flow_of(control_flow):
        expected = devices.run(None, script)
        assert [norm < 10.0 for norm in norms] == [True, False, True, False]
        assert expected[1]["global_step:0"] == 2
        devices.assert_same(devices.run(layout, script), expected)


@EACH_KIND
@pytest.mark.parametrize("layout", SEVERAL + (PIPELINE,), ids=str)
def test_clones_take_their_batches_from_the_iterator_that_is_chosen(layout, control_flow):
    def script(layout, stage):
        def rows(sign):
            data = tf.data.Dataset.from_tensor_slices((sign * FEATURES, LABELS))
            return tf.data.make_one_shot_iterator(data.batch(16 // layout.clones))

        one, other = rows(1.0), rows(-1.0)
        first = tf.placeholder(tf.bool, [])
        x, y = tf.cond(first, one.get_next, other.get_next)
        loss = tf.losses.mean_squared_error(
            tf.reshape(y, [-1, 1]), devices.network(tf.reshape(x, [-1, 3]), stage))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, train], {first: value})[0]
                      for value in (True, True, False, True, False)]
            return losses, session.run({v.name: v for v in tf.global_variables()})

    with control_flow_of(control_flow):
        expected = devices.run(None, lambda stage: script(devices.ONE, stage))
        assert len(np.unique(expected[0])) == 5
        devices.assert_same(devices.run(layout, lambda stage: script(layout, stage)), expected)
