# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Training throughput of two data-parallel workers, beside plain Horovod and the machine's ceiling.

    python benchmarks/data_parallel.py --rounds 5 --output docs/benchmarks

Every round measures, one after the other, for each model:
  one        one process on one core, no exchange
  ceiling    two such processes at once, a core each, that know nothing of each other
  epl        two workers, a core each, under `epl-launch`, with EPL
  horovod    the same with plain Horovod's DistributedOptimizer, its own defaults
Reported are medians over the rounds, and the medians of the ratios within a round. Writes
`data_parallel_<environment>.md` and `.png`. Needs two cores.
"""

import argparse
import os
import re
import statistics
import tempfile

import measuring
from measuring import median_ratio

STEP = os.path.join(measuring.HERE, "bert_step.py")
KINDS = ("one", "ceiling", "epl", "horovod")


def measure(kind, model, batch, steps):
    """Examples per second of all processes of one run together."""
    arguments = [model, str(batch), str(steps)]
    if kind in ("one", "ceiling"):
        processes = [measuring.start([STEP, "plain"] + arguments + [str(core)])
                     for core in range(1 if kind == "one" else 2)]
    else:
        logs = tempfile.mkdtemp()
        processes = [measuring.start(["-m", "epl.launcher", "--num_workers", "2", "--log_dir", logs,
                                      STEP, kind] + arguments + ["0"])]
    outputs = [process.communicate()[0].decode() for process in processes]
    for process, output in zip(processes, outputs):
        if process.returncode:
            raise SystemExit("{} failed:\n{}".format(kind, output[-3000:]))
    found = re.findall(r"EXAMPLES_PER_SECOND ([0-9.]+)", "\n".join(outputs))
    assert len(found) == (1 if kind == "one" else 2), outputs
    return sum(float(number) for number in found)


def table(results, settings):
    """The results as a Markdown table; `results` maps (model, kind) to one number per round."""
    header = ["model", "batch per worker", "one process", "ceiling: two at once", "EPL", "Horovod",
              "EPL / Horovod", "EPL / (2 x one)", "ceiling / (2 x one)", "EPL / ceiling"]
    rows = []
    for model, batch in settings:
        row = {kind: results[model, kind] for kind in KINDS}
        one = [2 * number for number in row["one"]]
        ratios = [(row["epl"], row["horovod"]), (row["epl"], one), (row["ceiling"], one),
                  (row["epl"], row["ceiling"])]
        cells = [model, str(batch)]
        cells += ["{:.1f}".format(statistics.median(row[kind])) for kind in KINDS]
        cells += ["{:.3f}".format(median_ratio(a, b)) for a, b in ratios]
        rows.append(cells)
    return measuring.table(header, rows)


def picture(results, settings, title):
    """A bar per kind and model, with the rounds as dots."""
    figure, axes = measuring.pyplot().subplots(1, len(settings), figsize=(5 * len(settings), 3.6))
    for axis, (model, batch) in zip(axes, settings):
        measuring.bars(axis, {kind: results[model, kind] for kind in KINDS},
                       ["#b0b0b0", "#d8c890", "#3070b0", "#70a070"])
        axis.set_title("BERT-{}, {} rows per worker".format(model, batch))
        axis.set_ylabel("examples/s, all processes")
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="timed steps per run of BERT-tiny")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    settings = [("tiny", 16), ("mini", 16)]
    results = {}
    for number in range(options.rounds):
        for model, batch in settings:
            steps = options.steps if model == "tiny" else max(5, options.steps // 3)
            for kind in KINDS:
                speed = measure(kind, model, batch, steps)
                results.setdefault((model, kind), []).append(speed)
                print("round {} BERT-{} {:8} {:8.1f} examples/s".format(number, model, kind, speed),
                      flush=True)
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, {} rounds".format(version, options.rounds)
    measuring.write(measuring.output_name(options.output, "data_parallel", version),
                    [title, table(results, settings)], picture(results, settings, title))


if __name__ == "__main__":
    main()
