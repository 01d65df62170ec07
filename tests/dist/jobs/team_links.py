# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers send each other in a step: as predicted, and as TensorFlow's own graphs have it.

Usage: team_links.py STAGES
"""

import collections
import re
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs import common

ROWS, WIDTH, MICRO_BATCHES = 8, 256, 4  # rows of a micro-batch


def build(stages):
    """A dense layer in each stage: (x, y, loss). The last stage reads data too."""
    hidden = x = y = loss = None
    for number in range(stages):
        with epl.replicate(1, name="stage_{}".format(number)):
            if number == 0:
                hidden = x = tf.placeholder(tf.float32, [None, WIDTH], "x")
            hidden = tf.tanh(tf.matmul(hidden, tf.get_variable(
                "kernel_{}".format(number), [WIDTH, WIDTH],
                initializer=tf.glorot_uniform_initializer(seed=number))))
            if number == stages - 1:
                y = tf.placeholder(tf.float32, [None, WIDTH], "y")
                loss = tf.reduce_mean(tf.square(hidden - y))
    return x, y, loss


def sent(graph, partitions):
    """"worker worker" -> bytes that the first sends the second, from what each of them runs."""
    found = collections.Counter()
    made = {node.name: node for part in partitions for node in part.node}
    for node in made.values():
        if node.op != "_Send" or made[node.input[0].partition(":")[0]].op == "Const":
            continue  # an empty constant carries the order of two operations
        source, target = (tf.DeviceSpec.from_string(node.attr[key].s.decode()).task
                          for key in ("send_device", "recv_device"))
        if source != target:
            name = re.sub(r"^_recv_(.+)_(\d+)(:0)?$", r"\1:\2", node.input[0])  # if it is fed
            tensor = graph.as_graph_element(name if ":" in name else name + ":0")
            found["{} {}".format(source, target)] += \
                int(np.prod([size or ROWS for size in tensor.shape.as_list()])) \
                * tensor.dtype.base_dtype.size
    return found


def summed(graph, partitions):
    """Worker -> bytes that it gives to sums over workers."""
    found = collections.Counter()
    for node in (node for part in partitions for node in part.node):
        if node.op == "CollectiveReduce":
            tensor = graph.as_graph_element(node.name).inputs[0]
            found[tf.DeviceSpec.from_string(node.device).task] += \
                int(np.prod(tensor.shape.as_list())) * tensor.dtype.base_dtype.size
    return found


def main(stages):
    epl.init(epl.Config({"pipeline.num_micro_batch": MICRO_BATCHES}))
    x, y, loss = build(stages)
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    plan = epl.explain(rows=ROWS)
    rows = np.zeros([ROWS * MICRO_BATCHES, WIDTH], np.float32)
    config, metadata = tf.ConfigProto(), tf.RunMetadata()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {x: rows, y: rows}, tf.RunOptions(output_partition_graphs=True),
                    metadata)
        partitions = metadata.partition_graphs
        common.report(plan=plan, sent=sent(session.graph, partitions),
                      summed=summed(session.graph, partitions))


if __name__ == "__main__":
    main(int(sys.argv[1]))
