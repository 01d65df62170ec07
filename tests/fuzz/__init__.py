# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Bad input, drawn at random: it is taken for what it says, or refused in one line.

    python -m tests.fuzz                        1,000 cases of every target
    python -m tests.fuzz --cases 10000 config   so many of one
    python -m tests.fuzz --seed 7 --first 123 --cases 1 config    one case again

A case is known by target, seed and number. What counts as a fault: any other error than the
program's own, an error that is not one short line, a value that was taken and is none, more than
some seconds. `test_fuzz.py` runs a thousand cases of every target.
"""
