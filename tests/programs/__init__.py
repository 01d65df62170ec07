# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Random training programs: each is trained in plain TensorFlow and with EPL, and compared.

    seed --drawing--> program (pure data) --blocks, training--> graph --trial--> outcome
                         |                                                          |
                         +<----------------- shrinking, while it fails <------------+

A program is a dictionary of numbers, texts and lists, so that one that fails can be printed, made
smaller, and run again:

    python -m tests.programs --seed 7             the program drawn from this seed
    python -m tests.programs --seed 7 --shrink    a smaller one that fails in the same way
    python -m tests.programs --program FILE       a program that was printed (`-` reads it here)
    python -m tests.programs --seed 1 --count 500 --seconds 200    many, and a table of outcomes

Programs are built so that one device and the whole global batch say what is right: every loss is a
mean over the rows, and no row is mixed with another (batch normalisation, which does, is compared
with one by hand that normalises every micro-batch by itself).
"""
