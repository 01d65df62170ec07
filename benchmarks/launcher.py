# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What `epl-launch` itself takes, beside `horovodrun --gloo` and, if there is one, `torchrun`.

    python benchmarks/launcher.py --rounds 5 --torchrun /path/to/torchrun --output docs/benchmarks
    python benchmarks/launcher.py --rounds 1 --workers 2    # does it run?

In every round the launchers take turns, for each number of workers:
  start     from the command to the first line of the script, in the worker where that comes last
  end       from the exit of the last worker to that of the launcher
  death     from the death (SIGKILL) of a worker to the exit of the launcher; the others sleep, and
            obey SIGTERM
  training  the same when two workers train under a MonitoredTrainingSession: with EPL under
            `epl-launch`, and with plain Horovod under `epl-launch` and `horovodrun`

Writes `launcher_tf<version>.md` and `.png`.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import threading
import time

import measuring
from measuring import median_ratio

WORKER = os.path.join(measuring.HERE, "launcher_worker.py")
EPL, HOROVODRUN, TORCHRUN = "epl-launch", "horovodrun", "torchrun"
COLORS = {EPL: "#3070b0", HOROVODRUN: "#70a070", TORCHRUN: "#d8c890"}
# launcher, kind of `launcher_worker.py`, in words
TRAININGS = ((EPL, "epl", "EPL"), (EPL, "horovod", "Horovod"), (HOROVODRUN, "horovod", "Horovod"))
LIMIT_S = 120


def start(launcher, torchrun, workers, job, folder):
    """Start `launcher` with `workers` processes of `job`, the command line of a Python script."""
    if launcher == EPL:
        return measuring.start(["-m", "epl.launcher", "--num_workers", str(workers), "--log_dir",
                                os.path.join(folder, "logs"), "--gpu_per_worker", "0"] + job)
    if launcher == HOROVODRUN:
        horovodrun = os.path.join(os.path.dirname(sys.executable), HOROVODRUN)
        return measuring.start([horovodrun, "--gloo", "-np", str(workers), sys.executable] + job)
    return measuring.start(["--standalone", "--nproc_per_node", str(workers)] + job,
                           program=torchrun)


def notes(folder, what):
    """What the workers noted: one (process, time) for each that did."""
    found = []
    for name in os.listdir(folder):
        if name.startswith(what) and not name.endswith(".new"):
            with open(os.path.join(folder, name)) as file:
                process, moment = file.read().split()
            found.append((int(process), float(moment)))
    return found


def kill_workers(folder):
    """End the workers that their launcher has left behind; how many those were."""
    left = 0
    for process, _ in notes(folder, "begin"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            left += 1
    return left


def measure(launcher, torchrun, workers, kind):
    """Seconds of (start, end) of one job."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        process = start(launcher, torchrun, workers, [WORKER, folder, str(workers), kind], folder)
        output = []
        reader = threading.Thread(target=lambda: output.append(process.stdout.read().decode()))
        reader.start()
        watch = threading.Timer(LIMIT_S, process.kill)
        watch.start()
        code = process.wait()
        end = time.monotonic()
        watch.cancel()
        if kill_workers(folder):
            print("{} has left workers behind ({})".format(launcher, kind), flush=True)
        reader.join()
        begins, ends = notes(folder, "begin"), notes(folder, "end")
    expected = workers if kind == "ends" else 1
    if len(begins) != workers or len(ends) != expected or (code == 0) != (kind == "ends"):
        raise SystemExit("{} {} failed with code {}:\n{}".format(launcher, kind, code,
                                                                  "".join(output)[-3000:]))
    return max(moment for _, moment in begins) - begin, end - max(moment for _, moment in ends)


class Results:
    """Seconds of every round.

    Attributes:
      seconds: what was measured (such as "start, 2 workers") -> launcher -> a number per round.
    """

    def __init__(self):
        self.seconds = {}

    def add(self, what, launcher, seconds):
        self.seconds.setdefault(what, {}).setdefault(launcher, []).append(seconds)
        print("{:32} {:12} {:7.3f} s".format(what, launcher, seconds), flush=True)

    def table(self, launchers):
        header = ["seconds"] + launchers + ["{} / {}".format(EPL, name) for name in launchers[1:]]
        rows = []
        for what, sides in self.seconds.items():
            cells = ["{:.3f}".format(statistics.median(sides[name])) if name in sides else "-"
                     for name in launchers]
            ratios = ["{:.2f}".format(median_ratio(sides[EPL], sides[name])) if name in sides
                      else "-" for name in launchers[1:]]
            rows.append([what] + cells + ratios)
        return measuring.table(header, rows)

    def picture(self, title):
        columns = (len(self.seconds) + 1) // 2
        figure, axes = measuring.pyplot().subplots(2, columns, figsize=(3.6 * columns, 6))
        for axis in axes.flat[len(self.seconds):]:
            axis.remove()
        for axis, (what, sides) in zip(axes.flat, self.seconds.items()):
            measuring.bars(axis, sides, [COLORS[name] for name in sides])
            axis.set_title(what, fontsize=9)
            axis.set_ylabel("s")
        figure.suptitle(title)
        return figure


def measure_round(results, launchers, torchrun, workers):
    """Every launcher once, for every number of workers."""
    for count in workers:
        for kind in ("ends", "dies"):
            for launcher in launchers:
                begin, end = measure(launcher, torchrun, count, kind)
                if kind == "ends":
                    results.add("start, {} workers".format(count), launcher, begin)
                    results.add("end, {} workers".format(count), launcher, end)
                else:
                    results.add("death, {} workers".format(count), launcher, end)
    for launcher, kind, words in TRAININGS:
        what = "death in training with {}".format(words)
        results.add(what, launcher, measure(launcher, torchrun, 2, kind)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--torchrun", help="measure this torchrun too")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    launchers = [EPL, HOROVODRUN] + ([TORCHRUN] if options.torchrun else [])
    results = Results()
    for _ in range(options.rounds):
        measure_round(results, launchers, options.torchrun, options.workers)
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, Python {}.{}, {} rounds".format(
        version, sys.version_info[0], sys.version_info[1], options.rounds)
    measuring.write(measuring.output_name(options.output, "launcher", version),
                    [title, results.table(launchers)], results.picture(title))


if __name__ == "__main__":
    main()
