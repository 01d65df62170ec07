#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.15.1: constant folding changes the gradient of a v1 tf.cond.
#
# Guess: graph optimization changes how fast a step runs, and its last bits, not its numbers.
# Behaviour: the branches of a tf.cond have other leading sizes (the rows of the batch; one row of a
# variable). The branch with the batch is taken. A step of gradient descent on the mean of 8 rows is
# 8 times as long as it should be. With constant_folding off it is right, and so is the gradient
# when it is fetched alone. TensorFlow 1.15.5 is right either way.
# Seen: TensorFlow 2.15.1: step with constant folding 8.000, without 1.000 (by hand: 1)

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.15.1 "numpy==1.26.4"
cat >"$folder/program.py" <<'PYTHON'
import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import rewriter_config_pb2

tf.disable_v2_behavior()
tf.disable_control_flow_v2()


def step(folds):
    """What a step of size 1 makes of w = 0, for mean((x w - 1)^2) of 8 equal rows x = (1, 1): 1.

    The mean is over 8 rows and 2 columns, so each of these has the slope -2 / 2.
    """
    options = tf.ConfigProto()
    if not folds:
        options.graph_options.rewrite_options.constant_folding = (
            rewriter_config_pb2.RewriterConfig.OFF)
    with tf.Graph().as_default():
        rows = tf.placeholder(tf.float32, [None, 2])
        w = tf.get_variable("w", [2, 2], initializer=tf.zeros_initializer(), use_resource=True)
        output = tf.cond(tf.reduce_sum(rows) > 0.0, lambda: tf.matmul(rows, w),
                         lambda: 5.0 * w[:1])
        loss = tf.reduce_mean(tf.square(output - 1.0))
        train = tf.train.GradientDescentOptimizer(1.0).minimize(loss)
        with tf.Session(config=options) as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {rows: np.ones([8, 2])})
            return float(session.run(w)[0, 0])


folded, plain = step(True), step(False)
print("TensorFlow {}: step with constant folding {:.3f}, without {:.3f} (by hand: 1)".format(
    tf.__version__, folded, plain))
assert abs(plain - 1.0) < 1e-5, "without constant folding it was right"
assert abs(folded - 1.0) > 0.1, "the behaviour is gone: constant folding gives the right step"
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore "$folder/program.py"
