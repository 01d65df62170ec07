# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Adam on two layers and a table, 16 rows a step over all workers, in a monitored session.

Usage: zero.py FOLDER LAST_STEP [DIES_AT]
Saves after every step in FOLDER. With DIES_AT the last worker is killed before that step, in the
first attempt. Reports the steps that this process ran, and which state it holds.
"""

import os
import signal
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.ir.ownership import ownership_of
from tests.dist.jobs.common import report, start

RANK, WORKERS = start()
FOLDER, LAST = sys.argv[1], int(sys.argv[2])
DIES_AT = int(sys.argv[3]) if len(sys.argv) > 3 and os.environ["EPL_RESTART_COUNT"] == "0" else -1


def model(ids, y):
    with tf.variable_scope("", use_resource=epl.Env.get().config.zero.level == "v2"):
        draw = np.random.RandomState(1)
        table, kernel = [tf.get_variable(
            name, initializer=draw.randn(*shape).astype(np.float32))
            for name, shape in (("table", (64, 16)), ("kernel", (16, 1)))]
    hidden = tf.tanh(tf.nn.embedding_lookup(table, ids))
    return tf.reduce_mean(tf.square(tf.matmul(hidden, kernel) - y))


def main():
    ids, y = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float32, [None, 1])
    optimizer = tf.train.AdamOptimizer(0.01)
    gradients, variables = zip(*optimizer.compute_gradients(model(ids, y)))
    gradients, _ = tf.clip_by_global_norm(gradients, 0.1)
    step = tf.train.get_or_create_global_step()
    train = optimizer.apply_gradients(zip(gradients, variables), global_step=step)
    ran = []
    with tf.train.MonitoredTrainingSession(
            checkpoint_dir=FOLDER, save_checkpoint_steps=1, save_summaries_steps=None,
            log_step_count_steps=None, hooks=[tf.train.StopAtStepHook(last_step=LAST)]) as session:
        number = session.run_step_fn(lambda step_context: step_context.session.run(step))
        while not session.should_stop():
            if number == DIES_AT and RANK == WORKERS - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            rows = np.arange(16)[RANK::WORKERS]
            random = np.random.RandomState(number)
            fed = {ids: random.randint(0, 64, 16)[rows], y: random.randn(16, 1)[rows]}
            session.run(train, fed)
            ran.append(int(number))
            number += 1
    ownership = ownership_of(tf.get_default_graph())
    report(ran=ran, shared={key.name: [tuple(rows) for rows in ownership.rows(key)]
                            for key in ownership.shared_out})


if __name__ == "__main__":
    main()
