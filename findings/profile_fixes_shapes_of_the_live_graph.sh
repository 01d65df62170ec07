#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.15.1: tf.profiler.profile(graph, run_meta=...) changes the graph that it looks at.
#
# Guess: a profiler reads a graph and the record of a run, and reports; the graph stays as it was.
# Behaviour: the shapes of that one run become the static shapes of the graph's tensors. A tensor
# with an open batch dimension has a fixed one afterwards, also for whatever is built on it later:
# tf.shape of it is then a constant, and another batch size gives the old number of rows.
# Seen: TensorFlow 2.15.1: shape before [None, 4], after [8, 4]; rows counted of a batch of 3: 8

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.15.1 "numpy==1.26.4"
cat >"$folder/program.py" <<'PYTHON'
import contextlib
import io

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

x = tf.placeholder(tf.float32, [None, 10])
y = tf.matmul(x, tf.ones([10, 4]))
before = y.shape.as_list()
with tf.Session() as session:
    told = tf.RunMetadata()
    session.run(y, {x: np.ones([8, 10])}, run_metadata=told,
                options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tf.profiler.profile(
            tf.get_default_graph(), run_meta=told, cmd="scope",
            options=tf.profiler.ProfileOptionBuilder(
                tf.profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build())
    after = y.shape.as_list()
    rows = int(session.run(tf.shape(y)[0], {x: np.ones([3, 10])}))
print("TensorFlow {}: shape before {}, after {}; rows counted of a batch of 3: {}".format(
    tf.__version__, before, after, rows))
assert before == [None, 4]
assert after == [8, 4] and rows == 8, "the behaviour is gone: the graph is as it was"
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore "$folder/program.py"
