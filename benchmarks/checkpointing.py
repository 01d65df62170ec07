# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What computing activations again saves in memory, and costs in time.

    python benchmarks/checkpointing.py --rounds 7 --output docs/benchmarks
    python benchmarks/checkpointing.py --rounds 1 --models mlp    # does it run?

BERT of 12 layers (hidden size 256, 128 positions, 8 rows) with dropout, and an MLP of 16 equal
layers, on one device with two threads. Sides:

  without       everything is kept
  collection    outputs of layers are checkpoints: each of BERT's, every fourth of the MLP's
  auto          EPL chooses, for as little memory as possible
  auto, N MiB   EPL chooses within a budget
  manual        plain TensorFlow, whose graph optimizer recomputes what has a hint: all of the MLP
                but the same checkpoints (of BERT it would draw dropout's masks again)

Memory is the most bytes that the operations of one step hold at a time, from TensorFlow's records
of allocations; variables do not count. For times the sides take turns, step by step; a ratio is
the median of the ratios within a round.

Writes `checkpointing_tf<version>.md` and `.png`.
"""

import argparse
import os

import measuring
from measuring import Stepper, answer, median_ratio, table

SCRIPT = "checkpointing_step.py"
# Model -> sides, each with its budget in MiB.
SIDES = {
    "bert": [("without", 0), ("collection", 0), ("auto", 0), ("auto", 150)],
    "mlp": [("without", 0), ("manual", 0), ("collection", 0), ("auto", 0), ("auto", 80)],
}
MIB = 2.0 ** 20


def settings(model, side, memory):
    return {"model": model, "side": side[0], "budget": side[1], "memory": memory,
            "cores": sorted(os.sched_getaffinity(0))[:2]}


def label(side):
    return "{}, {} MiB".format(*side) if side[1] else side[0]


def measure(model, rounds):
    """label of a side -> (peak in MiB, seconds of each round)."""
    sides = SIDES[model]
    peaks = [answer(SCRIPT, settings(model, side, True))["peak"] / MIB for side in sides]
    steppers = [Stepper(SCRIPT, settings(model, side, False)) for side in sides]
    seconds = [[] for _ in sides]
    for _ in range(rounds):
        for stepper, found in zip(steppers, seconds):
            found.append(stepper.block(1))
    for stepper in steppers:
        stepper.close()
    return {label(side): each for side, each in zip(sides, zip(peaks, seconds))}


def rows(model, found):
    peak, seconds = found["without"]
    return [[model, name, "{:.1f}".format(own), "{:.2f}".format(own / peak),
             "{:.3f}".format(sorted(times)[len(times) // 2]),
             "{:.2f}".format(median_ratio(times, seconds))]
            for name, (own, times) in found.items()]


def picture(results, title):
    figure, axes = measuring.pyplot().subplots(len(results), 1, figsize=(8, 3.2 * len(results)))
    for axis, (model, found) in zip(axes if len(results) > 1 else [axes], results.items()):
        measuring.bars(axis, {"{}\ntime {:.2f}".format(name, median_ratio(
            times, found["without"][1])): [peak] for name, (peak, times) in found.items()},
            "#2f6fb3")
        axis.set_ylabel("MiB in a step of {}".format(model))
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", choices=sorted(SIDES), default=sorted(SIDES))
    measuring.add_output_option(parser)
    arguments = parser.parse_args()
    version = measuring.tensorflow_version()
    results = {model: measure(model, arguments.rounds) for model in arguments.models}
    title = "TensorFlow {}".format(version)
    measuring.write(
        measuring.output_name(arguments.output, "checkpointing", version),
        [title + ":", table(
            ["model", "side", "peak, MiB", "peak / without", "seconds of a step",
             "time / without"], [row for model, found in results.items()
                                 for row in rows(model, found)])],
        picture(results, title))


if __name__ == "__main__":
    main()
