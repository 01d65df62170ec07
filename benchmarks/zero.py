# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizer state and parameters over workers: bytes that a worker holds, what that costs in time.

    python benchmarks/zero.py --rounds 9 --output docs/benchmarks
    python benchmarks/zero.py --rounds 1 --steps 1 --model tiny --workers 2      # does it run?

BERT with weight decay and clipping by global norm, on 2 and 4 workers; more than half of it is one
table. In every round each worker runs a block of steps without zero.level, with v0, v1 and v2, in
turns, in one job. A ratio is the median of the ratios within a round. Bytes are those of the
worker that holds most: of the moments and the parameters, counted by reading them, and of the
gradients that its updates read, by their shapes.

Needs two cores; four workers share them. Writes `zero_tf<version>.md` and `.png`.
"""

import argparse
import json
import os
import statistics
import tempfile

import measuring
from measuring import HERE, median_ratio, table

LEVELS = ("v0", "v1", "v2")


def run(model, batch, steps, rounds, workers):
    """What each worker of a job printed."""
    with tempfile.TemporaryDirectory() as folder:
        process = measuring.start(
            ["-m", "epl.launcher", "--num_workers", str(workers), "--gpu_per_worker", "1",
             "--log_dir", folder, os.path.join(HERE, "zero_step.py"), model, str(batch),
             str(steps), str(rounds)], PYTHONUNBUFFERED="1")
        output = process.communicate()[0].decode()
    found = [json.loads(line.split("ZERO ", 1)[1]) for line in output.splitlines()
             if "ZERO {" in line]
    if process.returncode or len(found) != workers:
        raise SystemExit("a job of {} workers failed:\n{}".format(workers, output[-3000:]))
    return found


def share(found, what, level):
    """The largest part of `what` that a worker holds."""
    return max(each[what][level][0] / each[what][level][1] for each in found)


def row(workers, level, found):
    seconds = found[0]["seconds"]
    return ["{}".format(workers), level, "{:.1f} %".format(100 / workers),
            "{:.1f} %".format(100 * share(found, "state", level)),
            "{:.1f} %".format(100 * share(found, "parameters", level)),
            "{:.1f} %".format(100 * share(found, "gradients", level)),
            "{:.2f} s".format(statistics.median(seconds[""])),
            "{:.2f} x".format(median_ratio(seconds[level], seconds[""]))]


def draw(results):
    figure, axes = measuring.pyplot().subplots(1, len(results), figsize=(4 * len(results), 3.5))
    for axis, (workers, found) in zip(axes if len(results) > 1 else [axes], results.items()):
        seconds = found[0]["seconds"]
        measuring.bars(axis, {level or "without": seconds[level] for level in seconds},
                       ["0.7", "tab:blue", "tab:green", "tab:orange"])
        axis.set_title("{} workers".format(workers))
        axis.set_ylabel("seconds of a step")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="steps of a block")
    parser.add_argument("--model", default="mini", choices=("tiny", "mini"))
    parser.add_argument("--batch", type=int, default=8, help="rows of a worker's step")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    measuring.add_output_option(parser)
    options = parser.parse_args()
    version = measuring.tensorflow_version()
    results = {workers: run(options.model, options.batch, options.steps, options.rounds, workers)
               for workers in options.workers}
    header = ["workers", "level", "1 / workers", "state held", "parameters", "gradients",
              "step without", "step with"]
    measuring.write(
        measuring.output_name(options.output, "zero", version),
        ["TensorFlow {}, BERT-{}, {} rows of 128 for each worker:".format(
            version, options.model, options.batch),
         table(header, [row(workers, level, found) for workers, found in results.items()
                        for level in LEVELS])], draw(results))


if __name__ == "__main__":
    main()
