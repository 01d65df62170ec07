# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train references in plain TensorFlow. Usage: plain_cases.py INPUT, a pickled list of
`layouts.Reference`; the outcomes go to `$EPL_OUTPUT_DIR/results.pkl`.
"""

import os
import pickle
import sys

from tests.graph import equivalence


def main():
    with open(sys.argv[1], "rb") as file:
        references = pickle.load(file)
    found = [equivalence.run_plain(reference) for reference in references]
    with open(os.path.join(os.environ["EPL_OUTPUT_DIR"], "results.pkl"), "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    main()
