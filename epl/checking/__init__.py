# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.check` and `epl-launch --check`: are the numbers those of one device with the whole batch?

The first training steps run as they were asked for. What each consumed is recorded: the variables
before it, all rows that all workers and clones were given, and what random operations drew. The
chief then runs the same step in plain TensorFlow, on one device, with the whole batch, in the graph
that the script built; what comes out is compared.

    every worker   read variables > step, sources fetched along > read variables
    all together   gather the rows > plain step on the chief > compare on each worker > one table

    codes       exit codes, the launcher's variable; imports nothing
    checker     the check: counts steps, runs what the others hold
    script      the graph as the script built it
    wanted      what a step has to be asked for, beside what the script wants
    record      what a step took and gave
    exchange    between the workers
    join        the rows of all workers and clones as one batch
    program     the script's step in plain TensorFlow
    reference   its results, and how much rounding changes them
    parts       the same, part after part, where the whole batch cannot be taken
    compare     numbers against numbers; without TensorFlow
    notes       why values may differ
    report      the table
"""
