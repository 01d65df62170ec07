# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker of `steps.py`: runs blocks of training steps when files ask for them.

Usage: steps_worker.py KIND MODEL FOLDER
KIND is plain (no exchange), horovod, or epl:NAME with the name of a communicator; MODEL is mlp,
tiny or mini (BERT). A file `go.<n>` in the folder holds the number of steps of block n;
`done.<n>.<rank>` then tells what they took: JSON with `seconds` and `cpu`, the seconds of processor
time. A block of 0 steps ends the worker.
"""

import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bert_step  # noqa: E402
import measuring  # noqa: E402

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

BATCH = {"mlp": 32, "tiny": 16, "mini": 16}


def mlp_loss():
    """784-100-100-10 on rows that never change."""
    random = np.random.RandomState(0)
    hidden = tf.constant(random.rand(BATCH["mlp"], 784), tf.float32)
    labels = tf.constant(random.randint(0, 10, BATCH["mlp"]), tf.int32)
    sizes = (784, 100, 100, 10)
    for number, (before, after) in enumerate(zip(sizes, sizes[1:])):
        weights = tf.get_variable("w{}".format(number), [before, after])
        hidden = tf.matmul(hidden, weights) + tf.get_variable("b{}".format(number), [after])
        hidden = tf.nn.relu(hidden) if after != 10 else hidden
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=hidden))


def train_op(kind, model):
    """The operation of one step: Adam, with BERT as the example trains it."""
    if model != "mlp":
        return bert_step.train_op(kind, bert_step.build_loss(model, BATCH[model]))
    optimizer = tf.train.AdamOptimizer(1e-4)
    if kind == "horovod":
        import horovod.tensorflow as hvd

        optimizer = hvd.DistributedOptimizer(optimizer)
    return optimizer.minimize(mlp_loss())


def begin(kind):
    """Initialize; returns what is run after the variables' initializers."""
    if kind.startswith("epl:"):
        import epl

        epl.init(epl.Config({"communication.communicator": kind[len("epl:"):]}))
        epl.set_default_strategy(epl.replicate(device_count=1))
    elif kind == "horovod":
        import horovod.tensorflow as hvd

        hvd.init()
        return lambda: [hvd.broadcast_global_variables(0)]
    return lambda: []


def main(kind, model, folder):
    rank = os.environ.get("EPL_WORKER_INDEX", "0")
    if model != "mlp":
        os.sched_setaffinity(0, {int(rank)})
    after_initializers = begin(kind)
    tf.set_random_seed(1)
    op = train_op(kind, model)
    beside = after_initializers()
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        session.run(beside)
        number, steps = 0, 5
        while steps:
            begin_cpu, begin_time = time.process_time(), time.perf_counter()
            for _ in range(steps):
                session.run(op)
            seconds, cpu = time.perf_counter() - begin_time, time.process_time() - begin_cpu
            measuring.put(os.path.join(folder, "done.{}.{}".format(number, rank)),
                {"seconds": seconds, "cpu": cpu})
            number += 1
            steps = measuring.take(os.path.join(folder, "go.{}".format(number)))


if __name__ == "__main__":
    main(*sys.argv[1:])
