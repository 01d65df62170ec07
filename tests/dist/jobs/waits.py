# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Jobs in which one worker waits for another.

Usage: waits.py KIND
"""

import atexit
import sys
import threading
import time

import numpy as np
import tensorflow.compat.v1 as tf

from tests.dist.jobs import launched
from tests.dist.jobs.common import line_fit, report, start

launched.listen()
RANK, _ = start()
SEEN = [launched.status()]


def no_more_threads():
    """As Python 3.12 and later are when the script has ended."""
    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    threading.Thread.start = refuse


atexit.register(no_more_threads)  # called before what epl.init has registered


def stepper():
    """(session, function that runs one training step)."""
    x, _, loss = line_fit()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session, lambda: session.run(train, {x: [1.0]})


def before_a_step():
    """Worker 1's script hangs between its second and third step."""
    _, step = stepper()
    for number in range(3):
        if RANK == 1 and number == 2:
            launched.wait_for_release()
        step()


def inside_a_step():
    """Worker 1's input hangs in its third step."""
    calls = []

    def value():
        calls.append(1)
        if RANK == 1 and len(calls) == 3:
            launched.wait_for_release()
        return np.float32(1.0)

    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    x = tf.py_func(value, [], tf.float32)
    train = tf.train.GradientDescentOptimizer(0.25).minimize(tf.square(weight - x))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train)


def monitored():
    """A training session from begin to end, an evaluation and a plain session behind it."""
    x, _, loss = line_fit()
    step = tf.train.get_or_create_global_step()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)

    class Look(tf.train.SessionRunHook):
        def after_create_session(self, session, coord):
            SEEN.append(launched.status())

        def after_run(self, run_context, run_values):
            SEEN.append(launched.status())

    with tf.train.MonitoredTrainingSession(
            hooks=[Look(), tf.train.StopAtStepHook(last_step=2)]) as session:
        while not session.should_stop():
            session.run(train, {x: [1.0]})
    SEEN.append(launched.status())
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {x: [1.0]})
    SEEN.append(launched.status())
    report(seen=[status._asdict() for status in SEEN])


def leaves_early():
    """Worker 1's script comes to its end after two steps of four."""
    _, step = stepper()
    for _ in range(2 if RANK == 1 else 4):
        step()


def never_trains():
    """Only the chief trains."""
    _, step = stepper()
    if RANK == 0:
        step()


def ends_later():
    """The chief goes on alone behind the last step, longer than the others wait."""
    _, step = stepper()
    step()
    if RANK == 0:
        time.sleep(8)
    report(status=launched.status()._asdict())


KINDS = {f.__name__: f for f in (before_a_step, inside_a_step, monitored, leaves_early,
                                 never_trains, ends_later)}

if __name__ == "__main__":
    KINDS[sys.argv[1]]()
