#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.15.1: tf.profiler counts a batched product with a transposed operand wrongly.
#
# Guess: the floating-point operations of a product are 2 n m k, however its operands are stored.
# Behaviour: the statistics of BatchMatMulV2 look for the attribute transpose_a, which belongs to
# MatMul; that of a batched product is called adj_x. So the first operand is taken as it is stored.
# Seen: TensorFlow 2.15.1: [7, 3, 5] x [7, 5, 2]: 420 operations as it is, 252 transposed (by hand: 420)

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.15.1 "numpy==1.26.4"
cat >"$folder/program.py" <<'PYTHON'
import contextlib
import io

import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


def counted(stored, transposed):
    """What tf.profiler counts for a product of [7, 3, 5] and [7, 5, 2]."""
    with tf.Graph().as_default() as graph:
        tf.matmul(tf.zeros(stored), tf.zeros([7, 5, 2]), transpose_a=transposed)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = tf.profiler.profile(
                graph, cmd="scope", options=tf.profiler.ProfileOptionBuilder(
                    tf.profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build())
    return int(found.total_float_ops)


by_hand = 7 * 2 * 3 * 5 * 2
plain, transposed = counted([7, 3, 5], False), counted([7, 5, 3], True)
print("TensorFlow {}: [7, 3, 5] x [7, 5, 2]: {} operations as it is, {} transposed (by hand: {})"
      .format(tf.__version__, plain, transposed, by_hand))
assert plain == by_hand
assert transposed != by_hand, "the behaviour is gone: transposed operands are counted rightly"
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore "$folder/program.py"
