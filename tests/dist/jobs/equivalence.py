# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train cases, with EPL on the share of one of four workers, or plainly on the whole of it.

Usage: equivalence.py [--plain] [CASE...]
Writes losses and variables of these cases, or of all, to `$EPL_OUTPUT_DIR/results.pkl`.
"""

import os
import pickle
import sys

import tensorflow.compat.v1 as tf

from tests.dist.cases import CASES
from tests.support import training

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


def main():
    plain = "--plain" in sys.argv
    rank, workers = 0, 1
    if not plain:
        import epl

        epl.init()
        epl.set_default_strategy(epl.replicate(device_count=1))
        rank, workers = epl.Env.get().cluster.worker_index, epl.Env.get().cluster.worker_num
    results = {}
    for name in [word for word in sys.argv[1:] if word != "--plain"] or CASES:
        case = CASES[name]
        model = case.plain_of_four if plain else case.model
        results[name] = training.train(model, case.optimizer, case.resource, rank=rank,
                                       workers=workers)
    if plain:
        assert "epl" not in sys.modules and "horovod" not in sys.modules
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(results, file)


if __name__ == "__main__":
    main()
