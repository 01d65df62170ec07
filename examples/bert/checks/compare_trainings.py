# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare trainings that should be the same: their losses step by step, and their answers' F1.

    python examples/bert/checks/compare_trainings.py --steps 50 --loss 1e-3 --f1 1 --dev dev.json \\
        --picture curves.png plain=OUTPUT_DIR dp=LOG_DIR/0 pipe=LOG_DIR/0

Every NAME=DIRECTORY is the output directory of a run, with its summaries and `predictions.json`;
the first is what the others are compared with, and losses differ relative to its own.
Exit code 0 means that no loss of the first `--steps` steps differs by more than `--loss`, and no
F1, in percent, by more than `--f1`. Without dropout losses may differ by rounding alone, which
training amplifies; with dropout every layout draws its own noise, so leave `--loss` out.
`train_three_ways.sh` makes such runs.
"""

import argparse
import json
import os
import subprocess
import sys
from importlib import import_module
from typing import Any, Dict, List, NamedTuple

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..")))

import numpy as np
import tensorflow.compat.v1 as tf

from examples.bert import summaries
from examples.bert.errors import UserError, exit_code

tf.logging.set_verbosity(tf.logging.ERROR)

_EVALUATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "evaluate-v1.1.py")
_COLORS = ("#222222", "#2f6fb3", "#d9822b", "#4f9d5d", "#9b59b6")


class Training(NamedTuple):
    """What a run left.

    Attributes:
      name: of the run.
      losses: float64 [steps].
      exact_match: of its answers, in percent.
      f1: the same.
    """

    name: str
    losses: Any
    exact_match: float
    f1: float


def training(named: str, dev: str) -> Training:
    """Read a run, given as NAME=DIRECTORY."""
    name, _, directory = named.partition("=")
    if not directory:
        raise UserError("'{}' is not NAME=DIRECTORY".format(named))
    losses = summaries.read_losses(directory)
    if list(losses) != list(range(1, len(losses) + 1)) or not losses:
        raise UserError("'{}' has no summaries of all steps of a training; give the output "
                        "directory of its chief".format(directory))
    answers = os.path.join(directory, "predictions.json")
    if not os.path.exists(answers):
        raise UserError("'{}' does not exist; the run has not answered questions".format(answers))
    scores = json.loads(subprocess.check_output(
        [sys.executable, _EVALUATE, dev, answers]).decode())
    return Training(name, np.array(list(losses.values()), np.float64), scores["exact_match"],
                    scores["f1"])


def differences(expected: Training, found: Training) -> Any:
    """Of the losses, step by step, relative to the expected ones."""
    if len(expected.losses) != len(found.losses):
        raise UserError("'{}' has {} steps, '{}' has {}: these are different trainings".format(
            expected.name, len(expected.losses), found.name, len(found.losses)))
    return np.abs(found.losses / expected.losses - 1)


def table(trainings: List[Training], steps: int) -> str:
    """What is compared, in Markdown."""
    lines = ["| | steps | loss, step {} | largest difference, {} steps | all steps | mean loss of "
             "last {} | exact match | F1 |".format(steps, steps, steps), "| --- " * 8 + "|"]
    for run in trainings:
        relative = differences(trainings[0], run)
        largest = ["{:.1e}".format(part.max()) if run is not trainings[0] else ""
                   for part in (relative[:steps], relative)]
        lines.append("| {} | {} | {:.4f} | {} | {} | {:.4f} | {:.2f} | {:.2f} |".format(
            run.name, len(run.losses), run.losses[:steps][-1], largest[0], largest[1],
            run.losses[-steps:].mean(), run.exact_match, run.f1))
    return "\n".join(lines)


def draw(trainings: List[Training], path: str) -> None:
    """The losses on each other, and below how far they lie apart."""
    figure = import_module("matplotlib.figure").Figure((9.0, 7.0), dpi=100)
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    losses, apart = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    for number, run in enumerate(trainings):
        steps = np.arange(1, len(run.losses) + 1)
        color = _COLORS[number % len(_COLORS)]
        # Later curves are thinner, so that those below them show at their sides.
        losses.plot(steps, run.losses, color=color, label=run.name,
                    linewidth=max(0.7, 3.0 - 1.1 * number))
        if number:
            apart.semilogy(steps, np.maximum(differences(trainings[0], run), 1e-8), color=color,
                           linewidth=0.9, label="{} to {}".format(run.name, trainings[0].name))
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0.0)
    apart.set_ylabel("relative difference")
    apart.set_xlabel("step")
    for axes in (losses, apart):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, format="png")


def failures(trainings: List[Training], steps: int, bounds: Dict[str, float]) -> List[str]:
    """What is further apart than it may be."""
    expected, found = trainings[0], []
    for run in trainings[1:]:
        apart = {"loss": float(differences(expected, run)[:steps].max()),
                 "f1": abs(run.f1 - expected.f1)}
        found += ["{}: {} differs by {:.2g}, at most {:g} is allowed".format(
            run.name, what, apart[what], bound)
                  for what, bound in bounds.items() if apart[what] > bound]
    return found


def main() -> None:
    """Compare as the command line says; ends the program with 1 if the trainings differ."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIRECTORY")
    parser.add_argument("--dev", required=True, help="the questions, in SQuAD 1.1 format")
    parser.add_argument("--steps", type=int, default=50, help="whose losses count (default 50)")
    parser.add_argument("--loss", type=float, default=float("inf"),
                        help="largest relative difference (default: any)")
    parser.add_argument("--f1", type=float, default=1.0, help="largest difference (default 1)")
    parser.add_argument("--picture", help="draw the curves into this PNG file")
    flags = parser.parse_args()
    if len(flags.runs) < 2 or flags.steps < 1:
        parser.error("give at least two runs and one step to compare")
    trainings = [training(named, flags.dev) for named in flags.runs]
    print(table(trainings, flags.steps))
    if flags.picture:
        draw(trainings, flags.picture)
    wrong = failures(trainings, flags.steps, {"loss": flags.loss, "f1": flags.f1})
    print("\n".join(wrong) if wrong else "the same, within the bounds")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(exit_code(main))
