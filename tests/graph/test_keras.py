# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Layers of Keras in a graph that a session trains: Keras 2, or 3 where TensorFlow has that."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, REPLICAS


def trained(stage, hidden_layers):
    """(losses, values of the variables) after three steps of two stages."""
    keras = tf.keras.layers
    features, labels = devices.data(32)
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    with stage(0):
        hidden = keras.Dense(8, "tanh", kernel_initializer=tf.keras.initializers.Constant(0.1))(x)
        hidden *= np.linspace(0.5, 2.0, 8).astype(np.float32)
        for layer in hidden_layers(keras):
            hidden = layer(hidden)
    with stage(1):
        result = keras.Dense(1, kernel_initializer=tf.keras.initializers.Constant(0.2))(hidden)
        loss = tf.reduce_mean(tf.square(result - y))
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    with devices.session() as session:
        losses = [session.run([loss, train], {x: features, y: labels})[0] for _ in range(3)]
        return losses, session.run(tf.trainable_variables())


@pytest.mark.parametrize("layout", [
    ACCUMULATION, pytest.param(PIPELINE, marks=pytest.mark.fast), REPLICAS, BOTH], ids=str)
@pytest.mark.parametrize("hidden_layers", [
    lambda keras: [keras.Dense(4, "relu", kernel_initializer="ones")],
    lambda keras: [keras.LayerNormalization(),
                   keras.Dense(4, use_bias=False, kernel_initializer="identity")],
    lambda keras: [keras.Reshape((8, 1)), keras.Conv1D(2, 3, kernel_initializer="ones"),
                   keras.Flatten()],
], ids=["dense", "normalized", "convolution"])
def test_equals_one_device_with_the_whole_batch(layout, hidden_layers):
    found, expected = [devices.run(where, lambda stage: trained(stage, hidden_layers))
                       for where in (layout, None)]
    assert not np.allclose(expected[1][0], 0.1)
    devices.assert_same(found, expected)
