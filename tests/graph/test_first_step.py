# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What makes the first step shorter leaves every bit as it is, and what the script has set."""

import hashlib

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.runtime import settings
from tests.graph import devices
from tests.graph.devices import BOTH, dense

DEFAULT = tf.ConfigProto().graph_options.rewrite_options


def digest_of_training(stage):
    features, labels = devices.data()
    tf.set_random_seed(1)
    with stage(0):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        y = tf.placeholder(tf.float32, [None, 1], "y")
        hidden = tf.nn.dropout(dense(x, 16, "lower", tf.tanh), rate=0.25, seed=7)
    with stage(1):
        hidden = dense(hidden, 16, "upper", tf.nn.relu)
        loss = tf.reduce_mean(tf.square(dense(hidden, 1, "last") - y))
    optimizer = tf.train.AdamOptimizer(0.01)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    train = optimizer.apply_gradients(zip(tf.clip_by_global_norm(gradients, 1.0)[0], variables))
    found = []
    with devices.session() as session:
        for _ in range(4):
            found.append(session.run([loss, train], {x: features, y: labels})[0])
        found.extend(session.run(tf.global_variables()))
    return hashlib.sha256(b"".join(value.tobytes() for value in found)).hexdigest()


def test_training_is_the_same_to_the_bit_with_and_without_the_memory_optimizer(monkeypatch):
    without = devices.run(BOTH, digest_of_training)
    seen = []
    monkeypatch.setattr(settings, "_leave_memory_alone", lambda *given: seen.append(given))
    assert devices.run(BOTH, digest_of_training) == without
    assert seen


@pytest.mark.parametrize("given, expected", [
    (DEFAULT.DEFAULT_MEM_OPT, DEFAULT.NO_MEM_OPT),
    (DEFAULT.HEURISTICS, DEFAULT.HEURISTICS),
])
def test_what_the_script_has_chosen_stays(given, expected):
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.memory_optimization = given
    with devices.started(BOTH):
        context = epl.Env.get().context
        found = settings.session_config(config, context).graph_options.rewrite_options
        assert found.memory_optimization == expected
    assert config.graph_options.rewrite_options.memory_optimization == given
