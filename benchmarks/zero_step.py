# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker of `zero.py`: train BERT in turns without zero.level, with v0, v1 and v2.

Usage: zero_step.py MODEL BATCH STEPS ROUNDS
Prints one line `ZERO <JSON>`: for each level seconds of a step in every round, and the bytes that
this worker holds of the optimizer's state, of the parameters, and of the gradients that it updates
by.
"""

import json
import os
import sys
import time

import tensorflow.compat.v1 as tf
from bert_step import WARM_UP, build_loss, train_op

import epl
from epl import compat
from epl.ir.graph_state import state_of
from epl.ir.ownership import ownership_of
from epl.rewrite.groups import groups_of
from epl.rewrite.zero import Zero

LEVELS = ("", "v0", "v1", "v2")


def start(model, batch, level):
    """(session, training operation) of a graph of its own."""
    epl.init(epl.Config({"zero.level": level}))
    with tf.Graph().as_default() as graph:
        epl.set_default_strategy(epl.replicate(device_count=1))
        tf.set_random_seed(1)
        step = train_op("epl", build_loss(model, batch))
        initializer = tf.global_variables_initializer()
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
    session = tf.Session(graph=graph, config=config)
    session.run(initializer)
    for _ in range(WARM_UP):
        session.run(step)
    return session, step


def state_bytes(session):
    """Of the moments: what this worker's session holds of them, and what there is."""
    with session.graph.as_default():
        return held_bytes(session, [
            v for v in tf.global_variables() if v.op.name.endswith(("adam_m", "adam_v"))])


def parameter_bytes(session):
    """Of the parameters: what this worker's session holds of them, and what there is."""
    with session.graph.as_default():
        return held_bytes(session, tf.trainable_variables())


def held_bytes(session, variables):
    """Of some variables."""
    reads = state_of(session.graph).record(Zero).reads
    held = sum(session.run(reads.get(compat.variable_key(v), v)).nbytes for v in variables)
    return held, sum(_bytes(v) for v in variables)


def gradient_bytes(session, rank):
    """Of the gradients that updates read: what this worker has of them, and what there is."""
    graph = session.graph
    zero, ownership = state_of(graph).record(Zero), ownership_of(graph)
    own = whole = 0
    for group in groups_of(state_of(graph)):
        for gradient in group.gradients:
            variable = gradient.variable
            rows = zero.rows_of(gradient)
            if rows is None and isinstance(gradient.returned, tf.IndexedSlices):
                # This optimizer adds the rows up in a tensor of the table's shape.
                slot = graph.get_operation_by_name(variable.op.name + "/adam_m")
                rows = ownership.rows(slot)
            share = 1 if rows is None else rows[rank].number / int(variable.shape[0])
            own += share * _bytes(variable)
            whole += _bytes(variable)
    return own, whole


def _bytes(variable):
    return variable.shape.num_elements() * variable.dtype.base_dtype.size


def main(model, batch, steps, rounds):
    rank = int(os.environ["EPL_WORKER_INDEX"])
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank % os.cpu_count()]})
    started = {level: start(model, batch, level) for level in LEVELS}
    seconds = {level: [] for level in LEVELS}
    for number in range(rounds):
        for level in LEVELS if number % 2 == 0 else reversed(LEVELS):
            session, step = started[level]
            begin = time.time()
            for _ in range(steps):
                session.run(step)
            seconds[level].append((time.time() - begin) / steps)
    print("ZERO " + json.dumps({
        "seconds": seconds,
        "state": {level: state_bytes(started[level][0]) for level in LEVELS},
        "parameters": {level: parameter_bytes(started[level][0]) for level in LEVELS},
        "gradients": {level: gradient_bytes(started[level][0], rank) for level in LEVELS},
    }), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
