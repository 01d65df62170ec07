# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every process builds the same graph from the same script.

Neither the addresses of objects nor the hashes of strings, which differ from process to process,
decide about an operation: workers that build alike can be compared, and two runs are equal.

Usage: python -m tests.graph.test_same_graph_in_every_process prints what one process builds.
"""

import subprocess
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.support import jobs

# As few as show a difference; each is a process of its own.
_HASH_SEEDS = ("0", "1", "2")


def script(stage):
    """A model with something for each pass of the rewrite to do, and two optimizers."""
    ids = tf.placeholder(tf.int32, [None, 4], "ids")
    rows = tf.data.Dataset.from_tensor_slices(np.ones([8, 6], np.float32)).repeat().batch(2)
    extra = tf.data.make_one_shot_iterator(rows).get_next()
    with stage(0):
        table = tf.get_variable("table", [9, 6])
        hidden = tf.reduce_mean(tf.nn.embedding_lookup(table, ids), 1) + extra
        hidden = tf.layers.batch_normalization(tf.nn.dropout(hidden, rate=0.5, seed=3),
                                               training=True)
    with stage(1):
        _, hidden = tf.while_loop(lambda n, _: n < 3, lambda n, v: (n + 1, tf.tanh(v)),
                                  [0, devices.dense(hidden, 6, "looped")])
        hidden = tf.cond(tf.reduce_sum(hidden) > 0, lambda: 2.0 * hidden, lambda: hidden)
        loss = tf.reduce_mean(tf.square(devices.dense(hidden, 1, "head")))
    epl.add_to_collection([tf.reduce_max(hidden), tf.reduce_min(hidden)],
                          epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
    tf.summary.scalar("loss", loss)
    tf.summary.merge_all()
    tf.train.AdamOptimizer(0.1).minimize(loss)
    tf.train.MomentumOptimizer(0.1 / (1.0 + loss), 0.9).minimize(2.0 * loss)


def built():
    """A line for every operation in the order of creation.

    What it waits for has no order, in TensorFlow itself.
    """
    with devices.started(devices.BOTH) as graph:
        script(devices.stages(devices.BOTH))
        rewrite(graph)
        return ["{} {} {!r} {} {}".format(
            op.type, op.name, op.device, [t.name for t in op.inputs],
            sorted(c.name for c in op.control_inputs)) for op in graph.get_operations()]


def test_the_operations_of_a_graph_do_not_depend_on_the_process():
    command = [sys.executable, "-m", "tests.graph.test_same_graph_in_every_process"]
    found = [subprocess.run(command, stdout=subprocess.PIPE, timeout=120, check=True, cwd=jobs.ROOT,
                            env=jobs.environment_for({"PYTHONHASHSEED": seed})).stdout.decode()
             for seed in _HASH_SEEDS]
    lines = found[0].splitlines()
    assert sum("micro_batch_1/" in line for line in lines) > 100
    for other in found[1:]:
        assert other.splitlines() == lines


if __name__ == "__main__":
    print("\n".join(built()))
