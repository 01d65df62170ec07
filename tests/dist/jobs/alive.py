# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Session runs that are no training steps: an evaluation, and one between two steps.

Usage: alive.py
"""

import time

import tensorflow.compat.v1 as tf

from tests.dist.jobs import launched
from tests.dist.jobs.common import line_fit, report, start


def is_noticed(session, fetch):
    """Whether a run changes the time of the record, which it does at most once a second."""
    before = launched.status().time
    time.sleep(1.2)
    session.run(fetch)
    return launched.status().time > before


def main():
    launched.listen()
    start()
    with tf.Graph().as_default(), tf.Session() as session:
        evaluation = is_noticed(session, tf.constant(1.0))
    x, weight, loss = line_fit()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {x: [1.0]})
        between = is_noticed(session, weight)
        session.run(train, {x: [1.0]})
    report(evaluation=evaluation, between=between)


if __name__ == "__main__":
    main()
