# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether a long job grows: memory, descriptors and threads of its processes, from /proc.

    python benchmarks/soak.py --workers 2 --minutes 30 --output docs/benchmarks
    python benchmarks/soak.py --workers 2 --minutes 2 --warm_up 1    # does it run?

`epl-launch` runs a small model under a MonitoredTrainingSession with a checkpoint every minute,
summaries and lines of output; a hook that sleeps keeps it at --rate steps a second, so that it
takes little of the machine. The launcher, its watchdog and the workers are looked at every few
seconds. After --warm_up minutes the median of the first fifth of what is left is compared with
that of the last fifth; the slope is that between halves (Theil-Sen), per hour. What grows:

    memory         more than MEMORY_MIB_PER_HOUR between the first and the last fifth
    descriptors    the most in the last fifth is more than the most before
    threads        likewise

In the end the launcher gets SIGTERM: the job stops after the next step and exits with 0. Prints a
table, and exits with 1 if something grows. Writes `soak_tf<version>_<N>w.md`, `.png` and `.txt`,
the samples.
"""

import argparse
import itertools
import os
import signal
import statistics
import sys
import tempfile
import threading
import time

import measuring

WORKER = os.path.join(measuring.HERE, "soak_worker.py")
# A step that kept 120 bytes would be seen: at 20 steps a second that is 8 MiB an hour.
MEMORY_MIB_PER_HOUR = 8.0
START_S, END_S = 300.0, 120.0
PART = 5  # a fifth


def look(process):
    """(MiB of resident memory, descriptors, threads) of a process."""
    with open("/proc/{}/status".format(process)) as file:
        fields = dict(line.split(":", 1) for line in file)
    return (int(fields["VmRSS"].split()[0]) / 1024.0,
            len(os.listdir("/proc/{}/fd".format(process))), int(fields["Threads"]))


def watchdog_of(launcher):
    """The process that ends the workers should the launcher be killed."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/stat".format(name)) as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open("/proc/{}/cmdline".format(name)) as file:
                if parent == launcher and file.read().rstrip("\0").endswith("watchdog.py"):
                    return int(name)
        except OSError:
            pass  # it has ended
    raise SystemExit("process {} has no watchdog".format(launcher))


def wait_for_workers(job, folder, workers):
    """The processes of the workers, once all have begun."""
    deadline = time.monotonic() + START_S
    names = ["worker-{}".format(worker) for worker in range(workers)]
    while not set(names) <= set(os.listdir(folder)):
        if job.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the job did not begin; its output is above")
        time.sleep(0.5)
    time.sleep(0.5)  # the last file is whole
    found = {}
    for name in names:
        with open(os.path.join(folder, name)) as file:
            found[name.replace("-", " ")] = int(file.read())
    return found


def soak(options, folder, record):
    """Run the job; returns role -> [(minutes, MiB, descriptors, threads)], and the steps done."""
    job = measuring.start(["-m", "epl.launcher", "--num_workers", str(options.workers),
                           "--gpu_per_worker", "0", "--grace", "60", "--log_dir",
                           os.path.join(folder, "logs"), WORKER, folder, str(options.rate)])
    reader = threading.Thread(target=lambda: [print(line.decode().rstrip(), flush=True)
                                              for line in job.stdout if b" step " not in line])
    reader.start()
    try:
        workers = wait_for_workers(job, folder, options.workers)
        roles = {"launcher": job.pid, "watchdog": watchdog_of(job.pid), **workers}
        samples = {role: [] for role in roles}
        begin = time.monotonic()
        for number in itertools.count():
            minutes = (time.monotonic() - begin) / 60.0
            if minutes > options.minutes:
                break
            for role, process in roles.items():
                samples[role].append((minutes,) + look(process))
                record("{}\t{:.3f}\t{:.3f}\t{}\t{}".format(role, *samples[role][-1]))
            time.sleep(max(0.0, begin + (number + 1) * options.every - time.monotonic()))
        job.send_signal(signal.SIGTERM)
        code = job.wait(END_S)
    finally:
        if job.poll() is None:
            job.kill()  # the watchdog ends the workers
            job.wait()
        reader.join()
    if code:
        raise SystemExit("the job ended with code {} after SIGTERM".format(code))
    with open(os.path.join(folder, "steps")) as file:
        return samples, int(file.read())


def slope(points):
    """Of a line through `points` that no spike moves much: the median of those between halves."""
    half = len(points) // 2
    return statistics.median((b[1] - a[1]) / (b[0] - a[0])
                             for a, b in zip(points[:half], points[half:]))


class Growth:
    """What became of one process after the warm-up.

    Args:
      samples: (minutes, MiB, descriptors, threads), in the order of time.

    Attributes:
      first, last: medians of (MiB, descriptors, threads) of the first and the last fifth.
      per_hour: slopes of the three.
      faults: what grows, in words.
    """

    def __init__(self, samples):
        part = max(1, len(samples) // PART)
        self.first, self.last = (
            tuple(statistics.median(sample[1 + i] for sample in some) for i in range(3))
            for some in (samples[:part], samples[-part:]))
        self.per_hour = tuple(60.0 * slope([(s[0], s[1 + i]) for s in samples]) for i in range(3))
        hours = (statistics.median(s[0] for s in samples[-part:])
                 - statistics.median(s[0] for s in samples[:part])) / 60.0
        self.faults = []
        if self.last[0] - self.first[0] > MEMORY_MIB_PER_HOUR * hours:
            self.faults.append("memory")
        for i, what in ((2, "descriptors"), (3, "threads")):
            if max(s[i] for s in samples[-part:]) > max(s[i] for s in samples[:-part]):
                self.faults.append(what)


def report(grown, title, steps):
    """Lines of text with the table; `grown` is role -> Growth."""
    rows = []
    for role, one in grown.items():
        rows.append([role, "{:.1f}".format(one.first[0]), "{:.1f}".format(one.last[0]),
                     "{:+.2f}".format(one.per_hour[0])]
                    + ["{:g} / {:g}".format(one.first[i], one.last[i]) for i in (1, 2)]
                    + [", ".join(one.faults) or "nothing"])
    header = ["process", "MiB, first", "MiB, last",
              "MiB per hour (at most {:g})".format(MEMORY_MIB_PER_HOUR),
              "descriptors", "threads", "grows"]
    return [title, measuring.table(header, rows), "{} steps".format(steps)]


def picture(samples, title):
    figure, axis = measuring.pyplot().subplots(figsize=(7, 3.5))
    for role, some in samples.items():
        axis.plot([s[0] for s in some], [s[1] for s in some], label=role)
    axis.set_xlabel("minutes")
    axis.set_ylabel("MiB")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    axis.set_title(title, fontsize=9)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--warm_up", type=float, default=5.0, help="minutes that do not count")
    parser.add_argument("--rate", type=float, default=20.0, help="steps a second, at most")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    version = measuring.tensorflow_version()
    name = "{}_{}w".format(measuring.output_name(options.output, "soak", version), options.workers)
    with tempfile.TemporaryDirectory() as folder, open(name + ".txt", "w", buffering=1) as file:
        samples, steps = soak(options, folder, lambda line: print(line, file=file))
    grown = {role: Growth([s for s in some if s[0] >= options.warm_up])
             for role, some in samples.items()}
    title = "TensorFlow {}, Python {}.{}, {} workers, {:g} minutes".format(
        version, sys.version_info[0], sys.version_info[1], options.workers, options.minutes)
    measuring.write(name, report(grown, title, steps), picture(samples, title))
    return int(any(one.faults for one in grown.values()))


if __name__ == "__main__":
    sys.exit(main())
