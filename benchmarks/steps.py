# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small steps of several workers: steps per second and processor time, beside plain Horovod.

    python benchmarks/steps.py --rounds 9 --output docs/benchmarks

For each model and number of workers there is a job for each kind, which stays for all rounds: EPL
through shared memory, through Horovod and through TensorFlow's own collectives (`native`), plain
Horovod (DistributedOptimizer, its own defaults), and `apart`, as many processes that know nothing
of each other. In each round they run a block of steps in turns; those whose turn it is not are
stopped (SIGSTOP), as the threads of an idle Horovod take time too. Reported are medians over the
rounds, and medians of the ratios within a round. Writes `steps_<environment>.md` and `.png`.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time

import measuring
from measuring import median_ratio

WORKER = os.path.join(measuring.HERE, "steps_worker.py")
# How they are called in tables; EPL's kinds are names of its communicators.
KINDS = {"epl:shared_memory": "EPL, shared memory", "epl:horovod": "EPL, Horovod",
         "epl:native": "EPL, native", "horovod": "Horovod", "apart": "apart"}
STEPS = {"mlp": 200, "tiny": 20, "mini": 6}
_START_S, _LOOK_EVERY_S = 300, 0.01


class Job:
    """The workers of one kind, which run blocks of steps in turns with others'."""

    def __init__(self, kind, model, workers):
        self._folder, self._workers, self._number = tempfile.mkdtemp(), workers, 0
        if kind == "apart":
            self._processes = [measuring.start([WORKER, "plain", model, self._folder],
                                               EPL_WORKER_INDEX=str(rank))
                               for rank in range(workers)]
        else:
            self._processes = [measuring.start(
                ["-m", "epl.launcher", "--num_workers", str(workers), "--gpu_per_worker", "1",
                 "--log_dir", self._folder, WORKER, kind, model, self._folder])]
        self._done()  # the first block warms up
        self._family = _family([process.pid for process in self._processes])
        self._signal(signal.SIGSTOP)

    def block(self, steps):
        """(steps per second, seconds of processor time per step and worker)."""
        self._signal(signal.SIGCONT)
        self._number += 1
        measuring.put(os.path.join(self._folder, "go.{}".format(self._number)), steps)
        done = self._done()
        self._signal(signal.SIGSTOP)
        return (steps / max(each["seconds"] for each in done),
                statistics.mean(each["cpu"] for each in done) / steps)

    def close(self):
        self._signal(signal.SIGCONT)
        measuring.put(os.path.join(self._folder, "go.{}".format(self._number + 1)), 0)
        for process in self._processes:
            process.communicate()

    def _done(self):
        paths = [os.path.join(self._folder, "done.{}.{}".format(self._number, rank))
                 for rank in range(self._workers)]
        begin = time.monotonic()
        while not all(os.path.exists(path) for path in paths):
            late = time.monotonic() - begin > _START_S
            if late or any(process.poll() is not None for process in self._processes):
                raise SystemExit("a worker ended, or does not get on: {}".format(self._folder))
            time.sleep(_LOOK_EVERY_S)
        return [measuring.take(path) for path in paths]

    def _signal(self, number):
        for process in self._family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)


def _family(processes):
    """`processes` and what they have started, as it is now."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/{}/stat".format(name)) as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = []
    while processes:
        found += processes
        processes = [child for each in processes for child in children.get(each, ())]
    return found


def measure(model, workers, rounds):
    """kind -> [(steps per second, seconds of processor time)], one per round."""
    found = {kind: [] for kind in KINDS}
    with contextlib.ExitStack() as stack:
        jobs = {}
        for kind in KINDS:
            jobs[kind] = Job(kind, model, workers)
            stack.callback(jobs[kind].close)
        for _ in range(rounds):
            for kind, job in jobs.items():
                found[kind].append(job.block(STEPS[model]))
    return found


def table(results):
    """The results as a Markdown table; `results` maps (model, workers) to that of `measure`."""
    header = ["model", "workers", "what", "steps/s", "/ Horovod", "/ apart",
              "CPU ms per step and worker", "/ Horovod"]
    rows = []
    for (model, workers), found in results.items():
        speed = {kind: [each[0] for each in found[kind]] for kind in KINDS}
        cpu = {kind: [1e3 * each[1] for each in found[kind]] for kind in KINDS}
        for kind, name in KINDS.items():
            rows.append([model, str(workers), name,
                         "{:.1f}".format(statistics.median(speed[kind]))] + [
                "{:.2f}".format(median_ratio(speed[kind], speed[peer]))
                for peer in ("horovod", "apart")] + [
                "{:.2f}".format(statistics.median(cpu[kind])),
                "{:.2f}".format(median_ratio(cpu[kind], cpu["horovod"]))])
    return measuring.table(header, rows)


def picture(results, title):
    """A bar per kind, with the rounds as dots."""
    figure, axes = measuring.pyplot().subplots(1, len(results), figsize=(4 * len(results), 3.4),
                                               squeeze=False)
    for axis, ((model, workers), found) in zip(axes[0], results.items()):
        measuring.bars(axis, {name.replace(", ", ",\n"): [each[0] for each in found[kind]]
                              for kind, name in KINDS.items()},
                       ["#3070b0", "#7090c0", "#a0b0d8", "#70a070", "#d8c890"])
        axis.set_title("{}, {} workers".format(model, workers))
        axis.set_ylabel("steps/s")
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", default="mlp:2,mlp:4,mlp:8,tiny:2,mini:2",
                        help="model:workers, with commas between")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nobody stays behind, stopped
    results = {}
    for row in options.rows.split(","):
        model, workers = row.split(":")
        results[model, int(workers)] = measure(model, int(workers), options.rounds)
        print(table(results), flush=True)
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, {} rounds".format(version, options.rounds)
    measuring.write(measuring.output_name(options.output, "steps", version),
                    [title, table(results)], picture(results, title))


if __name__ == "__main__":
    main()
