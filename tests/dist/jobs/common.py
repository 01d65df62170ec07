# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The start of every job: EPL with one replica per worker, and a place for results."""

import json
import os
import time

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.support import haste

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


def start(config=None):
    """Initialize EPL; returns (rank, workers)."""
    haste.begin()
    epl.init(epl.Config(config))
    epl.set_default_strategy(epl.replicate(device_count=1))
    cluster = epl.Env.get().cluster
    return cluster.worker_index, cluster.worker_num


def report(**values):
    """Write what the test looks at to `$EPL_OUTPUT_DIR/report.json`."""
    def plain(value):
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)

    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "report.json"), "w") as file:
        json.dump(values, file, default=plain)


def leave_together():
    """Wait for the other workers of the job, for up to a minute.

    A worker whose script has ended counts as lost for those whose step has failed as well but who
    do not know it yet.
    """
    mine, workers = os.environ["EPL_OUTPUT_DIR"], epl.Env.get().cluster.worker_num
    with open(os.path.join(mine, "leaves"), "w"):
        pass
    marks = [os.path.join(os.path.dirname(mine), str(worker), "leaves")
             for worker in range(workers)]
    until = time.monotonic() + 60
    while not all(map(os.path.exists, marks)) and time.monotonic() < until:
        time.sleep(0.05)


def line_fit(start_at=0.0, name="w", resource=False):
    """A model of one weight whose gradient is known: loss = mean((w - x)^2), x fed.

    Returns:
      (x, weight, loss); the gradient is 2 (w - mean(x)).
    """
    x = tf.placeholder(tf.float32, [None], name="x")
    weight = tf.get_variable(name, [], initializer=tf.constant_initializer(start_at),
                             use_resource=resource)
    return x, weight, tf.reduce_mean(tf.square(weight - x))
