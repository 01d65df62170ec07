# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A second step on the same variables, and what is registered after a run, count as the first."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, REPLICAS, ROWS


@pytest.mark.parametrize("layout", [PIPELINE, REPLICAS, BOTH], ids=str)
def test_a_second_step_on_the_same_variable_takes_the_batches_of_all_clones(layout):
    with devices.started(layout):
        rows = tf.data.Dataset.from_tensor_slices(ROWS).repeat().batch(8 // layout.clones)
        model = devices.fit(devices.stages(layout),
                            x=tf.data.make_one_shot_iterator(rows).get_next())
        other = 2.0 * model.loss
        again = tf.train.GradientDescentOptimizer(0.125).minimize(other, var_list=[model.weight])
        with devices.session() as session:
            weight = 0.0
            for step, loss, factor in ((model.train, model.loss, 1.0), (again, other, 2.0)) * 2:
                assert session.run([loss, step])[0] == factor * np.mean((ROWS - weight) ** 2)
                weight += 0.5 * (4.5 - weight)
                assert session.run(model.weight) == weight


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_the_same_fetches_are_merged_once_a_tensor_is_registered(layout):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        total = tf.reduce_sum(model.x)
        with devices.session() as session:
            assert session.run([total, model.train], {model.x: ROWS})[0] == ROWS.sum()
            epl.add_to_collection(total, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
            mean = session.run([total, model.train], {model.x: ROWS})[0]
            assert mean == ROWS.sum() / layout.clones
