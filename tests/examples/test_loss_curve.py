# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The picture of the loss."""

import sys
from importlib import import_module

import numpy as np
import pytest

from examples.bert import loss_curve


@pytest.mark.parametrize("steps", [1, 2, 200])
def test_the_picture_shows_the_losses(tmp_path, steps):
    path = str(tmp_path / "loss_curve.png")
    loss_curve.draw({step: 5.0 / step for step in range(1, steps + 1)}, path)
    pixels = import_module("matplotlib.image").imread(path)
    assert pixels.shape[:2] == (450, 800)
    red, green, blue = [pixels[..., channel] for channel in range(3)]
    assert np.sum((blue > 0.6) & (red < 0.5)) > 20  # the losses
    assert (np.sum((red > 0.8) & (blue < 0.25)) > 100) == (steps == 200)  # their mean


def test_matplotlib_is_not_needed(monkeypatch):
    assert loss_curve.can_draw()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not loss_curve.can_draw()
