# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sums over workers by each communicator: milliseconds by the size of the array.

    python benchmarks/exchanges.py --rounds 5 --workers 2,4

In each round there is one job per communicator, one after the other; it adds arrays of float32 up
over the workers, of each size so often that it takes about a second. Reported are medians over the
rounds of a job's mean time, and medians of the ratios to Horovod's within a round.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time

import measuring

COMMUNICATORS = ("horovod", "native", "shared_memory")
SIZES = {"1 KB": 10 ** 3, "10 KB": 10 ** 4, "100 KB": 10 ** 5, "1 MB": 10 ** 6, "10 MB": 10 ** 7,
         "100 MB": 10 ** 8}
_WARM_UP, _BYTES, _MOST = 3, 2 * 10 ** 8, 200


def work(communicator, folder):
    """One worker: writes the seconds of an exchange of each size, as the slowest of it sees it."""
    import tensorflow.compat.v1 as tf

    import epl

    tf.disable_v2_behavior()
    epl.init(epl.Config({"communication.communicator": communicator}))
    meet, found = epl.Env.get().context.communicator, {}
    sums = {}
    for name, size in SIZES.items():
        value = tf.get_variable("v{}".format(size), [size // 4], initializer=tf.ones_initializer(),
                                trainable=False)
        sums[name] = meet.all_reduce(tf.identity(value), "sum{}".format(size), meet.group)[0].op
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name, size in SIZES.items():
            times = max(3, min(_MOST, _BYTES // size))
            for _ in range(_WARM_UP):
                session.run(sums[name])
            begin = time.monotonic()
            for _ in range(times):
                session.run(sums[name])
            found[name] = (time.monotonic() - begin) / times
    measuring.put(os.path.join(folder, "seconds.{}".format(meet.rank)), found)


def measure(communicator, workers):
    """Seconds of an exchange by the name of its size."""
    folder = tempfile.mkdtemp()
    process = measuring.start(["-m", "epl.launcher", "--num_workers", str(workers), "--log_dir",
                               folder, os.path.abspath(__file__), "--work", communicator, folder])
    output = process.communicate()[0].decode()
    if process.returncode:
        raise SystemExit("{} failed:\n{}".format(communicator, output[-3000:]))
    every = [measuring.take(os.path.join(folder, "seconds.{}".format(rank)))
             for rank in range(workers)]
    return {name: max(each[name] for each in every) for name in SIZES}


def table(results):
    """As Markdown; `results` maps a number of workers to, by communicator, what each round gave."""
    rows = []
    for workers, found in results.items():
        for name in SIZES:
            taken = {each: [one[name] for one in found[each]] for each in COMMUNICATORS}
            rows.append([str(workers), name] + [
                "{:.3g}".format(1e3 * statistics.median(taken[each])) for each in COMMUNICATORS] + [
                "{:.2f}".format(measuring.median_ratio(taken[each], taken["horovod"]))
                for each in COMMUNICATORS[1:]])
    return measuring.table(
        ["workers", "array"] + ["{}, ms".format(each) for each in COMMUNICATORS]
        + ["{} / horovod".format(each) for each in COMMUNICATORS[1:]], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="2,4", help="numbers, with commas between")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        sys.exit(work(*options.work))
    results = {}
    for workers in map(int, options.workers.split(",")):
        found = {each: [] for each in COMMUNICATORS}
        for _ in range(options.rounds):
            for each in COMMUNICATORS:
                found[each].append(measure(each, workers))
        results[workers] = found
        print(table(results), flush=True)


if __name__ == "__main__":
    main()
