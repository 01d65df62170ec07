# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train cases whose model replicas lie on several workers.

Usage: teams.py INPUT
INPUT holds a pickled list of (`layouts.Case`, further configuration). They are trained without
TensorFlow's graph optimizers, but for the first one. The outcomes go to
`$EPL_OUTPUT_DIR/results.pkl`.
"""

import os
import pickle
import sys
import traceback

import epl
from tests.graph import equivalence
from tests.support import layouts, staged_models

PLACEHOLDERS = equivalence.INPUTS["placeholders"]


def run(case, config, optimized):
    """The outcome of a case on this worker's part of the rows."""
    options = {"pipeline.num_micro_batch": case.layout.micro_batches,
               "pipeline.strategy": case.layout.schedule}
    options.update(config)
    epl.init(epl.Config(options))

    def stage(number):
        return epl.replicate(case.layout.devices[number], name="stage_{}".format(number))

    rows = epl.global_batch(staged_models.GLOBAL_BATCH,
                            devices_per_replica=sum(case.layout.devices))
    equivalence.INPUTS["placeholders"] = lambda columns, batch: shared_out(columns, batch, rows)
    spec = layouts.MODELS[case.training.model]
    if spec.inputs == "queue":  # queue runners are refused
        layouts.MODELS[case.training.model] = spec._replace(inputs="one_shot")
    return equivalence.train(
        case.training, spec.model, staged_models.GLOBAL_BATCH // case.layout.clones, stage,
        len(case.layout.devices), optimized=optimized)


def shared_out(columns, batch, rows):
    """Placeholders that are fed the rows of this worker's replicas."""
    every = PLACEHOLDERS(columns, batch)

    def feeds(number):
        return {tensor: epl.shard(array, rows) for tensor, array in every.feeds(number).items()}

    return equivalence.Inputs(every.tensors, feeds=feeds)


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
