# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Jobs in which one worker is late, leaves, or takes long to end.

Usage: arrivals.py KIND
"""

import atexit
import os
import signal
import sys
import time

RANK = int(os.environ.get("EPL_WORKER_INDEX", "0"))

if sys.argv[1].startswith("slow_") and RANK == 1:
    atexit.register(time.sleep, 600)  # registered first, so called last

# TensorFlow is imported behind what ends last.
import tensorflow.compat.v1 as tf  # noqa: E402

from epl.shared import progress  # noqa: E402
from tests.dist.jobs.common import line_fit, start  # noqa: E402


def others_wait(worker=0):
    """Come back when another worker waits in `epl.init`."""
    path = os.environ[progress.VARIABLE].replace("/1/", "/{}/".format(worker))
    while True:
        status = progress.read(path)
        if status is not None and status.arrives:
            return
        time.sleep(0.05)


def late():
    """Worker 1 comes when worker 0 has waited longer than Gloo would."""
    if RANK == 1:
        others_wait()
        time.sleep(float(os.environ["HOROVOD_GLOO_TIMEOUT_SECONDS"]) + 3.0)
    train()


def leaves():
    """Worker 1 has nothing to do."""
    if RANK == 1:
        sys.exit(0)
    train()


def slow_error():
    """Worker 1 fails, and its process takes long to end."""
    train(lambda: int("no data"))


def slow_exit():
    """Worker 1's script ends in training, and its process takes long to end."""
    train(sys.exit)


def exits():
    """Worker 1's script ends in training."""
    train(sys.exit)


def stops():
    """Worker 1's process is stopped in training."""
    train(lambda: os.kill(os.getpid(), signal.SIGSTOP))


def train(leave=lambda: None):
    """Four steps; worker 1 calls `leave` behind the second."""
    start()
    x, _, loss = line_fit()
    step = tf.train.GradientDescentOptimizer(0.25).minimize(
        loss, tf.train.get_or_create_global_step())
    with tf.train.MonitoredTrainingSession() as session:
        for number in range(4):
            if RANK == 1 and number == 2:
                leave()
            session.run(step, {x: [1.0]})


KINDS = {f.__name__: f for f in (late, leaves, slow_error, slow_exit, exits, stops)}

if __name__ == "__main__":
    KINDS[sys.argv[1]]()
