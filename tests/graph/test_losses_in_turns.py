# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two losses that take turns: a step writes the other's loss as it was before its own update."""

import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import BOTH, REPLICAS, Layout

FEATURES = devices.data(16)[0]
STEPS = 4


def slowly(rows):
    """Whatever reads a variable after this reads it late."""
    time.sleep(0.002)
    return rows


def a_copy(loss):
    return tf.assign(tf.get_variable("kept", [], trainable=False,
                                     initializer=tf.zeros_initializer()), loss)


def an_average(loss):
    average = tf.train.ExponentialMovingAverage(0.5)
    return average.apply([loss])


def in_turns(write, resource):
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        one = tf.ones_initializer()
        with tf.variable_scope("", use_resource=resource):
            with stage(0):
                rows = tf.reshape(tf.py_func(slowly, [x], tf.float32), [-1, 3])
                lower = tf.get_variable("lower", [3, 2], initializer=one)
                hidden = tf.tanh(tf.matmul(rows, lower))
            with stage(1):
                upper = tf.get_variable("upper", [2, 1], initializer=one)
                out = tf.matmul(hidden, upper)
                first = tf.reduce_mean(tf.square(out - 1.0))
                second = tf.reduce_mean(tf.abs(out - 2.0))
            optimizer = tf.train.GradientDescentOptimizer(0.5)
            steps = [optimizer.minimize(first, var_list=[upper]),
                     optimizer.minimize(second, var_list=[lower])]
            written = write(first)
        found = []
        with devices.session() as session:
            for _ in range(STEPS):
                for step, loss in zip(steps, (first, second)):
                    found.append(session.run([loss, step, written], {x: FEATURES})[0])
                    found.append(session.run(tf.global_variables()))
        return found
    return script


@pytest.mark.parametrize("layout", [REPLICAS, BOTH, Layout(micro_batches=4)], ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("write", [a_copy, an_average])
def test_a_step_writes_the_other_loss_as_it_was_before_its_update(write, resource, layout):
    expected = devices.run(None, in_turns(write, resource))
    assert np.ptp([float(loss) for loss in expected[::2]]) > 0.1
    devices.assert_same(devices.run(layout, in_turns(write, resource)), expected)


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_the_update_waits_for_a_copy_and_not_for_the_other_loss(resource):
    def script(stage):
        in_turns(a_copy, resource)(stage)
        second = groups_of(state_of(tf.get_default_graph()))[1]
        waits = {c for op in second.returned_ops for c in op.control_inputs}
        return sorted(c.name for c in waits if c.type == "DeepCopy")

    found = devices.run(REPLICAS, script)
    assert len(found) == (0 if resource else 1)  # of `lower` alone, which that step trains
