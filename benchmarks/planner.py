# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Automatic stages beside all cuts by hand, and steps on paper beside steps that were run.

    python benchmarks/planner.py --rounds 7 --output docs/benchmarks
    python benchmarks/planner.py --rounds 1 --models lstm            # does it run?

Three models, two stages on two virtual CPU devices, 8 micro-batches, 1F1B. `epl.profiler.CostsHook`
measures a micro-batch on one core first, while another process keeps the other one busy. Then in
every round each of these runs a step, in turns:
  auto       stages that EPL cuts with the measured times
  assumed    stages that it cuts with assumed rates
  by hand n  the second stage begins with layer n; all of them
"operations" is the cut by hand with the most equal numbers of forward operations on both sides,
which is how the original EPL counts.

A time on paper is the schedule, simulated with the measured times, and the update. Python's part of
a step is in none; the trace of a step makes operations longer, small ones most.

Needs two cores. Writes `planner_tf<version>.md`.
"""

import argparse
import os
import statistics
import tempfile

import measuring
from measuring import Stepper, answer, median_ratio, table, virtual_devices
from pipeline import cores

SCRIPT = "planner_step.py"
LAYERS = {"mini": 4, "convolutions": 7, "lstm": 5}


def measure(model, rounds, folder):
    """({side: seconds of every round}, {side: seconds on paper}, the cut by operations)."""
    settings = {"model": model, "cores": cores(),
                "costs": os.path.join(folder, "{}.json".format(model))}
    neighbour = Stepper(SCRIPT, dict(settings, task="serve", side="assumed", cores=cores()[1:]),
                        **virtual_devices(2))
    neighbour.ask(10 ** 9)
    answer(SCRIPT, dict(settings, task="measure", cores=cores()[:1]), **virtual_devices(1))
    neighbour.kill()
    sides = ["auto", "assumed"] + list(range(1, LAYERS[model]))
    paper = {side: answer(SCRIPT, dict(settings, task="predict", side=side), **virtual_devices(2))
             for side in sides}
    in_front = paper[1]["in_front"]
    middle = min(range(1, LAYERS[model]), key=lambda layer: abs(
        in_front[layer] - in_front[0] - (in_front[-1] - in_front[0])
        * LAYERS[model] / (LAYERS[model] - 1) / 2))
    steppers = {side: Stepper(SCRIPT, dict(settings, task="serve", side=side),
                              **virtual_devices(2)) for side in sides}
    found = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            found[side].append(steppers[side].block(1))
    for stepper in steppers.values():
        stepper.close()
    print("\n".join([model] + paper["auto"]["stages"]), flush=True)
    return found, {side: paper[side]["ms"] and paper[side]["ms"] / 1000 for side in sides}, middle


def rows_of(model, found, paper, middle):
    hand = [side for side in found if isinstance(side, int)]
    best = min(hand, key=lambda side: statistics.median(found[side]))
    rows = []
    for side, seconds in found.items():
        name = side if side not in hand else "by hand {}{}{}".format(
            side, ", the fastest" if side == best else "",
            ", operations" if side == middle else "")
        rows.append([
            model, name, "{:.1f}".format(1000 * statistics.median(seconds)),
            "{:.3f}".format(median_ratio(seconds, found[best])),
            "{:.1f}".format(1000 * paper[side]) if paper[side] else "",
            "{:.3f}".format(paper[side] / statistics.median(seconds)) if paper[side] else ""])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=list(LAYERS), choices=LAYERS)
    measuring.add_output_option(parser)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            rows += rows_of(model, *measure(model, options.rounds, folder))
    text = table(["model", "stages", "step, ms", "/ fastest by hand", "on paper, ms",
                  "on paper / measured"], rows)
    print(text)
    if options.output:
        version = measuring.tensorflow_version()
        with open(measuring.output_name(options.output, "planner", version) + ".md", "w") as file:
            file.write("TensorFlow {}, {} rounds\n\n{}\n".format(version, options.rounds, text))


if __name__ == "__main__":
    main()
