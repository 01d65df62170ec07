# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The picture of a training: its loss over its steps.

matplotlib is looked up when a picture is drawn, as nothing else needs it.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Dict

import numpy as np

_SMOOTHED_PART = 20  # the mean is taken over one in so many of the steps


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(losses: Dict[int, float], path: str) -> None:
    """Write the curve as PNG.

    Args:
      losses: step -> loss, in order, at least one.
      path: of the file.
    """
    figure = import_module("matplotlib.figure").Figure((8.0, 4.5), dpi=100)
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    axes = figure.subplots()
    steps, values = np.array(list(losses)), np.array(list(losses.values()))
    width = len(values) // _SMOOTHED_PART
    marker = "o" if len(values) == 1 else None
    axes.plot(steps, values, color="#6ea6dc" if width > 1 else "#2f6fb3", marker=marker,
              linewidth=1.0, label="loss of each step")
    if width > 1:
        axes.plot(steps[width - 1:], _means(values, width), color="#d9822b", linewidth=1.8,
                  label="mean of the last {} steps".format(width))
    axes.xaxis.set_major_locator(import_module("matplotlib.ticker").MaxNLocator(integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, format="png")


def _means(values: Any, width: int) -> Any:
    """The mean of every `width` values that follow each other."""
    return np.convolve(values, np.full([width], 1.0 / width), "valid")
