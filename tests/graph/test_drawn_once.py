# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step draws behind the gradients it draws once, whatever the number of clones."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, REPLICAS, ROWS
from tests.support import draws

LAYOUTS = pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS, BOTH], ids=str)
STEPS = 3


def trained(layout, step_of, fetched=lambda model: []):
    """All variables, and what the last step fetched."""
    def script(stage):
        model = devices.fit(stage)
        gradients = tf.train.GradientDescentOptimizer(0.125).compute_gradients(
            model.loss, [model.weight])
        step = step_of(gradients, model.x)
        extra = fetched(model)
        with devices.session() as session:
            for number in range(STEPS):
                found = session.run([step] + extra, {model.x: ROWS + number})[1:]
            return session.run({v.name: v for v in tf.global_variables()}), found
    return devices.run(layout, script)


@LAYOUTS
@pytest.mark.parametrize("build", draws.SEEDED[:2])
def test_seeded_noise_is_that_of_one_device(layout, build):
    devices.assert_same(trained(layout, build), trained(None, build))


@LAYOUTS
def test_python_is_asked_once_a_step(layout):
    calls = []

    def rate():
        calls.append(0)
        return np.float32(0.01 * len(calls))

    def step_of(gradients, x):
        return draws.applied(gradients, tf.reshape(tf.py_func(rate, [], tf.float32), []))

    found = trained(layout, step_of)
    assert len(calls) == STEPS
    del calls[:]
    devices.assert_same(found, trained(None, step_of))


@LAYOUTS
def test_a_draw_beside_a_value_of_the_whole_batch(layout):
    def step_of(gradients, x):
        value = tf.reduce_mean(x) + 0.5 * tf.random_normal([], seed=3)
        tf.add_to_collection("value", value)
        kept = tf.assign_add(draws.kept("v"), value)
        return tf.group(draws.applied([(g + value, v) for g, v in gradients]), kept)

    def value(model):
        return tf.get_collection("value")

    devices.assert_same(trained(layout, step_of, value), trained(None, step_of, value))
