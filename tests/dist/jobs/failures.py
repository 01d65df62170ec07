# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Jobs in which one worker goes another way than the others.

Usage: failures.py KIND
"""

import os
import sys

import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import line_fit, start


def other_shapes():
    """Worker 1 builds a wider layer."""
    rank, _ = start()
    weight = tf.get_variable("w", [3 + rank])
    _train(tf.reduce_sum(weight ** 2))


def other_config():
    """Worker 1 fuses differently."""
    os.environ["EPL_COMMUNICATION_MAX_SPLITS"] = os.environ["HOROVOD_RANK"] + "1"
    start()
    _train(line_fit_on_constant())


def other_rows():
    """Every worker looks up rows of its own, which stand in its graph as a constant."""
    rank, _ = start()
    table = tf.get_variable("table", [4, 2])
    _train(tf.reduce_sum(tf.gather(table, [0, 1 + rank])))


def imported_training():
    """The training was built in another graph, and comes here with its gradients."""
    start()
    x = tf.placeholder(tf.float32, [None], "x")
    tf.train.AdamOptimizer(0.1).minimize(
        tf.square(tf.get_variable("w", []) - tf.reduce_mean(x)), name="train")
    tf.global_variables_initializer()
    meta_graph = tf.train.export_meta_graph()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(meta_graph)
        session.run("init")
        session.run("train", {"x:0": [1.0, 2.0]})


def extra_step():
    """Worker 0 trains once more than the others."""
    rank, _ = start()
    _train(line_fit_on_constant(), steps=3 if rank == 0 else 2, monitored=True)


def uneven_data():
    """Worker 1 has less data and leaves its loop at the end of it."""
    rank, _ = start()
    batches = tf.data.Dataset.range(5 - 2 * rank)
    value = tf.data.make_one_shot_iterator(batches).get_next()
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    loss = tf.square(weight - tf.cast(value, tf.float32))
    _train(loss, steps=100, monitored=True)


def exception():
    """Worker 1's script raises between two steps."""
    rank, _ = start()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(line_fit_on_constant())
    with tf.train.MonitoredTrainingSession() as session:
        for number in range(4):
            if rank == 1 and number == 2:
                raise ValueError("worker 1 has had enough")
            session.run(train)


def close_in_finally():
    """Worker 1's script raises between two steps, and closes its session all the same."""
    rank, _ = start()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(line_fit_on_constant())
    session = tf.train.MonitoredTrainingSession()
    try:
        for number in range(4):
            if rank == 1 and number == 2:
                raise ValueError("worker 1 has had enough")
            session.run(train)
    finally:
        session.close()


def summary_on_chief():
    """Worker 0 runs a summary of the gradient between two steps."""
    rank, _ = start()
    optimizer = tf.train.GradientDescentOptimizer(0.25)
    pairs = optimizer.compute_gradients(line_fit_on_constant())
    summary, train = tf.summary.scalar("gradient", pairs[0][0]), optimizer.apply_gradients(pairs)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(4):
            session.run(train)
            if rank == 0 and number == 1:
                session.run(summary)


def step_on_timer():
    """A thread of a Supervisor runs a training step."""
    start()
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    train = tf.train.GradientDescentOptimizer(0.25).minimize(tf.square(weight - 1.0))
    with tf.control_dependencies([train]):
        tf.summary.scalar("weight", weight.read_value())
    directory = os.environ["EPL_OUTPUT_DIR"]
    made = tf.train.Supervisor(logdir=directory, save_summaries_secs=1, global_step=None)
    with made.managed_session() as session:
        while not made.should_stop():
            session.run(train)


def failing_step():
    """An operation fails inside a step, on worker 1 alone."""
    rank, _ = start()
    x = tf.placeholder(tf.float32, [None])
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    checked = tf.check_numerics(x, "the input is not finite")
    loss = tf.reduce_mean(tf.square(weight - checked))
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(3):
            value = float("nan") if rank == 1 and number == 1 else 1.0
            session.run(train, {x: [value]})


def other_fetch():
    """The chief runs one loss's step while the other worker runs the other's."""
    rank, _ = start()
    x, a, loss_a = line_fit(name="a")
    b = tf.get_variable("b", [])
    steps = [tf.train.GradientDescentOptimizer(0.1).minimize(loss_a),
             tf.train.GradientDescentOptimizer(0.1).minimize(tf.square(b - 1.0))]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(steps[rank], {x: [1.0]})


def no_strategy():
    """Nothing is annotated: each worker would train alone."""
    import epl

    epl.init()
    _train(line_fit_on_constant())


def line_fit_on_constant():
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    return tf.square(weight - 1.0)


def _train(loss, steps=2, monitored=False):
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    if monitored:
        with tf.train.MonitoredTrainingSession() as session:
            for _ in range(steps):
                if session.should_stop():
                    break
                session.run(train)
        return
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(steps):
            session.run(train)


KINDS = {f.__name__: f for f in (other_shapes, other_config, other_rows, imported_training,
                                 extra_step, uneven_data, exception, close_in_finally,
                                 summary_on_chief, step_on_timer, failing_step, other_fetch,
                                 no_strategy)}

if __name__ == "__main__":
    KINDS[sys.argv[1]]()
