# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The same script in plain TensorFlow, and with EPL on several virtual devices of this process.

A script is a function of `stage`, where `stage(i)` is the context manager in which stage i of the
model is built. `run(None, script)` is the reference: TensorFlow without any patch of EPL.
"""

import contextlib
import os
import threading
from typing import NamedTuple
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.runtime import hooks
from tests.support import layers

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

# Both sides add the same 32-bit floats in another order: 6e-8 of the larger operand per addition,
# and there are a few dozen between a batch of 16 rows and a variable after six steps.
RELATIVE = 5e-6
ABSOLUTE = 5e-7

# A step takes milliseconds; operations that wait for each other must not wait for ever.
_STEP_TIMEOUT_MS = 30000

_unoptimized = 0  # open blocks, of any thread, in which sessions leave graphs as they are
_LOCK = threading.Lock()
_references = {}


class Layout(NamedTuple):
    """How the devices of this process share a step (`stages` of one device each)."""

    stages: int = 1
    replicas: int = 1
    micro_batches: int = 1

    @property
    def clones(self):
        """Parts into which a step divides the global batch."""
        return self.replicas * self.micro_batches

    def __str__(self):
        return "{}x{}x{}".format(*self)


ONE = Layout()
ACCUMULATION = Layout(micro_batches=2)
PIPELINE = Layout(stages=2, micro_batches=2)
REPLICAS = Layout(replicas=2)
BOTH = Layout(stages=2, replicas=2, micro_batches=2)
SEVERAL = (ACCUMULATION, REPLICAS, BOTH)


@contextlib.contextmanager
def started(layout, config=None, devices=None):
    """EPL is initialized for `layout`, and a new graph is the default.

    Args:
      layout: a `Layout`.
      config: further configuration.
      devices: devices of the process; None: as many as `layout` needs.
    """
    environment = {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_DEVICE_TYPE": "cpu",
                   "EPL_GPU_PER_WORKER": str(devices or layout.stages * layout.replicas)}
    options = {"pipeline.num_micro_batch": layout.micro_batches}
    options.update(config or {})
    with mock.patch.dict(os.environ, environment):
        epl.init(epl.Config(options))
        try:
            with tf.Graph().as_default() as graph:
                tf.set_random_seed(11)
                yield graph
        finally:
            os.environ["EPL_GPU_PER_WORKER"] = "1"
            epl.init()


@contextlib.contextmanager
def plain():
    """TensorFlow without EPL's patches, and a new graph as the default."""
    hooks.install(several_devices=True)
    patched = [(owner, name, getattr(owner, name))
               for owner, name, _ in hooks.PATCHES + hooks.PATCHES_OF_RUNS]
    for owner, name, function in patched:
        setattr(owner, name, function.__wrapped__)
    try:
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(11)
            yield graph
    finally:
        for owner, name, function in patched:
            setattr(owner, name, function)


@contextlib.contextmanager
def control_flow_v2():
    """`tf.cond` and `tf.while_loop` as operations that call functions."""
    tf.enable_control_flow_v2()
    try:
        yield
    finally:
        tf.disable_control_flow_v2()


def stages(layout):
    """What a script builds its stages in; a single stage holds all of the model."""
    def stage(number):
        if layout is None or number >= layout.stages:
            return contextlib.nullcontext()
        return epl.replicate(1, name="stage_{}".format(number))
    return stage


def run(layout, script, config=None):
    """What `script(stage)` returns under `layout`; None: in plain TensorFlow."""
    with plain() if layout is None else started(layout, config):
        return script(stages(layout))


@contextlib.contextmanager
def unoptimized():
    """Sessions without TensorFlow's graph optimizers, which take longer than all that is computed.

    For references, and for most layouts of a case where another one shows that what they do to
    EPL's graphs does not show.
    """
    _count_unoptimized(1)
    try:
        yield
    finally:
        _count_unoptimized(-1)


def _count_unoptimized(change):
    global _unoptimized
    with _LOCK:
        _unoptimized += change


def reference(key, script):
    """`run(None, script)`, done once in this process for all that ask with the same `key`.

    Cases of a test that differ in `layout` alone run in one process (`tests/conftest.py`).
    """
    if key not in _references:
        with unoptimized():
            _references[key] = run(None, script)
    return _references[key]


def assert_same(found, expected, relative=RELATIVE, absolute=ABSOLUTE):
    """Nested lists, tuples and dictionaries of equal structure hold equal numbers."""
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(one, other, rtol=relative, atol=absolute)


def session(**options):
    """A `tf.Session` with initialized variables."""
    options.setdefault("config", session_config())
    made = tf.Session(**options)
    made.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    return made


def session_config():
    config = tf.ConfigProto(operation_timeout_in_ms=_STEP_TIMEOUT_MS)
    config.graph_options.rewrite_options.disable_meta_optimizer = _unoptimized > 0
    return config


# Rows 1 to 8: each clone's mean is another one, that of all is 4.5.
ROWS = np.arange(1.0, 9.0, dtype=np.float32)


class Fit(NamedTuple):
    """One weight w, fitted to rows x: loss = mean((x - w)^2), a step goes half the way to mean(x).

    All numbers are exact in 32-bit floats for `ROWS`: w = 2.25, 3.375, ...
    """

    x: object
    weight: object
    loss: object
    step: object
    train: object


def fit(stage, name="w", x=None, trains=True, **variable):
    """Build a `Fit` in two stages, with a training step or without."""
    with stage(0):
        x = tf.placeholder(tf.float32, [None], "x") if x is None else x
        weight = tf.get_variable(name, [], initializer=tf.zeros_initializer(), **variable)
        apart = tf.subtract(x, weight, "apart")
    with stage(1):
        loss = tf.reduce_mean(tf.square(apart), name="loss")
    step = tf.train.get_or_create_global_step()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(
        loss, step, [weight], name="train") if trains else None
    return Fit(x, weight, loss, step, train)


def weight_after(steps):
    """The weight of a `Fit` after so many steps on `ROWS`."""
    return 4.5 * (1 - 0.5 ** steps)


def dense(inputs, units, name, activation=None):
    """A layer whose initial weights depend on its name alone."""
    return layers.dense(inputs, units, activation, name=name,
                        kernel_initializer=tf.glorot_uniform_initializer(seed=len(name)))


def data(rows=96):
    """(features [rows, 3], labels [rows, 1]), the same every time."""
    random = np.random.RandomState(0)
    features = random.randn(rows, 3).astype(np.float32)
    return features, np.sin(features.sum(1, keepdims=True)).astype(np.float32)


def network(features, stage):
    """A network of two stages; its output is [rows, 1]."""
    with stage(0):
        hidden = dense(features, 4, "first", tf.tanh)
    with stage(1):
        return dense(hidden, 1, "second")
