# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train on one worker where Horovod cannot be imported."""

import sys

import tensorflow.compat.v1 as tf


class NoHorovod:
    """An import hook: there is no Horovod."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "horovod":
            raise ImportError("Horovod is not installed")
        return None


sys.meta_path.insert(0, NoHorovod())

from tests.dist.jobs.common import line_fit, start  # noqa: E402

if __name__ == "__main__":
    assert start() == (0, 1)
    x, weight, loss = line_fit()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.train.MonitoredTrainingSession() as session:
        session.run(train, {x: [1.0]})
        assert session.run(weight) == 0.5
    assert "horovod" not in sys.modules
