#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.21.0: a dropout layer of Keras 3 drops the same units in every step of a session.
#
# Guess: tf.keras.layers.Dropout in a graph draws a new mask in every step, as that of Keras 2 does
# and tf.nn.dropout; what cannot work in a graph of a session is refused, as tf.layers is.
# Behaviour: the state of the seed is a variable that is written when the layer is called, which is
# once, when the graph is built: nothing in the graph depends on that write, and no session runs it.
# Every step draws the first mask, without a word. In the same way moving averages of
# BatchNormalization stay what they were (0 and 1): the writes are in no collection either.
# Seen: TensorFlow 2.21.0, Keras 3.15.1: masks of five steps: 1 different (tf.nn.dropout: 5);
# moving mean after five steps: 0.0

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.2.6
cat >"$folder/program.py" <<'PYTHON'
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)
STEPS = 5
x = tf.placeholder(tf.float32, [None, 64])
layer = tf.keras.layers.BatchNormalization(momentum=0.5)
masks = {"Dropout": tf.keras.layers.Dropout(0.5)(x, training=True),
         "tf.nn.dropout": tf.nn.dropout(x, rate=0.5)}
normalized = layer(x, training=True)
updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    seen = {name: set() for name in masks}
    for step in range(STEPS):
        found = session.run([masks, normalized, updates], {x: np.ones([2, 64])})[0]
        for name, value in found.items():
            seen[name].add((value > 0).tobytes())
    mean = float(np.mean(session.run([v for v in tf.global_variables() if "moving_mean" in v.name])))
print("TensorFlow {}, Keras {}: masks of five steps: {} different (tf.nn.dropout: {}); moving mean "
      "after five steps: {}".format(tf.__version__, tf.keras.__version__, len(seen["Dropout"]),
                                    len(seen["tf.nn.dropout"]), mean))
assert len(seen["tf.nn.dropout"]) == STEPS
assert len(seen["Dropout"]) == 1, "the behaviour is gone: masks differ"
assert mean == 0.0, "the behaviour is gone: the moving mean moves"
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore "$folder/program.py"
