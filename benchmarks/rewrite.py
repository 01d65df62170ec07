# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the rewrite of a graph takes, beside what TensorFlow takes to build it.

    python benchmarks/rewrite.py --rounds 5 --output docs/benchmarks
    python benchmarks/rewrite.py --rounds 1 --layers 2 4 --micro-batches 2 4    # does it run?

BERT of 12, 24 and 48 layers in two stages, with dropout, and so small otherwise that only graph
work counts. Every process builds the training step once: TensorFlow alone, or EPL with M
micro-batches; they take turns, round by round. Times of graph work are seconds of processor time
(it has one thread; other processes disturb it less than seconds of a clock), of session runs those
of a clock.

  gradients     `tf.gradients`, in plain TensorFlow, and with EPL, which has gradients wait for
                their siblings (as `Optimizer.minimize` does of itself)
  rewrite       `epl.rewrite.rewriter.rewrite`
  per clone     the slope of a straight line through the rewrite's times over M
  deviation     the largest distance of a time from that line, as a share of the time
  us per op     the rewrite's time per operation that it added, at the largest M

Writes `rewrite_tf<version>.md` and `.png`.
"""

import argparse
import os
import statistics

import measuring
from measuring import answer, median_ratio, table, virtual_devices

SCRIPT = "rewrite_step.py"
PASSES_AT = 8  # micro-batches


def measure(layers, micro_batches, run=False):
    """What `rewrite_step.py` says."""
    return answer(SCRIPT, {"layers": layers, "micro_batches": micro_batches, "run": run,
                           "core": sorted(os.sched_getaffinity(0))[0]},
                  **virtual_devices(2))


def line(points):
    """(intercept, slope) of the line of least squares through (x, y) points."""
    mean_x = statistics.mean(x for x, _ in points)
    mean_y = statistics.mean(y for _, y in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points)
    return mean_y - slope * mean_x, slope


class Times:
    """Seconds and numbers of operations, of every round.

    Layers and micro-batches (0: TensorFlow alone) are the keys of `_rounds`.
    """

    def __init__(self):
        self._rounds = {}

    def add(self, layers, micro_batches, measured):
        self._rounds.setdefault((layers, micro_batches), []).append(measured)

    def seconds(self, layers, micro_batches, part):
        """Of every round."""
        return [m["seconds"][part] for m in self._rounds[layers, micro_batches]]

    def median(self, layers, micro_batches, part):
        return statistics.median(self.seconds(layers, micro_batches, part))

    def operations(self, layers, micro_batches, *parts):
        found = self._rounds[layers, micro_batches][0]["operations"]
        return sum(found[part] for part in parts)

    def slopes(self, layers, micro_batches):
        """Seconds per clone, of every round."""
        rounds = zip(*[self.seconds(layers, m, "rewrite") for m in micro_batches])
        return [line(list(zip(micro_batches, times)))[1] for times in rounds]

    def deviation(self, layers, micro_batches):
        """How far the medians are from a straight line over M, as a share."""
        points = [(m, self.median(layers, m, "rewrite")) for m in micro_batches]
        intercept, slope = line(points)
        return max(abs(y - intercept - slope * m) / y for m, y in points)


def scaling_table(times, all_layers, micro_batches):
    rows = []
    for layers in all_layers:
        slopes, plain = times.slopes(layers, micro_batches), times.seconds(layers, 0, "gradients")
        most = micro_batches[-1]
        rewrite = times.median(layers, most, "rewrite")
        rows.append(
            [str(layers), str(times.operations(layers, 0, "forward", "gradients"))]
            + ["{:.2f}".format(s) for s in (
                times.median(layers, 0, "forward"), times.median(layers, 0, "gradients"),
                times.median(layers, most, "gradients"))]
            + ["{:.2f}".format(times.median(layers, m, "rewrite")) for m in micro_batches]
            + ["{:.3f}".format(statistics.median(slopes)),
               "{:.2f}".format(median_ratio(slopes, plain)),
               "{:.1f} %".format(100 * times.deviation(layers, micro_batches)),
               "{:.0f}".format(1e6 * rewrite / times.operations(layers, most, "rewrite"))])
    return table(["layers", "operations, plain", "forward, plain", "gradients, plain",
                  "gradients, EPL"] + ["rewrite, M = {}".format(m) for m in micro_batches]
                 + ["per clone", "per clone / gradients, plain", "deviation", "us per op"], rows)


def runs_table(found, layers):
    """`found`: {micro-batches: seconds by part}."""
    parts = ("initializer", "first step", "second step")
    rows = [["EPL, M = {}".format(m) if m else "plain"]
            + ["{:.3f}".format(statistics.median(times[part] for times in several))
               for part in parts] for m, several in found.items()]
    return table(["{} layers".format(layers)] + ["{}, seconds".format(part) for part in parts],
                 rows)


def passes_table(found, layers):
    """`found`: one {pass: seconds} per round."""
    medians = {name: statistics.median(passes[name] for passes in found) for name in found[0]}
    total = sum(medians.values())
    ordered = sorted(medians, key=medians.get, reverse=True)
    return table(["pass, {} layers, M = {}".format(layers, PASSES_AT), "seconds", "share"],
                 [[name, "{:.3f}".format(medians[name]), "{:.1f} %".format(
                     100 * medians[name] / total)] for name in ordered])


def picture(times, all_layers, micro_batches, title):
    """The rewrite's time over M, and its time per clone over the number of operations."""
    figure, (left, right) = measuring.pyplot().subplots(1, 2, figsize=(10, 3.8))
    for layers in all_layers:
        points = [(m, times.median(layers, m, "rewrite")) for m in micro_batches]
        intercept, slope = line(points)
        dots, = left.plot(*zip(*points), marker="o", linestyle="",
                          label="{} layers".format(layers))
        left.plot(micro_batches, [intercept + slope * m for m in micro_batches],
                  color=dots.get_color(), linewidth=1)
        left.axhline(times.median(layers, 0, "gradients"), color=dots.get_color(),
                     linestyle=":", linewidth=1)
    left.set_xlabel("micro-batches (dotted: tf.gradients of plain TensorFlow)")
    left.set_ylabel("seconds of the rewrite")
    left.legend()
    operations = [times.operations(n, 0, "forward", "gradients") for n in all_layers]
    for label, values in (
            ("a further clone", [statistics.median(times.slopes(n, micro_batches))
                                 for n in all_layers]),
            ("tf.gradients / 3", [times.median(n, 0, "gradients") / 3 for n in all_layers])):
        right.plot(operations, values, marker="o", label=label)
    right.set_xlabel("operations of the plain graph")
    right.set_ylabel("seconds")
    right.set_xlim(left=0)
    right.set_ylim(bottom=0)
    right.legend()
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, nargs="+", default=[12, 24, 48])
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[2, 4, 8, 16])
    measuring.add_output_option(parser)
    options = parser.parse_args()
    first, times, passes, runs = options.layers[0], Times(), [], {0: [], PASSES_AT: []}
    for number in range(options.rounds):
        for layers in options.layers:
            for m in [0] + options.micro_batches:
                times.add(layers, m, measure(layers, m))
                print("round {} {} layers, M = {}: {}".format(number, layers, m, {
                    part: round(times.seconds(layers, m, part)[-1], 3)
                    for part in ("gradients",) + (("rewrite",) if m else ())}), flush=True)
        passes.append(measure(first, PASSES_AT)["passes"])
        for m, several in runs.items():
            several.append(measure(first, m, run=True)["seconds"])
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, rewrite of BERT, {} rounds".format(version, options.rounds)
    measuring.write(
        measuring.output_name(options.output, "rewrite", version),
        [title, scaling_table(times, options.layers, options.micro_batches),
         passes_table(passes, first), runs_table(runs, first)],
        picture(times, options.layers, options.micro_batches, title))


if __name__ == "__main__":
    main()
