# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A loss that is seen to be no mean over the rows is named when the step is made."""

from unittest import mock

import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import ACCUMULATION, ONE

DIVIDED = "divides by .*{}.* \\(.*test_weighting\\.py:\\d+\\)"
LOSSES = {
    "mean": (lambda error, mask: tf.reduce_mean(error), None),
    "library": (lambda error, mask: tf.losses.compute_weighted_loss(error), None),
    "with_weights_of_variables": (lambda error, mask: tf.reduce_mean(error) + tf.nn.l2_loss(
        tf.trainable_variables()[0]), None),
    "by_its_size": (lambda error, mask: tf.reduce_sum(error) / tf.cast(tf.size(error), tf.float32),
                    None),
    "by_a_number": (lambda error, mask: tf.reduce_sum(error) / 4.0, None),
    "every_row_its_own": (lambda error, mask: tf.reduce_mean(error / (1.0 + mask)), None),
    "masked": (lambda error, mask: tf.reduce_sum(error * mask) / tf.reduce_sum(mask, name="count"),
               DIVIDED.format("count")),
    "masked_by_library": (lambda error, mask: tf.losses.compute_weighted_loss(error, mask),
                          "divides by"),
    "a_part": (lambda error, mask: tf.reduce_mean(error) + tf.div_no_nan(
        tf.reduce_sum(error * mask), tf.maximum(tf.reduce_sum(mask), 1.0, name="count")),
        DIVIDED.format("count")),
    "sum": (lambda error, mask: tf.reduce_sum(error, name="added"), "adds up the rows.*added"),
    "squares": (lambda error, mask: tf.nn.l2_loss(error, name="added"), "adds up.*added.*'sum'"),
}


def warnings(name, layout, config=None):
    """What is printed while a step with a loss is made."""
    with devices.started(layout, config):
        x, mask = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
        with devices.stages(layout)(0):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            loss = LOSSES[name][0](tf.square(x * weight), mask)
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with mock.patch.object(tf.logging, "warning") as said, devices.session():
            return [call[0][0] for call in said.call_args_list if "the loss" in call[0][0]]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_says_what_it_sees(name):
    expected, found = LOSSES[name][1], warnings(name, ACCUMULATION)
    assert len(found) == (expected is not None), found
    if expected:
        with pytest.raises(AssertionError, match=expected):
            raise AssertionError(found[0])


def test_a_sum_that_is_added_up_is_right():
    config = {"communication.gradients_reduce_method": "sum"}
    assert warnings("sum", ACCUMULATION, config) == []


def test_one_device_says_nothing():
    assert warnings("masked", ONE) == []
