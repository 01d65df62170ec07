# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step whose parts have other numbers of rows says so, once."""

from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH


def warnings(layout, rows, drop=False, repeat=False, steps=2):
    """What a training on so many rows in batches of 4 is told."""
    with devices.started(layout), mock.patch.object(tf.logging, "warning") as said:
        data = tf.data.Dataset.from_tensor_slices(np.arange(rows, dtype=np.float32))
        data = data.batch(4, drop_remainder=drop).repeat(None if repeat else 1)
        x = tf.data.make_one_shot_iterator(data).get_next()
        with devices.stages(layout)(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
        with devices.stages(layout)(1):
            loss = tf.reduce_mean(tf.square(x - w))
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with devices.session() as session:
            losses = [session.run([train, loss])[1] for _ in range(steps)]
        assert all(np.shape(loss) == () for loss in losses)
        return [call[0][0] for call in said.call_args_list if "rows" in call[0][0]]


@pytest.mark.parametrize("layout, rows, expected", [
    (ACCUMULATION, 14, "4, 2 on this worker, 3 in the mean"), (ACCUMULATION, 16, None),
    (BOTH, 31, "4, 4, 4, 3 on this worker, 3.75 in the mean")], ids=str)
def test_smaller_last_batch(layout, rows, expected):
    found = warnings(layout, rows)
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


def test_said_once():
    assert len(warnings(ACCUMULATION, 6, repeat=True, steps=3)) == 1


def test_full_batches_are_not_counted():
    assert warnings(ACCUMULATION, 14, drop=True, steps=1) == []


def test_rows_fed_to_one_worker_are_not_counted():
    with devices.started(ACCUMULATION) as graph:
        devices.fit(devices.stages(ACCUMULATION))
        devices.session()
        group, = groups_of(state_of(graph))
        assert group.rewritten and group.row_counts is None
