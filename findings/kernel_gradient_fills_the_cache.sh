#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 1.15.5 on CPUs: the gradient of a convolution's kernel takes the same memory for one
# image as for 32.
#
# Guess: what Conv2DBackpropFilter needs beside its inputs grows with the batch, like activations.
# Behaviour: it lays out columns of as many images as fill the processor's last cache, whether the
# batch has so many or not. A convolution of 32 channels on images of 32 x 32 takes 27 MiB for one
# image, whose columns are 1.1 MiB, and 27 MiB for 32 images. Smaller micro-batches do not make it
# smaller, and two such gradients at once take it twice.
# Seen: TensorFlow 1.15.5: kernel gradient of 1 image 27.0 MiB, of 32 images 27.0 MiB; the columns
# of an image 1.1 MiB

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.7}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow==1.15.5 "protobuf==3.20.3" "numpy==1.18.5"
cat >"$folder/program.py" <<'PYTHON'
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
SIZE, CHANNELS, KERNEL = 32, 32, 3
COLUMNS = SIZE * SIZE * KERNEL * KERNEL * CHANNELS * 4


def peak(images):
    """Most bytes that the operation holds at a time, from TensorFlow's records of allocations."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [images, SIZE, SIZE, CHANNELS])
        kernel = tf.constant(np.ones([KERNEL, KERNEL, CHANNELS, CHANNELS], np.float32))
        y = tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME")
        gradient, = tf.gradients(tf.reduce_sum(y * y), kernel)
        metadata = tf.RunMetadata()
        session.run(gradient, {x: np.ones(x.shape.as_list(), np.float32)},
                    options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                    run_metadata=metadata)
    changes = sorted(
        (record.alloc_micros, record.alloc_bytes)
        for device in metadata.step_stats.dev_stats for node in device.node_stats
        if node.node_name.endswith("Conv2DBackpropFilter")
        for memory in node.memory for record in memory.allocation_records)
    in_use = most = 0
    for _, number in changes:
        in_use += number
        most = max(most, in_use)
    return most


one, many = peak(1), peak(32)
print("TensorFlow {}: kernel gradient of 1 image {:.1f} MiB, of 32 images {:.1f} MiB; the columns "
      "of an image {:.1f} MiB".format(tf.__version__, one / 2.0 ** 20, many / 2.0 ** 20,
                                      COLUMNS / 2.0 ** 20))
assert one == many, "the behaviour is gone: it depends on the batch"
assert one > 4 * COLUMNS, "the behaviour is gone, or the last cache is smaller than 5 MiB"
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore "$folder/program.py"
