# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train cases whose model replicas lie on several workers.

Usage: teams.py INPUT
INPUT holds a pickled list of (`layouts.Case`, further configuration). They are trained without
TensorFlow's graph optimizers, but for the first one. The outcomes go to
`$EPL_OUTPUT_DIR/results.pkl`.
"""

import functools
import os
import pickle
import sys
import traceback

import epl
from tests.graph import equivalence
from tests.support import layouts, staged_models

INPUTS = dict(equivalence.INPUTS, queue=equivalence.INPUTS["one_shot"])  # no queue runners here


def run(case, config, optimized):
    """The outcome of a case on this worker's part of the rows."""
    options = {"pipeline.num_micro_batch": case.layout.micro_batches,
               "pipeline.strategy": case.layout.schedule,
               "pipeline.num_chunks": case.layout.chunks}
    options.update(config)
    epl.init(epl.Config(options))

    def stage(number):
        return epl.replicate(case.layout.devices[number], name="stage_{}".format(number))

    rows = epl.global_batch(staged_models.GLOBAL_BATCH,
                            devices_per_replica=case.layout.num_devices // case.layout.replicas)
    spec = layouts.MODELS[case.training.model]
    equivalence.INPUTS[spec.inputs] = functools.partial(
        shared_out, INPUTS[spec.inputs], block if spec.by_hand else epl.shard, rows)
    return equivalence.train(
        case.training, spec.model, staged_models.GLOBAL_BATCH // case.layout.clones, stage,
        len(case.layout.devices), optimized=optimized)


def shared_out(inputs, part, rows, columns, batch):
    """`inputs` of the rows of this worker's replicas: `part(array, rows)` of each array."""
    if inputs not in (INPUTS["placeholders"], INPUTS["fed"]):
        return inputs({name: part(array, rows) for name, array in columns.items()}, batch)
    every = inputs(columns, batch)
    return equivalence.Inputs(every.tensors, feeds=lambda number: {
        tensor: part(value, rows) if tensor.shape.as_list()[:1] == [None] else value
        for tensor, value in every.feeds(number).items()})


def block(array, rows):
    """Neighbouring rows of every global batch: what is normalised apart by hand lies together."""
    own = array.reshape((-1, rows.num_workers, rows.rows_per_worker) + array.shape[1:])
    return own[:, rows.worker_index].reshape((-1,) + array.shape[1:])


def main():
    with open(sys.argv[1], "rb") as file:
        cases = pickle.load(file)
    found = []
    for number, (case, config) in enumerate(cases):
        try:
            found.append(run(case, config, optimized=number == 0))
        except Exception:
            found.append(layouts.Outcome(error=traceback.format_exc()))
            break
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    main()
