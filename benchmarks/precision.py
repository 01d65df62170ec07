# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on this processor: BERT-mini with bfloat16 beside float32, speed and losses.

Usage: python benchmarks/precision.py [--batch 8] [--rounds 7] [--steps 4] [--curve 60]
                                      [--output docs/benchmarks]

In turns, one process trains blocks of steps of both; the ratio is the median of the rounds'. Then
five seeds of float32 (weights and dropout) are trained on one batch, and bfloat16 with the first of
the seeds: the loss is to lie among theirs. Writes `precision_tf2.md` and `.png`.
"""

import argparse
import os
import statistics
import sys
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks import measuring  # noqa: E402

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


def speed_table(batch, seconds):
    """Examples per second of both."""
    single, half = seconds
    ratios = [one / other for one, other in zip(single, half)]
    return measuring.table(
        ["BERT-mini, batch {}, length 128".format(batch)] + list(DTYPES) + ["ratio (rounds)"],
        [["examples/s", "{:.1f}".format(batch / statistics.median(single)),
          "{:.1f}".format(batch / statistics.median(half)),
          "{:.2f} ({:.2f} to {:.2f})".format(statistics.median(ratios), min(ratios),
                                             max(ratios))]])


def curve_table(curves, other):
    """Losses every ten steps."""
    steps = sorted({0} | set(range(9, len(other), 10)))
    return measuring.table(
        ["step", "float32, five seeds", "bfloat16"],
        [["{}".format(step + 1), "{:.3f} to {:.3f}".format(
            curves[:, step].min(), curves[:, step].max()), "{:.3f}".format(other[step])]
         for step in steps])


def picture(seconds, curves, other, batch):
    figure, (left, right) = measuring.pyplot().subplots(1, 2, figsize=(9, 3.5))
    measuring.bars(left, {dtype: [batch / each for each in found]
                          for dtype, found in zip(DTYPES, seconds)}, ["0.7", "tab:blue"])
    left.set_ylabel("examples/s of BERT-mini")
    steps = range(1, len(other) + 1)
    right.fill_between(steps, curves.min(0), curves.max(0), color="0.8",
                       label="float32, five seeds")
    right.plot(steps, other, label="bfloat16")
    right.set_xlabel("step")
    right.set_ylabel("loss")
    right.legend()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="in a block")
    parser.add_argument("--curve", type=int, default=60, help="steps of each loss curve")
    measuring.add_output_option(parser)
    flags = parser.parse_args()
    os.environ.update(measuring.virtual_devices(1), CUDA_VISIBLE_DEVICES="")
    seconds = speeds(flags.batch, flags.rounds, flags.steps)
    curves = np.array([Training("float32", flags.batch, seed).losses(flags.curve)
                       for seed in SEEDS])
    other = np.array(Training("bfloat16", flags.batch, SEEDS[0]).losses(flags.curve))
    version = measuring.tensorflow_version()
    measuring.write(
        measuring.output_name(flags.output, "precision", version),
        ["TensorFlow {}:".format(version), speed_table(flags.batch, seconds),
         curve_table(curves, other)], picture(seconds, curves, other, flags.batch))


if __name__ == "__main__":
    main()
