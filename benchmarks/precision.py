# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on this processor: BERT-mini with bfloat16 beside float32, speed and losses.

Usage: python benchmarks/precision.py [--batch 8] [--rounds 7] [--steps 4] [--curve 60]

In turns, one process trains blocks of steps of both; the ratio is the median of the rounds'. Then
five seeds of float32 (weights and dropout) are trained on one batch, and bfloat16 with the first of
the seeds: the loss is to lie among theirs. Prints a Markdown table, for docs/benchmarks.md.
"""

import argparse
import os
import statistics
import sys
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.measuring import virtual_devices  # noqa: E402

SEEDS = range(1, 6)
DTYPES = ("float32", "bfloat16")


class Training:
    """BERT-mini in a graph and a session of its own."""

    def __init__(self, dtype, batch, seed):
        import tensorflow.compat.v1 as tf

        import epl
        from benchmarks.bert_step import build_loss, train_op

        epl.init(epl.Config({"amp.level": "o1" if dtype == "bfloat16" else "", "amp.dtype": dtype}))
        epl.set_default_strategy(epl.replicate(device_count=1))
        with tf.Graph().as_default():
            tf.set_random_seed(seed)
            loss = build_loss("mini", batch)
            self._fetches = [loss, train_op("epl", loss)]
            self._session = tf.Session()
            self._session.run(tf.global_variables_initializer())

    def losses(self, steps):
        return [float(self._session.run(self._fetches)[0]) for _ in range(steps)]

    def seconds(self, steps):
        begin = time.perf_counter()
        self.losses(steps)
        return time.perf_counter() - begin


def speeds(batch, rounds, steps):
    """Seconds per step, for each type a list with a number for each round."""
    trainings = [Training(dtype, batch, 1) for dtype in DTYPES]
    for training in trainings:
        training.seconds(3)
    return list(zip(*[[training.seconds(steps) / steps for training in trainings]
                      for _ in range(rounds)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="in a block")
    parser.add_argument("--curve", type=int, default=60, help="steps of each loss curve")
    flags = parser.parse_args()
    os.environ.update(virtual_devices(1), CUDA_VISIBLE_DEVICES="")
    single, half = speeds(flags.batch, flags.rounds, flags.steps)
    ratios = [one / other for one, other in zip(single, half)]
    print("| BERT-mini, batch {}, length 128 | float32 | bfloat16 | ratio (rounds) |".format(
        flags.batch))
    print("| --- | --- | --- | --- |")
    print("| examples/s | {:.1f} | {:.1f} | {:.2f} ({:.2f} to {:.2f}) |\n".format(
        flags.batch / statistics.median(single), flags.batch / statistics.median(half),
        statistics.median(ratios), min(ratios), max(ratios)), flush=True)
    curves = np.array([Training("float32", flags.batch, seed).losses(flags.curve)
                       for seed in SEEDS])
    other = Training("bfloat16", flags.batch, SEEDS[0]).losses(flags.curve)
    print("| step | float32, five seeds | bfloat16 |")
    print("| --- | --- | --- |")
    for step in sorted({0} | set(range(9, flags.curve, 10))):
        print("| {} | {:.3f} to {:.3f} | {:.3f} |".format(
            step + 1, curves[:, step].min(), curves[:, step].max(), other[step]))


if __name__ == "__main__":
    main()
