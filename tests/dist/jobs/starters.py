# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Six steps of one weight, each worker with a row of its own; one line says what became of it."""

import sys

import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs.common import line_fit, start


def main():
    rank, size = start()
    x, weight, loss = line_fit()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.train.MonitoredTrainingSession() as session:
        for _ in range(6):
            session.run(train, {x: [rank + 1.0]})
        sys.stdout.write("worker {} of {}, {} on this machine: {!r}\n".format(
            rank, size, epl.Env.get().cluster.local_worker_num, float(session.run(weight))))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
