# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""MonitoredTrainingSession loses its session on worker 1 after three steps and makes another."""

import os

import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import line_fit, report, start

RANK, _ = start()


class LoseSession(tf.train.SessionRunHook):
    """Raises, once and on worker 1 alone, what TensorFlow raises when a session is lost."""

    def __init__(self):
        self.sessions = 0
        self.runs = 0

    def after_create_session(self, session, coord):
        self.sessions += 1

    def before_run(self, run_context):
        self.runs += 1
        if RANK == 1 and self.runs == 4 and self.sessions == 1:
            raise tf.errors.AbortedError(None, None, "the session is lost")


def main():
    x, weight, loss = line_fit()
    step = tf.train.get_or_create_global_step()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)
    hook = LoseSession()
    values = (0.0, 0)
    with tf.train.MonitoredTrainingSession(
            checkpoint_dir=os.path.join(os.environ["EPL_OUTPUT_DIR"], "model"),
            hooks=[hook, tf.train.StopAtStepHook(last_step=6)]) as session:
        while not session.should_stop():
            session.run(train, {x: [RANK + 1.0]})
            if not session.should_stop():
                values = session._tf_sess().run([weight, step])
    # the sixth step ended the session; one more follows from the fifth
    report(weights=float(values[0] + (1.5 - values[0]) / 2), step=int(values[1]) + 1,
           sessions=hook.sessions)


if __name__ == "__main__":
    main()
