# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every pair of features trains as one device does, or is refused by name.

Workers are threads; the one device is plain TensorFlow with the whole batch.
"""

import contextlib
import importlib.util
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.errors import ConfigError
from tests.graph import devices
from tests.support import loopback
from tests.support.combinations import (
    AUTOMATIC,
    CHUNKS,
    FEATURES,
    SAME_KEY,
    TRIPLES,
    expected,
    pairs,
    together,
)
from tests.support.jobs import ROOT

tf.disable_v2_behavior()

ROWS, STEPS = 16, 3
PARTS = 4  # of the model, which are stages, or several of them one
random = np.random.RandomState(5)
IDS = random.randint(0, 50, [STEPS, ROWS]).astype(np.int32)
X = random.randn(STEPS, ROWS, 6).astype(np.float32)
Y = random.randn(STEPS, ROWS, 1).astype(np.float32)

TRAINED = [(title,) for title in FEATURES] + [
    pair for pair in pairs() if expected(pair) is None] + list(TRIPLES)
REFUSED = [pair for pair in pairs() if expected(pair) not in (None, SAME_KEY)]


def name_of(titles):
    return " + ".join(titles)


def variable(name, *shape):
    draw = np.random.RandomState(len(name))
    return tf.get_variable(name, initializer=0.4 * draw.randn(*shape).astype(np.float32),
                           use_resource=True)


def dense(hidden, units, name):
    return tf.tanh(tf.matmul(hidden, variable(name, hidden.shape.as_list()[1], units)))


def step_for(loss, program):
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    variables = tf.trainable_variables()
    if "two optimizers" in program:
        first, rest = variables[:1], variables[1:]
        other = tf.train.AdagradOptimizer(0.1)
        train = [optimizer.compute_gradients(loss, rest), other.compute_gradients(loss, first)]
        if "clipped" in program:
            train = [clipped(pairs) for pairs in train]
        return tf.group(optimizer.apply_gradients(train[0]), other.apply_gradients(train[1]))
    found = optimizer.compute_gradients(loss)
    return optimizer.apply_gradients(clipped(found) if "clipped" in program else found)


def clipped(pairs):
    gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 0.3)
    return list(zip(gradients, [variable for _, variable in pairs]))


def build(program, stage):
    ids, x, y = (tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float32, [None, 6]),
                 tf.placeholder(tf.float32, [None, 1]))
    stage(0)
    hidden = dense(x, 8, "a")
    if "sparse" in program:
        hidden += tf.nn.embedding_lookup(variable("table", 50, 8), ids)
    stage(1)
    hidden = dense(hidden, 8, "bb")
    tf.add_to_collection("checkpoints", hidden)
    hidden = dense(dense(hidden, 8, "ccc"), 8, "dddd")
    stage(2)
    hidden = dense(hidden, 8, "eeeee")
    tf.add_to_collection("checkpoints", hidden)
    stage(3)
    loss = tf.reduce_mean(tf.square(dense(dense(hidden, 8, "f"), 1, "gg") - y))
    return (ids, x, y), loss, step_for(loss, program)


def train(program, stage, rank=0, workers=1):
    """Losses, and what variables hold in the end."""
    feeds, loss, step = build(program, stage)
    own = slice(rank * ROWS // workers, (rank + 1) * ROWS // workers)
    with devices.session() as session:
        losses = [session.run([loss, step], dict(zip(
            feeds, (IDS[number, own], X[number, own], Y[number, own]))))[0]
            for number in range(STEPS)]
        return losses, session.run({v.name: v for v in tf.global_variables()
                                    if not v.name.startswith("epl/")})


def under_epl(titles):
    """What each worker finds."""
    config, workers, stages, replicas, program = together(titles)

    def work(rank):
        epl.init(epl.Config(config))
        annotated = 1 if config.get(AUTOMATIC) else stages

        def stage(number):
            if number % (PARTS // annotated) == 0:
                epl.set_default_strategy(epl.replicate(1, name="stage_{}".format(number)))

        return train(program, stage, rank, workers)

    return loopback.run(work, workers, stages * replicas // config.get(CHUNKS, 1))


@pytest.fixture(scope="module")
def reference():
    """What one device finds that trains a program."""
    known = {}

    def of(program):
        if program not in known:
            with devices.unoptimized(), devices.plain():
                known[program] = train(program, lambda number: None)
        return known[program]

    return of


@pytest.mark.parametrize("titles", TRAINED, ids=name_of)
def test_trains_as_one_device(titles, reference):
    """Sums of 16 rows in another order, and what follows from them in three steps.

    TensorFlow's graph optimizers look at each feature alone, and at those that are more than two.
    """
    losses, variables = reference(together(titles)[-1])
    assert all(abs(losses[0] - later) > 1e-3 for later in losses[1:])  # it learns
    with devices.unoptimized() if len(titles) == 2 else contextlib.nullcontext():
        trained = under_epl(titles)
    for found_losses, found in trained:
        np.testing.assert_allclose(found_losses, losses, rtol=1e-5, atol=1e-6)
        assert set(found) == set(variables)
        for name, value in variables.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("titles", REFUSED, ids=name_of)
def test_is_refused_by_name(titles):
    with pytest.raises(ConfigError, match=expected(titles)):
        under_epl(titles)


def test_the_page_shows_what_is_tested():
    path = os.path.join(ROOT, "scripts", "combinations_table.py")
    spec = importlib.util.spec_from_file_location("combinations_table", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.read() == script.page(), "run scripts/combinations_table.py"
