# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What updating variables group by group saves in memory (optimizer.num_apply_group).

    python benchmarks/update_groups.py --rounds 15 --output docs/benchmarks
    python benchmarks/update_groups.py --rounds 1 --groups 1 4 --layers 4    # does it run?

An MLP of equal layers with clipping by global norm and Adam with weight decay, for which TensorFlow
has no kernel: it computes tensors of each variable's size, while as many threads as there are
layers run what is ready. *Peak* is the most bytes that they hold at a time in a step, from
TensorFlow's records of allocations; *all at once* is what they hold for one variable, times the
variables: what a device that runs everything that is ready may need. For times the sides take
turns, step by step; a ratio is the median of the ratios within a round.

Writes `update_groups_tf<version>.md` and `.png`.
"""

import argparse
import os

import measuring
from measuring import Stepper, answer, median_ratio, table

SCRIPT = "update_groups_step.py"
MIB = 2.0 ** 20


def settings(layers, groups, memory):
    return {"layers": layers, "groups": groups, "memory": memory,
            "cores": sorted(os.sched_getaffinity(0))[:2]}


def measure(layers, groups, rounds):
    """Peak in bytes of each number of groups, and the seconds of its steps, one per round."""
    peaks = [answer(SCRIPT, settings(layers, number, True))["peak"] for number in groups]
    steppers = [Stepper(SCRIPT, settings(layers, number, False)) for number in groups]
    seconds = [[] for _ in groups]
    for _ in range(rounds):
        for stepper, found in zip(steppers, seconds):
            found.append(stepper.block(3))
    for stepper in steppers:
        stepper.close()
    return peaks, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    measuring.add_output_option(parser)
    options = parser.parse_args()
    version = measuring.tensorflow_version()
    peaks, seconds = measure(options.layers, options.groups, options.rounds)
    alone = answer(SCRIPT, settings(options.layers, options.layers, True))["peak"]
    possible = alone * options.layers
    rows = [["{}".format(number), "{:.1f}".format(peak / MIB), "{:.3f}".format(peak / possible),
             "{:.3f}".format(1 / number + 0.1), "{:.3f}".format(peak / peaks[0]),
             "{:.2f}".format(median_ratio(times, seconds[0]))]
            for number, peak, times in zip(options.groups, peaks, seconds)]
    figure, axis = measuring.pyplot().subplots(figsize=(6, 3.5))
    measuring.bars(axis, {str(number): [peak / MIB]
                          for number, peak in zip(options.groups, peaks)}, "#2f6fb3")
    axis.plot([possible / MIB * min(1, 1 / number + 0.1) for number in options.groups], "k--",
              label="1 / groups + 10 % of all at once")
    axis.set_xlabel("groups")
    axis.set_ylabel("MiB of the optimizer's tensors")
    axis.legend()
    title = "TensorFlow {}".format(version)
    axis.set_title(title)
    measuring.write(
        measuring.output_name(options.output, "update_groups", version),
        [title + ", {} layers, all at once {:.1f} MiB:".format(options.layers, possible / MIB),
         table(["groups", "peak, MiB", "peak / all at once", "1 / groups + 10 %",
                "peak / one group", "step / one group"], rows)], figure)


if __name__ == "__main__":
    main()
