# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Run random programs from the command line; see the package."""

import argparse
import json
import sys
import time
from collections import Counter

import tensorflow.compat.v1 as tf

from tests.programs import trial
from tests.programs.drawing import draw
from tests.programs.shrinking import shrink


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.programs")
    parser.add_argument("--seed", type=int, default=1, help="of the first program")
    parser.add_argument("--count", type=int, default=1, help="programs, with seeds in a row")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin none after so long")
    parser.add_argument("--program", help="a file with a program; - for standard input")
    parser.add_argument("--without", default="", help="words not to draw")
    parser.add_argument("--shrink", action="store_true", help="make failing programs smaller")
    parser.add_argument("--outcomes", help="file that gets a line of JSON per program")
    options = parser.parse_args()
    tf.logging.set_verbosity(tf.logging.ERROR)
    begun, outcomes = time.time(), Counter()
    for program in _programs(options):
        if time.time() - begun > options.seconds:
            break
        outcome = trial.trial(program)
        outcomes[_title(outcome)] += 1
        if options.outcomes:
            with open(options.outcomes, "a") as file:
                json.dump({"program": program, "kind": outcome.kind, "detail": outcome.detail},
                          file)
                file.write("\n")
        if outcome.kind in (trial.DIFFERENT, trial.CRASHED) or options.count == 1:
            _show(program, outcome, options.shrink)
    print("{} programs in {:.0f} s".format(sum(outcomes.values()), time.time() - begun))
    for title, number in outcomes.most_common():
        print("{:6} {}".format(number, title))
    failed = any(title.startswith((trial.DIFFERENT, trial.CRASHED)) for title in outcomes)
    sys.exit(1 if failed else 0)


def _programs(options):
    if options.program:
        with sys.stdin if options.program == "-" else open(options.program) as file:
            yield json.load(file)
        return
    without = options.without.split(",")
    for seed in range(options.seed, options.seed + options.count):
        yield draw(seed, without)


def _title(outcome):
    if outcome.kind in (trial.REFUSED, trial.UNFIT, trial.CRASHED):
        return "{}: {}".format(outcome.kind, outcome.detail.split("\n")[0][:200])
    return outcome.kind


def _show(program, outcome, smaller):
    if smaller and outcome.kind != trial.EQUAL:
        program = shrink(program, lambda candidate: trial.trial(candidate).like(outcome))
        outcome = trial.trial(program)
    print("{}: {}\n{}\n".format(outcome.kind, json.dumps(program), outcome.detail), flush=True)


if __name__ == "__main__":
    main()
