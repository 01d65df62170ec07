#!/usr/bin/env python3
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Write docs/combinations.md: which features go together.

Usage: scripts/combinations_table.py

The features, and what is refused, are in tests/support/combinations.py; the tests in
tests/loopback/test_combinations.py train every pair.
"""

import io
import os
import sys
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from tests.support.combinations import (  # noqa: E402
    FEATURES,
    REFUSED,
    SAME_KEY,
    TRIPLES,
    expected,
)

PAGE = os.path.join(ROOT, "docs", "combinations.md")
HEAD = """# Which features go together

Each pair of features, trained for three steps beside plain TensorFlow on one device with the whole
batch: losses and all variables are equal to 1e-5 (`tests/loopback/test_combinations.py`, both
TensorFlow 1.15 and 2.15; workers are threads of one process). This page is made by
`scripts/combinations_table.py` from what the tests read.

* **=** equal to one device
* **/** two values of one key
* **1, 2** refused with an error that says so, see below the table

*gc* is `gradient_checkpoint.type`, *amp* `amp.level` with a dynamic loss scale and
`amp.dtype` = `"float32"`: what casts is TensorFlow's own pass. Stages and micro-batches have the
schedule PreferBackward unless another is named; interleaved is 1F1B with `pipeline.num_chunks`, two
stages on each device, as ZB-V.
"""
REASONS = ("`zero.level` needs workers with one device each: start one worker for each device "
           "(`epl-launch --gpu_per_worker 1`), or leave the key out.",
           "`zero.level` and `optimizer.num_apply_group`: each worker updates its own part alone "
           "already; leave one of them out.")


def cell(row, column):
    """What becomes of two features."""
    if row == column:
        return "="
    found = expected((row, column))
    if found is None:
        return "="
    return "/" if found == SAME_KEY else str(1 + sorted(set(
        "do not go together" in reason for reason in REFUSED.values())).index(
            "do not go together" in found))


def page():
    """The page as it should be."""
    titles = list(FEATURES)
    lines = [HEAD, "| | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(titles)]
    lines += ["| {} | {} |".format(row, " | ".join(
        cell(row, column) if place <= number else "" for place, column in enumerate(titles)))
        for number, row in enumerate(titles)]
    lines += [""] + [textwrap.fill(reason, 98, initial_indent="{}. ".format(number),
                                   subsequent_indent="   ")
                     for number, reason in enumerate(REASONS, 1)]
    lines += ["", "More than two that are tried, all equal:", ""]
    lines += ["* " + ", ".join(titles) for titles in TRIPLES]
    return "\n".join(lines) + "\n"


def read():
    """The page as it is."""
    with io.open(PAGE, encoding="utf-8") as file:
        return file.read()


def main():
    with io.open(PAGE, "w", encoding="utf-8") as file:
        file.write(page())


if __name__ == "__main__":
    main()
