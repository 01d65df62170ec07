# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which versions of TensorFlow are refused, and that parts of it may be missing."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl import compat
from epl.runtime import hooks
from tests.graph import devices
from tests.support import layers, missing
from tests.support.jobs import environment_for
from tests.support.layers import HAS_LAYERS


@pytest.mark.fast
@pytest.mark.parametrize("version", [
    "1.15.0", "1.15.5", "1.15.8", "2.10.0", "2.10.1", "2.15.0.post1", "2.16.2", "2.21.0",
    "2.21.0-rc1", tf.version.VERSION])
def test_versions_that_were_tried(version):
    compat.require_supported(version)


@pytest.mark.fast
@pytest.mark.parametrize("version", ["1.13.2", "1.14.0", "2.0.0", "2.1.4", "2.9.3", "2.22.0",
                                     "3.0.0", "2.22.0-dev20261101"])
def test_others_are_refused_in_one_line_that_says_which_are_supported(version):
    with pytest.raises(ImportError) as error:
        compat.require_supported(version)
    assert str(error.value) == (
        "EPL supports TensorFlow 1.15 and 2.10 to 2.21, and this is {}: install another, such as "
        "\"tensorflow>=2.10,<2.22\"".format(version))


@pytest.mark.fast
def test_what_is_patched_is_there():
    for owner, attribute, _ in hooks.PATCHES + hooks.PATCHES_OF_RUNS:
        assert callable(getattr(owner, attribute))
    assert compat.HAS_ESTIMATOR == hasattr(tf, "estimator")


@pytest.mark.fast
@pytest.mark.parametrize("known", [0, 40])
def test_an_import_finds_its_operations_whatever_the_graph_has(known):
    with tf.Graph().as_default() as source:
        tf.add(tf.placeholder(tf.float32, [], "x"), 1.0, "sum")
        definition = source.as_graph_def()
    with tf.Graph().as_default() as graph:
        for _ in range(known):
            tf.no_op()
        names = ["copy/" + node.name for node in definition.node]
        with compat.plain_imports(graph, names):
            tf.import_graph_def(definition, name="copy")
        with compat.plain_imports(graph, [name.replace("copy", "again") for name in names]):
            tf.import_graph_def(definition, name="again")
        assert [op.name for op in graph.get_operations()[known:known + 3]] == names
        assert len(graph.get_operations()) == known + 6
        with tf.Session() as session:
            assert session.run("again/sum:0", {"again/x:0": 2.0}) == 3.0


LEFT_OPEN = """
import tensorflow.compat.v1 as tf
import epl
tf.disable_v2_behavior()
epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
x = tf.placeholder(tf.float32, [None, 4])
with epl.replicate(1):
    loss = tf.reduce_mean(tf.matmul(x, tf.get_variable("w", [4, 1])))
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
session = tf.Session()
session.run(tf.global_variables_initializer())
session.run(train, {x: [[1.0] * 4] * 4})
"""


@pytest.mark.fast
def test_a_session_that_is_left_open_ends_with_the_process():
    """Late: Python 3.13 has taken the names of modules away by then."""
    environment = environment_for({
        "EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_DEVICE_TYPE": "cpu",
        "EPL_GPU_PER_WORKER": "2"})
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LEFT_OPEN], env=environment,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not HAS_LAYERS, reason="this TensorFlow has no tf.layers to compare with")
@pytest.mark.parametrize("inputs", [[4, 3], [2, 4, 3]])
def test_the_dense_of_the_tests_is_that_of_tensorflow(inputs):
    def outputs(dense):
        with tf.Graph().as_default():
            x = tf.constant(np.random.RandomState(0).randn(*inputs).astype(np.float32))
            start = tf.glorot_uniform_initializer(seed=2)
            decay = tf.nn.l2_loss
            y = dense(x, 5, tf.tanh, kernel_initializer=start, kernel_regularizer=decay)
            y = dense(y, 2, use_bias=False, kernel_initializer=start, name="last")
            with tf.variable_scope("shared"):
                z = dense(x, 2, kernel_initializer=start, name="one")
            with tf.variable_scope("shared"):
                y += z + dense(x, 2, kernel_initializer=start, name="one", reuse=True)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                return session.run({"y": y, "losses": tf.losses.get_regularization_loss(),
                                    **{v.name: v for v in tf.global_variables()}})

    devices.assert_same(outputs(layers._dense), outputs(tf.layers.dense))


@pytest.mark.fast
@pytest.mark.parametrize("error, word", [
    ("`dense` is not available with Keras 3.", "tf.layers"),
    ("module 'tensorflow.compat.v1' has no attribute 'estimator'", "tf.estimator"),
    ("module 'tensorflow' has no attribute 'constant'", None), ("1 != 2", None)])
def test_a_test_is_skipped_for_what_is_missing_only(error, word):
    reason = missing.reason(error)
    assert reason is None if word is None else word in reason
