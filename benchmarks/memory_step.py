# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `memory.py`: predict the memory of a step, then run it.

Usage: memory_step.py SETTINGS
SETTINGS is JSON: `model` ("tiny", "mini" or "convolutions"), `stages`, `micro_batches`, and
`config`, further keys of the configuration. Prints a JSON list: for every device the parts of the
prediction and what was allocated, in MiB.
"""

import json
import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import epl  # noqa: E402
from benchmarks import pipeline_step  # noqa: E402
from epl.profiler.memory import read_memory  # noqa: E402

MIB = 2.0 ** 20


class Convolutions:
    """Four convolutions with batch normalization, two in each stage, and two dense layers."""

    def columns(self, rows):
        random = np.random.RandomState(0)
        return (random.randn(rows, 32, 32, 3).astype(np.float32),
                random.randint(0, 10, rows).astype(np.int32))

    def loss(self, columns, stage):
        hidden, labels = columns
        for number, filters in enumerate((32, 32, 64, 64)):
            if number % 2 == 0:
                stage(number // 2)
            hidden = tf.layers.conv2d(hidden, filters, 3, padding="same", use_bias=False)
            hidden = tf.nn.relu(tf.layers.batch_normalization(hidden, training=True))
            if number % 2:
                hidden = tf.layers.max_pooling2d(hidden, 2, 2)
        hidden = tf.layers.dense(tf.layers.flatten(hidden), 64, tf.nn.relu)
        return tf.losses.sparse_softmax_cross_entropy(labels, tf.layers.dense(hidden, 10))

    def train_op(self, loss):
        return tf.train.AdamOptimizer(0.01).minimize(loss)


MODELS = {
    "tiny": (pipeline_step.Bert("tiny"), 8),
    "mini": (pipeline_step.Bert("mini"), 8),
    "convolutions": (Convolutions(), 32),
}


def build(settings):
    """The training step, with a strategy for each stage."""
    epl.init(epl.Config(dict(
        settings["config"], **{"pipeline.num_micro_batch": settings["micro_batches"]})))

    def begin(number):
        if settings["stages"] > 1:
            epl.set_default_strategy(epl.replicate(1, name="stage_{}".format(number)))

    if settings["stages"] == 1:
        epl.set_default_strategy(epl.replicate(1))
    model, rows = MODELS[settings["model"]]
    return model.train_op(model.loss(pipeline_step.iterator(model, rows).get_next(), begin))


def main(settings):
    op = build(settings)
    predicted = epl.predict_memory().devices
    session = pipeline_step.open_session(1)
    session.run(op)
    metadata = tf.RunMetadata()
    session.run(op, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                run_metadata=metadata)
    allocated = {each.short: each.peak for each in read_memory(metadata.step_stats)}
    print(json.dumps([
        [[part / MIB for part in memory], allocated["CPU:{}".format(device.index)] / MIB]
        for device, memory in predicted]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
