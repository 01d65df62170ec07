#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.20.0 with protobuf 7, which it installs: a training session cannot keep checkpoints.
#
# Guess: what pip installs for TensorFlow 2.20.0 works with it; a protobuf that does not would be
# excluded (2.20.0 asks for protobuf>=5.28.0), or fail when TensorFlow is imported.
# Behaviour: TensorFlow imports, trains, and saves variables. Only where a graph is written as text
# it calls protobuf with an argument that version 7 has no more: MonitoredTrainingSession with a
# checkpoint_dir fails when it is made (graph.pbtxt); without one nothing shows. With protobuf 6 it
# works.
# Seen: TensorFlow 2.20.0 (protobuf>=5.28.0), protobuf 7.36.2: without a directory: trains; with one:
# TypeError: MessageToString() got an unexpected keyword argument 'float_format'; protobuf 6.33.6:
# trains; trains

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.13}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.20.0 protobuf==7.36.2 numpy==2.2.6
cat >"$folder/program.py" <<'PYTHON'
import importlib.metadata
import sys
import tempfile

import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)
weight = tf.get_variable("weight", [], initializer=tf.zeros_initializer())
train = tf.train.GradientDescentOptimizer(0.5).minimize(
    tf.square(weight - 1.0), tf.train.get_or_create_global_step())


def outcome(folder):
    try:
        with tf.train.MonitoredTrainingSession(checkpoint_dir=folder) as session:
            session.run(train)
        return "trains"
    except TypeError as error:
        return "TypeError: {}".format(error)


found = [outcome(None), outcome(tempfile.mkdtemp())]
asked, = [each for each in importlib.metadata.requires("tensorflow-cpu") if "protobuf" in each]
print("TensorFlow {} ({}), protobuf {}: without a directory: {}; with one: {}".format(
    tf.__version__, asked, importlib.metadata.version("protobuf"), *found))
if sys.argv[1] == "works":
    assert found == ["trains", "trains"]
else:
    assert found[0] == "trains"
    assert "float_format" in found[1], "the behaviour is gone"
PYTHON
export TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES=""
"$folder/venv/bin/python" -W ignore "$folder/program.py" fails
"$folder/venv/bin/pip" install --quiet protobuf==6.33.6
"$folder/venv/bin/python" -W ignore "$folder/program.py" works
