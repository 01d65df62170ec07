# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train some parts of `staged_training`, with EPL or in plain TensorFlow.

Usage: staged.py KIND[,KIND...] PART...

KIND is plain, stages, replicas or workers. Writes (kind, part) -> result to
`$EPL_OUTPUT_DIR/results.pkl`.
"""

import os
import pickle
import sys

import tensorflow.compat.v1 as tf

from tests.support import staged_training

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


def main():
    kinds, parts = sys.argv[1].split(","), sys.argv[2:]
    results = {}
    for kind in kinds:
        trainings = staged_training.trainings(staged_training.Side(kind))
        results.update({(kind, part): trainings[part]() for part in parts})
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(results, file)


if __name__ == "__main__":
    main()
