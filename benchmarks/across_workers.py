# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Replicas over several workers: throughput, and what goes over the cable between two hosts.

    python benchmarks/across_workers.py --rounds 7 --output docs/benchmarks

BERT-mini, two stages (or none), trained by jobs that stay for all rounds and run blocks of steps in
turns. The communicator is `native`. The hosts are two network namespaces of this machine, joined by
a cable that is as fast as the machine, or a slow one: 10 ms each way, 100 Mbit/s, packets of 9,000
bytes (`tests/support/network.py`; that needs root, iproute2 and an sshd).

  one machine   two stages in one worker with two devices, beside two workers with one each
  two hosts     two workers with two devices, or four with one: what the cable carries in a step,
                counted by its interfaces, beside what `epl.explain()` predicts
  slow cable    two workers, a stage each, and two that are data parallel, beside the same on the
                fast one

A step is 8 micro-batches of 4 rows, 16 with the slow cable; of data-parallel workers as many rows.
Needs two cores. Writes `across_workers_tf<version>.md` and `.png`.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from typing import NamedTuple

import measuring

sys.path.insert(0, measuring.ROOT)
from tests.support import network as networks  # noqa: E402

WORKER = os.path.join(measuring.HERE, "across_workers_step.py")
ROWS, MODEL = 4, "mini"
SLOW = networks.Slow(delay=0.010, rate=100e6 / 8, mtu=9000)
_START_S, _LOOK_EVERY_S = 400, 0.01


class Layout(NamedTuple):
    """How a job trains.

    Attributes:
      workers: of each host; a single number: of this machine, in no namespace.
      devices: of each worker.
      stages: of the model.
      micro_batches: of a step, of each replica.
      within: replicas fill a worker before they take the next one's devices.
      schedule: `pipeline.strategy`.
    """

    workers: tuple
    devices: int
    stages: int
    micro_batches: int
    within: bool = True
    schedule: str = "1f1b"

    @property
    def examples(self):
        """Rows of a step."""
        replicas = sum(self.workers) * self.devices // self.stages
        return ROWS * self.micro_batches * replicas

    @property
    def pinned(self):
        return self.devices == 1

    def host(self, worker):
        """The host of a worker."""
        return 0 if worker < self.workers[0] else 1


MACHINE = {"one worker, two devices": Layout((1,), 2, 2, 8),
           "two workers": Layout((2,), 1, 2, 8),
           "two workers, 1F1B-Ahead": Layout((2,), 1, 2, 8, schedule="1f1b-ahead")}
HOSTS = {"2 x 2, pipelines within workers": Layout((1, 1), 2, 2, 8),
         "2 x 2, pipelines across": Layout((1, 1), 2, 2, 8, within=False),
         "4 x 1, pipelines within hosts": Layout((2, 2), 1, 2, 8),
         "4 x 1, data parallel": Layout((2, 2), 1, 1, 4)}
CABLES = {"1F1B": Layout((1, 1), 1, 2, 16),
          "1F1B-Ahead": Layout((1, 1), 1, 2, 16, schedule="1f1b-ahead"),
          "data parallel": Layout((1, 1), 1, 1, 8)}


class Job:
    """A job that runs blocks of steps when it is asked to, on this machine or on two hosts."""

    def __init__(self, layout, network=None):
        self.layout, self._network, self._number = layout, network, 0
        self._folder = tempfile.mkdtemp()
        settings = {"model": MODEL, "rows": ROWS, "micro_batches": layout.micro_batches,
                    "side": layout.schedule, "stages": layout.stages, "pinned": layout.pinned}
        environment = {"EPL_COMMUNICATION_COMMUNICATOR": "native",
                       "EPL_CLUSTER_DEVICE_PLACE_PREFER_INTRA_NODE": str(layout.within)}
        where = ["--num_workers", str(sum(layout.workers))]
        if network is not None:
            where = ["--hosts", ",".join("{}:{}".format(*each) for each in zip(
                networks.ADDRESSES, layout.workers)), "--ssh_args", network.ssh_args]
            for name in list(environment) + ["PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL",
                                             "PYTHONWARNINGS"]:
                where += ["--env", name]
        words = [sys.executable, "-m", "epl.launcher", "--gpu_per_worker", str(layout.devices),
                 "--log_dir", self._folder] + where + [WORKER, json.dumps(settings), self._folder]
        if network is not None:
            words = network.command(0, words)
        self._process = measuring.start(words[1:], program=words[0], **environment)
        self._done()  # the first block warms up
        self.predicted = 0.0 if network is None else _predicted(
            layout, measuring.take(os.path.join(self._folder, "explained")))

    def block(self, steps):
        """(examples per second, bytes that the cable has carried in a step)."""
        before = self._carried()
        self._number += 1
        measuring.put(os.path.join(self._folder, "go.{}".format(self._number)), steps)
        seconds = max(self._done())
        return steps * self.layout.examples / seconds, (self._carried() - before) / steps

    def close(self):
        measuring.put(os.path.join(self._folder, "go.{}".format(self._number + 1)), 0)
        self._process.communicate()

    def _carried(self):
        return sum(self._network.sent(host) for host in (0, 1)) if self._network else 0

    def _done(self):
        paths = [os.path.join(self._folder, "done.{}.{}".format(self._number, rank))
                 for rank in range(sum(self.layout.workers))]
        begin = time.monotonic()
        while not all(os.path.exists(path) for path in paths):
            if self._process.poll() is not None:
                raise SystemExit(self._process.communicate()[0].decode()[-3000:])
            if time.monotonic() - begin > _START_S:
                raise SystemExit("a worker does not get on: {}".format(self._folder))
            time.sleep(_LOOK_EVERY_S)
        return [measuring.take(path) for path in paths]


def _predicted(layout, explained):
    """Bytes over the cable in a step, from what `epl.explain()` says of links and of gradients.

    A sum over workers goes around a ring in the order of workers: each of W sends 2 (W - 1) / W of
    what is added up to the next one. `native` gathers rows by a sum of arrays in which each worker
    has filled its own part.
    """
    found = sum(1024 * float(size) for one, other, size in re.findall(
        r"worker (\d+) to worker (\d+): ([0-9.]+)", explained)
        if layout.host(int(one)) != layout.host(int(other)))
    for names, what, size in re.findall(
            r"workers ([0-9 ]+) (add up|gather) .*: ([0-9.]+) of each", explained):
        workers = [int(name) for name in names.split()]
        count = len(workers)
        crossings = sum(layout.host(one) != layout.host(other)
                        for one, other in zip(workers, workers[1:] + workers[:1]))
        summed = 1024 * float(size) * (count if what == "gather" else 1)
        found += crossings * summed * 2 * (count - 1) / count
    return found


def measure(jobs, rounds, steps):
    """{name: [(examples per second, bytes) of every round]}."""
    found = {name: [] for name in jobs}
    for number in range(rounds):
        for name in jobs if number % 2 == 0 else reversed(list(jobs)):
            found[name].append(jobs[name].block(steps))
        print("round {}  {}".format(number, "  ".join("{} {:.1f}".format(
            name, found[name][-1][0]) for name in jobs)), flush=True)
    return found


@contextlib.contextmanager
def running(layouts, network=None):
    """The jobs of these layouts."""
    with contextlib.ExitStack() as stack:
        jobs = {}
        for name, layout in layouts.items():
            jobs[name] = Job(layout, network)
            stack.callback(jobs[name].close)
        yield jobs


@contextlib.contextmanager
def hosts(cable=None):
    network = networks.Network(cable=cable)
    try:
        yield network
    finally:
        network.close()


def _speeds(found, name):
    return [speed for speed, _ in found[name]]


def _median(values, digits=1):
    return "{:.{}f}".format(statistics.median(values), digits)


def machine_table(found):
    first = next(iter(MACHINE))
    return measuring.table(["layout", "examples/s", "/ one worker"], [
        [name, _median(_speeds(found, name)), "{:.3f}".format(measuring.median_ratio(
            _speeds(found, name), _speeds(found, first)))] for name in MACHINE])


def hosts_table(found, predicted):
    rows = []
    for name in HOSTS:
        counted = statistics.median(size for _, size in found[name])
        rows.append([name, _median(_speeds(found, name)), "{:.2f}".format(counted / 2 ** 20),
                     "{:.2f}".format(predicted[name] / 2 ** 20),
                     "{:.3f}".format(counted / predicted[name])])
    return measuring.table(["workers x devices", "examples/s", "MiB over the cable in a step",
                            "predicted", "counted / predicted"], rows)


def cables_table(found):
    rows = []
    for name in CABLES:
        fast, slow = _speeds(found, name), _speeds(found, name + ", slow")
        rows.append([name, _median(fast), _median(slow),
                     "{:.3f}".format(measuring.median_ratio(slow, fast)),
                     "{:.2f}".format(found[name][-1][1] / 2 ** 20)])
    return measuring.table(["two workers", "examples/s", "with the slow cable", "slow / fast",
                            "MiB over the cable in a step"], rows)


def picture(title, machine, on_hosts, cables):
    figure, axes = measuring.pyplot().subplots(1, 3, figsize=(14, 3.6))
    for axis, what, found in zip(axes, ("one machine", "two hosts", "slow cable"),
                                 (machine, on_hosts, cables)):
        measuring.bars(axis, {name.replace(", ", ",\n").replace(" within", "\nwithin"):
                              _speeds(found, name) for name in found},
                       ["#3070b0", "#7090c0", "#70a070", "#d8c890"])
        axis.set_title(what)
        axis.set_ylabel("examples/s")
        axis.tick_params(axis="x", labelsize=7)
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="of a block")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    why_not = networks.why_not() or networks.why_not_slow()
    if why_not:
        raise SystemExit(why_not)
    with running(MACHINE) as jobs:
        machine = measure(jobs, options.rounds, options.steps)
    print(machine_table(machine), flush=True)
    with hosts() as network:
        with running(HOSTS, network) as jobs:
            on_hosts = measure(jobs, options.rounds, options.steps)
            predicted = {name: job.predicted for name, job in jobs.items()}
        print(hosts_table(on_hosts, predicted), flush=True)
        with hosts(SLOW) as slow, running(CABLES, network) as fast_jobs, \
                running({name + ", slow": layout for name, layout in CABLES.items()},
                        slow) as slow_jobs:
            cables = measure(dict(fast_jobs, **slow_jobs), options.rounds, options.steps)
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, {} rounds".format(version, options.rounds)
    measuring.write(
        measuring.output_name(options.output, "across_workers", version),
        [title, machine_table(machine), hosts_table(on_hosts, predicted), cables_table(cables)],
        picture(title, machine, on_hosts, cables))


if __name__ == "__main__":
    main()
