#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.15.1: x + x in the true branch of a v1 tf.cond has no value when the branch is taken.
#
# Guess: a branch that is taken gives its value, whatever it is computed by.
# Behaviour: the arithmetic optimizer makes 2 * x of x + x, and lets the 2 wait for the wrong side
# of the Switch: it is there only when the branch is not taken. The run fails with "Retval[0] does
# not have value". In the false branch, and with that optimizer off, the same sum is right.
# Seen: TensorFlow 2.15.1: true branch: no value; false branch: 2.0; optimizer off: 2.0 (right: 2.0)

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
tf.logging.set_verbosity(tf.logging.ERROR)


def mean_of_sum(branch, optimized):
    """The mean of x + x for x = 1, computed in the true or the false branch, which is taken."""
    options = tf.ConfigProto()
    if not optimized:
        options.graph_options.rewrite_options.arithmetic_optimization = (
            rewriter_config_pb2.RewriterConfig.OFF)
    with tf.Graph().as_default():
        x, taken = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.bool, [])
        sides = [lambda: x + x, lambda: tf.identity(x)]
        result = tf.reduce_mean(tf.cond(taken, *(sides if branch else reversed(sides))))
        with tf.Session(config=options) as session:
            try:
                return str(session.run(result, {x: np.ones([2, 3]), taken: branch}))
            except tf.errors.InvalidArgumentError as error:
                assert "does not have value" in error.message, error
                return "no value"


found = mean_of_sum(True, True), mean_of_sum(False, True), mean_of_sum(True, False)
print("TensorFlow {}: true branch: {}; false branch: {}; optimizer off: {} (right: 2.0)".format(
    tf.__version__, *found))
assert found[1:] == ("2.0", "2.0")
assert found[0] == "no value", "the behaviour is gone: the sum has its value"
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore "$folder/program.py"
