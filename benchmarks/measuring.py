# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: child processes, ratios within rounds, Markdown tables, pictures.

Compared are things that are measured in turns, round by round; a ratio is the median of the ratios
within a round, so that what else the machine does meanwhile weighs on both sides.
"""

import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def start(arguments, stdin=None, program=sys.executable, **extra):
    """Start Python, or another program, with `arguments` and the repository on Python's path.

    Args:
      extra: variables of its environment.
    """
    environment = dict(os.environ, PYTHONPATH=ROOT, TF_CPP_MIN_LOG_LEVEL="2",
                       PYTHONWARNINGS="ignore", CUDA_VISIBLE_DEVICES="", **extra)
    return subprocess.Popen([program] + arguments, stdin=stdin, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env=environment)


def virtual_devices(count):
    """Environment of a process that is the only worker and has `count` virtual CPU devices."""
    return {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_GPU_PER_WORKER": str(count),
            "EPL_DEVICE_TYPE": "cpu"}


def answer(script, settings, **extra):
    """Run `script` with `settings` as JSON and return the object that it prints last."""
    process = start([os.path.join(HERE, script), json.dumps(settings)], **extra)
    output = process.communicate()[0].decode()
    if process.returncode:
        raise SystemExit("{} {} failed:\n{}".format(script, settings, output[-3000:]))
    return json.loads(output.strip().splitlines()[-1])


class Stepper:
    """A child process that has built its graph and runs training steps when it is asked to.

    Many short blocks of steps of several such processes can take turns: while one runs, the others
    wait for their next line of input.
    """

    def __init__(self, script, settings, **extra):
        self._what = "{} {}".format(script, settings)
        self._process = start([os.path.join(HERE, script), json.dumps(settings)],
                              stdin=subprocess.PIPE, **extra)
        self._read("READY")

    def ask(self, steps):
        """Let the process begin a block of steps."""
        self._process.stdin.write("{}\n".format(steps).encode())
        self._process.stdin.flush()

    def seconds(self):
        """Wait for the block; the seconds that it took."""
        return float(self._read("SECONDS"))

    def block(self, steps):
        """Seconds of a block of steps."""
        self.ask(steps)
        return self.seconds()

    def close(self):
        self._process.stdin.close()
        self._process.stdout.read()
        self._process.wait()

    def kill(self):
        """End the process in the middle of a block."""
        self._process.kill()
        self._process.communicate()

    def _read(self, word):
        lines = []
        for line in iter(self._process.stdout.readline, b""):
            lines.append(line.decode())
            if lines[-1].startswith(word):
                return lines[-1][len(word):]
        raise SystemExit("{} ended:\n{}".format(self._what, "".join(lines)[-3000:]))


def put(path, value):
    """Write a file that is whole from the beginning."""
    with open(path + ".new", "w") as file:
        json.dump(value, file)
    os.rename(path + ".new", path)


def take(path):
    """What `put` has written there, however long that takes."""
    while not os.path.exists(path):
        time.sleep(0.02)
    with open(path) as file:
        return json.load(file)


def tensorflow_version():
    """The version of TensorFlow that children run."""
    output = subprocess.check_output(
        [sys.executable, "-c", "import tensorflow as tf; print(tf.__version__)"],
        stderr=subprocess.DEVNULL, env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    return output.decode().strip()


def median_ratio(above, below):
    """The median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(above, below))


def table(header, rows):
    """A Markdown table; cells are texts."""
    lines = [header, ["---"] * len(header)] + rows
    return "\n".join("| {} |".format(" | ".join(line)) for line in lines)


def pyplot():
    """Matplotlib without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as module

    return module


def bars(axis, values, colors):
    """A bar per entry of `values` (label -> one number per round), with the rounds as dots."""
    labels = list(values)
    axis.bar(labels, [statistics.median(values[label]) for label in labels], color=colors)
    for position, label in enumerate(labels):
        axis.plot([position] * len(values[label]), values[label], "k.", markersize=4)


def output_name(folder, stem, version):
    """Where results go, without extension: `<folder>/<stem>_tf<major version>`."""
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, "{}_tf{}".format(stem, version.split(".")[0]))


def add_output_option(parser):
    parser.add_argument("--output", default=os.path.join(ROOT, "docs", "benchmarks"),
                        help="folder for the table and the picture")


def write(name, sections, figure):
    """Write and print a report: `sections` are texts, `figure` is Matplotlib's."""
    text = "\n\n".join(sections)
    with open(name + ".md", "w") as file:
        file.write(text + "\n")
    figure.tight_layout()
    figure.savefig(name + ".png", dpi=100)
    print(text)
