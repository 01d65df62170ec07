# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train on this worker's rows: gradients in several calls, and variables of rare types.

Writes what came out to `$EPL_OUTPUT_DIR/results.pkl`.
"""

import os
import pickle

import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs.common import start
from tests.graph import devices
from tests.graph.test_chain_rule_by_hand import FEATURES, SCRIPTS, Model
from tests.support import odd_types

# All are in `tests/loopback/test_gradients.py`.
NAMES = ("by_hand", "in_two_calls", "of_two_losses", "sparse_rows")


def share(rows, rank, workers):
    return slice(rows // workers * rank, rows // workers * (rank + 1))


def in_several_calls(reduce, resource):
    rank, workers = start({"communication.gradients_reduce_method": reduce})
    found = {}
    for name in NAMES:
        with tf.Graph().as_default():
            tf.set_random_seed(11)  # as the reference has it
            rows = share(len(FEATURES), rank, workers)
            found[name] = SCRIPTS[name](Model(devices.stages(None), reduce, resource, rows))
    return found



def rare_types():
    rank, workers = start()
    rows = share(odd_types.ROWS, rank, workers)
    return {(name, sparse, resource): odd_types.train(name, sparse, resource, rows)
            for name in odd_types.TRAINED for sparse in (False, True)
            for resource in (False, True)}


def merged():
    """Registered values of rare types: [this worker's number]."""
    rank, workers = start()
    found = {}
    with tf.Graph().as_default():
        x, weight = tf.placeholder(tf.float32, [None]), tf.get_variable("w", [])
        loss = tf.reduce_mean(x * weight)
        of_type = {name: tf.cast(x + 1.0, name) for name in odd_types.KEPT if name != "string"}
        for name, tensor in of_type.items():
            epl.add_to_collection(tensor, epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
            if name != "bool":
                found[name] = tf.identity(tensor)
                epl.add_to_collection(found[name], epl.GraphKeys.GLOBAL_SUM_OBJECTS)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            rows, sums, _ = session.run([of_type, found, step], {x: [float(rank)]})
    return {name: value.astype(complex).tolist() for name, value in rows.items()}, {
        name: value.astype(complex).tolist() for name, value in sums.items()}


def main():
    results = {("mean", False): in_several_calls("mean", False),
               ("sum", True): in_several_calls("sum", True),
               "types": rare_types(), "merged": merged(),
               "kept": odd_types.kept(start()[0])}
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(results, file)


if __name__ == "__main__":
    main()
