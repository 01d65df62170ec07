# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is peculiar to the communicator on TensorFlow's servers.

Usage: native.py dies|sessions|sizes
"dies": in the third step worker `$VICTIM` dies, without a word, while the others wait inside of
TensorFlow. "sessions": where sessions run, and what of theirs has no effect. "sizes": workers join
rows, first other numbers of them, then rows of other sizes.
"""

import logging
import os
import signal
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs.common import leave_together, line_fit, report, start

NATIVE = {"communication.communicator": "native"}


def dies():
    rank, _ = start(NATIVE)
    steps = []

    def perhaps(rows):
        steps.append(rows)
        if rank == int(os.environ["VICTIM"]) and len(steps) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows

    x, weight, _ = line_fit(start_at=1.0)
    rows = tf.py_func(perhaps, [x], tf.float32)
    rows.set_shape([None])
    loss = tf.reduce_mean(tf.square(weight - rows))
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.train.MonitoredTrainingSession() as session:
        for _ in range(5):
            session.run(train, {x: [float(rank)]})
            print("step", len(steps), "done", flush=True)


def refusal(call):
    try:
        call()
    except (epl.ConfigError, RuntimeError) as error:
        return str(error)
    raise AssertionError("it was not refused")


def sessions():
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    early = tf.Graph()
    before = tf.Session(graph=early)
    rank, _ = start(NATIVE)
    logging.getLogger("tensorflow").addHandler(handler)
    tf.logging.set_verbosity(tf.logging.WARN)
    with early.as_default():
        _, _, loss = line_fit()
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        made_early = refusal(lambda: before.run(tf.global_variables_initializer()))
    other = refusal(lambda: tf.Session("grpc://localhost:2222"))
    with tf.Graph().as_default():
        x, weight, loss = line_fit(resource=True)
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        config = tf.ConfigProto(inter_op_parallelism_threads=7, allow_soft_placement=True)
        with tf.Session(config=config) as one, tf.Session() as two:
            for session in (one, two):
                session.run(tf.global_variables_initializer())
            one.run(train, {x: np.full(2, 1.0 + rank)})
            weights = [one.run(weight), two.run(weight)]
    report(made_early=made_early, other=other, weights=weights,
           warned=[text for text in said if "without effect" in text])


def sizes():
    rank, _ = start(NATIVE)
    x, sequence = [tf.placeholder(tf.float32, [None, None] + more) for more in ([], [2])]
    weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
    rows = [tf.multiply(each, weight, name) for each, name in ((x, "rows"), (sequence, "longer"))]
    for each in rows:
        epl.add_to_collection(each, epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
    loss = (tf.reduce_mean(x) + tf.reduce_sum(sequence)) * weight
    step = tf.train.GradientDescentOptimizer(0.0).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())

        def train(length, other):
            return session.run([step] + rows, {
                x: np.full([2 + rank, length], float(rank)),
                sequence: np.full([rank, other, 2], float(rank))})[1:]

        joined = train(3, 4)
        refused = refusal(lambda: train(*{"rows": (3 + rank, 4), "longer": (3, 4 + rank)}[
            os.environ["OF"]]))
    report(joined=joined[0], longer=list(joined[1].shape), refused=refused)
    leave_together()


if __name__ == "__main__":
    {"dies": dies, "sessions": sessions, "sizes": sizes}[sys.argv[1]]()
