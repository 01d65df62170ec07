# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train with updates that draw on every worker, those that the arguments name; write the variables
to `$EPL_OUTPUT_DIR`.
"""

import os
import pickle
import sys
from unittest import mock

import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import line_fit, start
from tests.support import draws


def texts(said):
    """The warnings that a mock of `tf.logging.warning` got."""
    return [call[0][0] for call in said.call_args_list]


def statistics(rank):
    """What is written outside of the training's steps: values then and after a step, warnings."""
    with tf.Graph().as_default():
        x, w, loss = line_fit()
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        rows = tf.placeholder(tf.float32, [None])
        batches = tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensors([1.0, 1.0 + rank]))
        written = {"loaded": tf.assign(draws.kept("loaded", [2]), rows),
                   "fed": tf.assign_add(draws.kept("fed"), tf.reduce_sum(rows)),
                   "of_the_loss": tf.assign_add(draws.kept("of_the_loss"), tf.reduce_sum(x)),
                   "read": tf.assign_add(draws.kept("read"), tf.reduce_sum(batches.get_next()))}
        variables, found = {v.op.name: v for v in tf.global_variables()}, {}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for name in sorted(written):
                with mock.patch.object(tf.logging, "warning") as said:
                    feed = {"read": {}, "of_the_loss": {x: [1.0, 1.0 + rank]}}
                    then = session.run(written[name], feed.get(name, {rows: [1.0, 1.0 + rank]}))
                    session.run(step, {x: [1.0]})
                    after = session.run(variables[name])
                    found[name] = then.tolist(), after.tolist(), texts(said)
        return found


def main():
    rank, workers = start()
    size = draws.ROWS // workers
    found = {}
    for build in draws.UNSEEDED + draws.SEEDED:
        if build.__name__ not in sys.argv[1:]:
            continue
        for resource in (False, True):
            with mock.patch.object(tf.logging, "warning") as said:
                values = draws.train(build, slice(rank * size, rank * size + size), resource)
            found[build.__name__, resource] = values, texts(said)
    found["statistics"] = statistics(rank)
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    main()
