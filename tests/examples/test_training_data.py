# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Training reads micro-batch by micro-batch, from the step on at which its session begins."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.plan.global_batch import divide
from examples.bert.batches import Batches
from examples.bert.features import Window
from examples.bert.training_data import TrainingData

pytestmark = pytest.mark.fast

LENGTH = 5


def windows(count):
    """Windows that are told apart by their only word piece."""
    return [Window(row, np.array([row], np.int32), 1, np.zeros([0, 2]), np.zeros([0]), (0, 0))
            for row in range(count)]


def test_the_clones_of_a_worker_take_its_micro_batches_in_order():
    """Each new session begins anew."""
    batches = Batches(30, divide(24, 3, 2, 2, 1), 1)
    with tf.Graph().as_default():
        step = tf.get_variable("global_step", [], tf.int64, tf.constant_initializer(4),
                               trainable=False, collections=[tf.GraphKeys.GLOBAL_VARIABLES,
                                                             tf.GraphKeys.GLOBAL_STEP])
        data = TrainingData(windows(30), batches, LENGTH)
        ids = data.features()["input_ids"]
        later = tf.assign_add(step, 2)
        assert ids.shape.as_list() == [2, LENGTH]
        for _ in range(2):
            with tf.train.MonitoredSession(hooks=[data]) as session:
                for first in (4, 5):
                    for rows in batches.at(first):
                        np.testing.assert_array_equal(session.run(ids)[:, 0], rows)
                session.run(later)
            assert (data.first_step, data.last_step) == (4, 6)
