# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two pipeline stages on two virtual CPU devices: throughput, activation memory; EPL's overhead.

    python benchmarks/pipeline.py --rounds 9 --output docs/benchmarks
    python benchmarks/pipeline.py --rounds 2 --models mlp --quick      # does it run?

Throughput, 8 micro-batches per step. In every round each of these runs a block of steps, in turns:
  one            plain TensorFlow, the whole batch at once, one thread on one core
  accumulated    the same with the 8 micro-batches one by one, their gradients averaged
  ceiling        two processes as `one` at once, a core each, that know nothing of each other
  <schedule>     EPL with two stages and that schedule, two threads on two cores
`one` and `accumulated` run one operation at a time with one thread (intra- and inter-op 1); the
pipeline one per stage (intra-op 1, inter-op 2). TensorFlow's threads belong to the process, not to
a device: where one stage has nothing to do, its thread may take another operation of the other
stage, if that has two to run. A step has less idle time than on paper for that.

The plan says 2M / (M + 1) = 1.78 for M = 8 micro-batches and stages of equal cost.

Memory: the most bytes that a stage's operations hold during a step, from TensorFlow's records of
every allocation and release (see `pipeline_step.peaks`). "Activations" is a model whose activations
dominate, "weights" one whose gradients weigh as much; shares are of what preferforward (GPipe)
holds.

Overhead: steps of a tiny model with EPL on one device (`epl.init`, `set_default_strategy`) and
without, in turns: blocks in one process, and blocks in two processes.

Needs two cores. Writes `pipeline_tf<version>.md` and `.png`.
"""

import argparse
import os
import statistics

import measuring
from measuring import Stepper, answer, median_ratio, table, virtual_devices

SCRIPT = "pipeline_step.py"
SCHEDULES = ("preferforward", "preferbackward", "preferbackwardoptimizer", "zb-h1")
SIDES = ("one", "accumulated", "ceiling") + SCHEDULES
MICRO_BATCHES = 8
PREDICTED = 2 * MICRO_BATCHES / (MICRO_BATCHES + 1)
# model -> rows of a micro-batch, steps of a block, sides
THROUGHPUT = {"mlp": (512, 2, SIDES),
              "mini": (4, 2, ("one", "accumulated", "ceiling", "preferbackward"))}
# what is shown -> model, rows of a micro-batch
MEMORY = {"activations": ("wide batch", 4096), "weights": ("mlp", 128)}
# micro-batches in flight on stage 0 of 2, as the plan says
IN_FLIGHT = {"preferforward": MICRO_BATCHES, "preferbackward": 2, "preferbackwardoptimizer": 3,
             "zb-h1": 2}
OVERHEAD = {"model": "tiny", "rows": 8, "micro_batches": 1}


def cores():
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise SystemExit("two cores are needed, and this process may use {}".format(found))
    return found[:2]


# Throughput.


def measure_throughput(model, rounds, quick):
    """{side: examples per second of every round}."""
    rows, steps, sides = THROUGHPUT[model]
    steps = 1 if quick else steps
    examples = rows * MICRO_BATCHES * steps
    steppers = {side: _steppers(model, rows, side) for side in sides if side != "ceiling"}
    steppers["ceiling"] = steppers["one"] + _steppers(model, rows, "one", core=1)
    found = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            for stepper in steppers[side]:
                stepper.ask(steps)
            found[side].append(sum(examples / s.seconds() for s in steppers[side]))
        print("round {} {:8} {}".format(number, model, "  ".join(
            "{} {:.1f}".format(side, found[side][-1]) for side in sides)), flush=True)
    for stepper in {s for several in steppers.values() for s in several}:
        stepper.close()
    return found


def _steppers(model, rows, side, core=0):
    settings = {"task": "serve", "model": model, "rows": rows, "micro_batches": MICRO_BATCHES,
                "side": "plain" if side == "one" else side,
                "cores": cores() if side in SCHEDULES else cores()[core:core + 1]}
    extra = virtual_devices(2) if side in SCHEDULES else {}
    return [Stepper(SCRIPT, settings, **extra)]


def throughput_table(results):
    rows = []
    for model, found in results.items():
        for side in found:
            speedup = median_ratio(found[side], found["one"])
            rows.append([
                model, side, "{:.1f}".format(statistics.median(found[side])),
                "{:.3f}".format(speedup),
                "{:.3f}".format(median_ratio(found[side], found["accumulated"])),
                "{:.1f} %".format(100 * speedup / PREDICTED) if side in SCHEDULES else "",
                "{:.3f}".format(median_ratio(found[side], found["ceiling"]))])
    return table(["model", "what", "examples/s", "/ one", "/ accumulated",
                  "of the predicted {:.2f}".format(PREDICTED), "/ ceiling"], rows)


# Memory.


def measure_memory():
    """{(what, schedule): {device: bytes}}."""
    found = {}
    for what, (model, rows) in MEMORY.items():
        for schedule in SCHEDULES:
            peaks = answer(SCRIPT, {
                "task": "memory", "model": model, "rows": rows, "micro_batches": MICRO_BATCHES,
                "side": schedule, "cores": cores()}, **virtual_devices(2))
            if any(peak["left"] for peak in peaks.values()):
                raise SystemExit("allocations without a release: {}".format(peaks))
            found[what, schedule] = {name: peak["peak"] for name, peak in peaks.items()}
    return found


def memory_table(found):
    rows = []
    for (what, schedule), peaks in found.items():
        share = peaks["CPU:0"] / found[what, "preferforward"]["CPU:0"]
        rows.append([what, schedule, str(IN_FLIGHT[schedule])]
                    + ["{:.1f}".format(peaks[name] / 2 ** 20) for name in ("CPU:0", "CPU:1")]
                    + ["{:.3f}".format(share),
                       "{:.3f}".format(IN_FLIGHT[schedule] / MICRO_BATCHES)])
    return table(["model", "schedule", "in flight on stage 0", "stage 0, MiB", "stage 1, MiB",
                  "stage 0 / preferforward", "in flight / preferforward"], rows)


# Overhead.


def measure_overhead(steps, blocks):
    """{how: (seconds without, seconds with EPL)} of blocks that belong together."""
    one_core = cores()[:1]
    settings = dict(OVERHEAD, cores=one_core)
    inside = answer(SCRIPT, dict(settings, task="overhead", steps=steps, blocks=blocks),
                    **virtual_devices(1))
    serve = dict(settings, task="serve")
    plain = Stepper(SCRIPT, dict(serve, side="plain"))
    epl = Stepper(SCRIPT, dict(serve, side="preferbackward"), **virtual_devices(1))
    pairs = []
    for number in range(blocks):
        both = [s.block(steps) for s in ((plain, epl) if number % 2 else (epl, plain))]
        pairs.append(both if number % 2 else both[::-1])
    plain.close()
    epl.close()
    return {"one process": (inside["plain"], inside["epl"]), "two processes": tuple(zip(*pairs))}


def overhead_table(found, steps):
    rows = []
    for how, (plain, epl) in found.items():
        rows.append([how, str(len(plain))]
                    + ["{:.1f}".format(1e6 * statistics.median(s) / steps) for s in (plain, epl)]
                    + ["{:+.2f} %".format(100 * (median_ratio(epl, plain) - 1)),
                       "{:+.2f} %".format(100 * (min(epl) / min(plain) - 1))])
    return table(["measured in", "blocks of {} steps".format(steps), "plain, us per step",
                  "EPL, us per step", "overhead, median of ratios", "overhead, fastest blocks"],
                 rows)


def picture(throughput, memory, title):
    """Bars: throughput of every model, then memory of stage 0."""
    plots = len(throughput) + len(MEMORY)
    figure, axes = measuring.pyplot().subplots(1, plots, figsize=(4.2 * plots, 4))
    colors = ["#b0b0b0", "#c8c8c8", "#d8c890", "#70a070", "#3070b0", "#7050a0"]
    for axis, (model, found) in zip(axes, throughput.items()):
        measuring.bars(axis, found, colors)
        one = statistics.median(found["one"])
        axis.axhline(PREDICTED * one, color="k", linestyle="--", linewidth=1)
        axis.set_title("{}; dashed: the plan's {:.2f} x one".format(model, PREDICTED), fontsize=9)
        axis.set_ylabel("examples/s")
    for axis, what in zip(axes[len(throughput):], MEMORY):
        measuring.bars(axis, {s: [memory[what, s]["CPU:0"] / 2 ** 20] for s in SCHEDULES},
                       colors[3:])
        axis.set_title("memory of a step, {} dominate".format(what), fontsize=9)
        axis.set_ylabel("MiB on stage 0")
    for axis in axes:
        axis.tick_params(axis="x", rotation=30, labelsize=8)
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds of throughput")
    parser.add_argument("--models", nargs="+", default=list(THROUGHPUT), choices=THROUGHPUT)
    parser.add_argument("--quick", action="store_true", help="short blocks, to see that it runs")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    memory = measure_memory()
    steps, blocks = (200, 10) if options.quick else (1000, 100)
    overhead = measure_overhead(steps, blocks)
    throughput = {model: measure_throughput(model, options.rounds, options.quick)
                  for model in options.models}
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, two stages, {} micro-batches, {} rounds".format(
        version, MICRO_BATCHES, options.rounds)
    measuring.write(
        measuring.output_name(options.output, "pipeline", version),
        [title, throughput_table(throughput), memory_table(memory),
         overhead_table(overhead, steps)], picture(throughput, memory, title))


if __name__ == "__main__":
    main()
