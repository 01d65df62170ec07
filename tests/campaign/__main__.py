# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Run random deaths from the command line; see the package."""

import argparse
import contextlib
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, NamedTuple, Optional

from tests.campaign.deaths import KINDS, NO_CULPRIT, VARIABLE
from tests.support import jobs

# (workers, devices of each); the replicas of the last two lie on two workers each
LAYOUTS = {"dp": (2, 1), "pipe": (2, 2), "across2": (2, 1), "across4": (4, 1)}
DEFAULT_LAYOUTS = "dp,pipe"
DEFAULT_KINDS = "exception,exit 3,exit 0,SIGKILL,SIGSEGV,launcher"
STALL_S = 20.0  # far above what a step takes
STEPS = 40
JOB_S = 600.0  # far above what one takes, on a busy machine too
LEFT_S = 1.0
TRAINING = os.path.join(jobs.ROOT, "tests", "campaign", "training.py")


class Found(NamedTuple):
    """What became of one job; see the package. None: does not apply."""

    kind: str
    layout: str
    code: Optional[bool]
    culprit: Optional[bool]
    left: int
    checkpoint: bool
    same: bool
    seconds: Optional[float]
    detail: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/campaign.sh [tf1|tf2]")
    parser.add_argument("--seed", type=int, default=1, help="of the first death (default 1)")
    parser.add_argument("--count", type=int, default=100, help="deaths, with seeds in a row")
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin none after so long")
    parser.add_argument("--kinds", default=DEFAULT_KINDS,
                        help="ways to die, with commas between, of: " + ", ".join(KINDS))
    parser.add_argument("--layouts", default=DEFAULT_LAYOUTS,
                        help="with commas between, of: " + ", ".join(LAYOUTS))
    options = parser.parse_args()
    begun, found = time.monotonic(), []  # type: float, List[Found]
    expected = {layout: undisturbed(layout) for layout in options.layouts.split(",")}
    for seed in range(options.seed, options.seed + options.count):
        if time.monotonic() - begun > options.seconds:
            break
        one = die(seed, options.kinds.split(","), expected)
        found.append(one)
        print("seed {}: {}".format(seed, one), flush=True)
    print(table(found))
    return int(not all(good(one) for one in found))


def undisturbed(layout: str, steps: int = STEPS) -> str:
    """Digest of the variables at the end of a job in which nobody dies."""
    with tempfile.TemporaryDirectory() as directory:
        code, output, _ = run(layout, directory, "first", "", steps)
        assert code == 0, output
        return read(directory, "end")


def die(seed: int, kinds: List[str], expected: Dict[str, str]) -> Found:
    """One job, its death, and the same job again."""
    draw = random.Random(seed)
    kind, layout = draw.choice(kinds), draw.choice(sorted(expected))
    worker, when = draw.randrange(LAYOUTS[layout][0]), draw.uniform(0.02, 0.95)
    with tempfile.TemporaryDirectory() as directory:
        death = "{}:{}:{:.3f}".format(kind, worker, when)
        code, output, end = run(layout, directory, "first", death)
        time.sleep(LEFT_S)
        left = survivors(directory)
        died = read(directory, "died")
        checkpoint = restorable(os.path.join(directory, "model"))
        again, words, _ = run(layout, directory, "again", "")
        same = again == 0 and read(directory, "end") == expected[layout]
    headline = re.search(r"^\+-- epl-launch: (.*)", output, re.M)
    text = headline.group(1) if headline else ""
    return Found(kind, layout, code == KINDS[kind].code,
                 None if kind in NO_CULPRIT else names(output, text, worker),
                 len(left), checkpoint, same, end - float(died) if died else None,
                 "{}: code {}: {}".format(death, code, text) if again == 0 else words[-2000:])


def names(output: str, headline: str, worker: int) -> bool:
    """True if the launcher's last words blame this worker, and no other."""
    blamed = re.search(r"^\|   verdict: (?:the stack of )?worker (\d+) ", output, re.M)
    if headline.startswith("stalled"):
        return blamed is not None and int(blamed.group(1)) == worker
    return headline.startswith("worker {} ".format(worker))


def run(layout: str, directory: str, name: str, death: str, steps: int = STEPS):
    """Run the job; returns exit code, output, and when it ended (monotonic)."""
    workers, devices = LAYOUTS[layout]
    command = [sys.executable, "-m", "epl.launcher", "--num_workers", str(workers),
               "--gpu_per_worker", str(devices), "--log_dir", os.path.join(directory, name)]
    command += ["--stall_timeout", str(STALL_S)] if death.startswith("hang") else []
    command += [TRAINING, layout, str(steps)]
    environment = jobs.environment_for({VARIABLE: death, "EPL_CAMPAIGN_DIRECTORY": directory})
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        with kill_when_asked(process, directory if death.startswith("launcher") else ""):
            try:
                process.wait(JOB_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        end = time.monotonic()
        log.seek(0)
        return process.returncode, log.read().decode("utf-8", "replace"), end


@contextlib.contextmanager
def kill_when_asked(process, directory: str):
    """Kill the launcher as soon as the worker says it is time."""
    while directory and process.poll() is None:
        if os.path.exists(os.path.join(directory, "died")):
            process.kill()
            break
        time.sleep(0.002)
    yield


def survivors(directory: str) -> List[int]:
    """Processes that have the job's directory in their environment; they are ended."""
    word, found = "EPL_CAMPAIGN_DIRECTORY={}".format(directory).encode(), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/{}/environ".format(name), "rb") as file:
            if word in file.read().split(b"\0"):
                found.append(int(name))
                os.kill(int(name), signal.SIGKILL)
    return found


def restorable(directory: str) -> bool:
    """Whether all of the last checkpoint can be read; none yet is no damage."""
    import tensorflow.compat.v1 as tf  # the rest needs none

    path = tf.train.latest_checkpoint(directory)
    if path is None:
        return True
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError) as error:
        print(error)
        return False
    return True


def read(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name)) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def good(one: Found) -> bool:
    return all((one.code, one.culprit is not False, not one.left, one.checkpoint, one.same))


def table(found: List[Found]) -> str:
    """Counts per way to die, as a table of Markdown."""
    lines = ["| death | jobs | exit code | culprit | processes left | restorable | same bits | "
             "seconds, median | worst |", "|" + " --- |" * 9]
    for kind in list(KINDS) + ["all"]:
        own = [one for one in found if kind in (one.kind, "all")]
        if not own:
            continue
        named = [one for one in own if one.culprit is not None]
        times = [one.seconds for one in own if one.seconds is not None] or [float("nan")]
        lines.append("| {} | {} | {} | {} | {} | {} | {} | {:.2f} | {:.2f} |".format(
            kind, len(own), sum(bool(one.code) for one in own),
            "{} of {}".format(sum(bool(one.culprit) for one in named), len(named))
            if named else "-",
            sum(one.left for one in own), sum(one.checkpoint for one in own),
            sum(one.same for one in own), statistics.median(times), max(times)))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
