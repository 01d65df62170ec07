# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The predicted memory of each device beside what a step allocates there.

    python benchmarks/memory.py --output docs/benchmarks
    python benchmarks/memory.py --models tiny            # does it run?

BERT-tiny and BERT-mini as their authors published them (8 rows of 128 positions, dropout, AdamW)
and a network of four convolutions with batch normalization (32 images of 32 x 32, Adam), on one
device and in two stages. Measured is the most that is in use in a step, from TensorFlow's records
of allocations, variables included, with one operation at a time; there are no timings.

Writes `memory_tf<version>.md` and `.png`.
"""

import argparse

import measuring
from measuring import answer, table, virtual_devices

SCRIPT = "memory_step.py"
ALL_FIRST, AGAIN = {"pipeline.strategy": "PreferForward"}, {"gradient_checkpoint.type": "auto"}
# Title -> stages, micro-batches, configuration.
LAYOUTS = {
    "one device": (1, 1, {}),
    "4 micro-batches": (1, 4, {}),
    "2 stages, 4 micro-batches": (2, 4, {}),
    "the same, all forwards first": (2, 4, ALL_FIRST),
    "the same, computed again": (2, 4, AGAIN),
}
MODELS = ("tiny", "mini", "convolutions")


def measure(model, title):
    """Of each device: the prediction's parts and its total, and what was allocated; in MiB."""
    stages, micro_batches, config = LAYOUTS[title]
    return answer(SCRIPT, {"model": model, "stages": stages, "micro_batches": micro_batches,
                           "config": config}, **virtual_devices(stages))


def rows(model, title, found):
    return [[model, title, str(device)] + ["{:.1f}".format(part) for part in parts]
            + ["{:.1f}".format(allocated), "{:.2f}".format(sum(parts) / allocated)]
            for device, (parts, allocated) in enumerate(found)]


def picture(results, title):
    figure, axis = measuring.pyplot().subplots(figsize=(6, 6))
    for model in MODELS:
        points = [(allocated, sum(parts)) for (name, _), found in results.items()
                  for parts, allocated in found if name == model]
        if points:
            axis.scatter(*zip(*points), label=model)
    ends = [min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1],
                                                             axis.get_ylim()[1])]
    ends[0] = max(ends[0], 5)
    axis.plot(ends, ends, color="#888888", linewidth=1)
    axis.fill_between(ends, [0.85 * end for end in ends], [1.15 * end for end in ends],
                      color="#888888", alpha=0.2, label="15 %")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("allocated, MiB")
    axis.set_ylabel("predicted, MiB")
    axis.legend()
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    measuring.add_output_option(parser)
    arguments = parser.parse_args()
    version = measuring.tensorflow_version()
    results = {(model, title): measure(model, title)
               for model in arguments.models for title in LAYOUTS}
    title = "TensorFlow {}".format(version)
    measuring.write(
        measuring.output_name(arguments.output, "memory", version),
        [title + ", MiB:", table(
            ["model", "layout", "device", "parameters", "state", "gradients", "activations",
             "working", "allocated", "predicted / allocated"],
            [row for (model, layout), found in results.items()
             for row in rows(model, layout, found)])],
        picture(results, title))


if __name__ == "__main__":
    main()
