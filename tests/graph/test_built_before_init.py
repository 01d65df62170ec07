# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a script builds before it imports and starts EPL belongs to the first stage.

Usage: python -m tests.graph.test_built_before_init plain|epl TARGET pickles what a training gives.
"""

import contextlib
import pickle
import sys

import pytest
import tensorflow.compat.v1 as tf

from tests.support import jobs, layers, warm

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


class Mine(tf.Graph):
    """A script's own kind of graph."""


def main():
    from tests.support.staged_models import GLOBAL_BATCH, data

    side, target = sys.argv[1:]
    columns = data(("x", "y"))
    with Mine().as_default() as graph:
        x, y = [tf.placeholder(tf.float32, (None,) + columns[n].shape[1:], n) for n in columns]
        size = tf.constant(GLOBAL_BATCH // (1 if side == "plain" else 2), tf.int64)
        rows = tf.data.Dataset.from_tensor_slices(columns["x"]).batch(size)
        more = tf.data.make_one_shot_iterator(rows).get_next()
        weights = tf.get_variable("early", [8], initializer=tf.ones_initializer())
        hidden = tf.tanh((x + more) * weights, "built_early")
        assert "epl" not in sys.modules
        stage = start() if side == "epl" else lambda number: contextlib.nullcontext()
        with stage(0):
            hidden = dense(hidden, 8, "first")
        with stage(1):
            loss = tf.reduce_mean(tf.square(dense(hidden, 1, "second") - y))
        train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        found = []
        with tf.Session(config=tf.ConfigProto(operation_timeout_in_ms=60000)) as session:
            session.run(tf.global_variables_initializer())
            for first in range(0, 3 * GLOBAL_BATCH, GLOBAL_BATCH):
                part = slice(first, first + GLOBAL_BATCH)
                fed = {x: columns["x"][part], y: columns["y"][part]}
                found.append(session.run([loss, train], fed)[0])
            values = session.run({v.name: v for v in tf.global_variables()})
        places = [graph.get_operation_by_name(n).device for n in ("built_early", "second/MatMul")]
    with open(target, "wb") as file:
        pickle.dump((found, values, places), file)


def start():
    import epl

    before = tf.get_default_graph()
    epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
    epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
    assert tf.get_default_graph() is before
    return lambda number: epl.replicate(1)


def dense(inputs, units, name):
    return layers.dense(inputs, units, tf.tanh, name=name,
                        kernel_initializer=tf.glorot_uniform_initializer(seed=len(name)))


def test_it_trains_as_on_one_device(tmp_path):
    found = {}
    for side, count in (("plain", "1"), ("epl", "2")):
        path = str(tmp_path / side)
        done = warm.run(["-m", "tests.graph.test_built_before_init", side, path],
                        jobs.environment_for({
                            "EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0",
                            "EPL_DEVICE_TYPE": "cpu", "EPL_GPU_PER_WORKER": count}), 120)
        assert done.returncode == 0, done.stdout
        with open(path, "rb") as file:
            found[side] = pickle.load(file)
    (losses, values, places), (expected, variables, _) = found["epl"], found["plain"]
    assert places == ["/device:CPU:0", "/device:CPU:1"]
    # Sums of 32 rows in another order; see devices.RELATIVE.
    assert losses == pytest.approx(expected, rel=5e-6) and len(set(expected)) == 3
    assert set(values) == set(variables)
    for name, value in variables.items():
        assert values[name] == pytest.approx(value, rel=5e-6, abs=5e-7), name


if __name__ == "__main__":
    main()
