# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A timeline as files: the trace for Chrome, and the picture."""

import json
import os
import tempfile
from importlib.util import find_spec
from typing import Any, NamedTuple

from epl.errors import ConfigError
from epl.profiler.chrome import chrome_trace
from epl.profiler.picture import draw_timeline
from epl.profiler.timeline import Timeline


class Files(NamedTuple):
    """Where a timeline was written; `picture` is "" without one."""

    trace: str
    picture: str


def write_timeline(timeline: Timeline, output_dir: str, picture: bool = True) -> Files:
    """Write `timeline_<step>.json` and `timeline_<step>.png`.

    Args:
      timeline: of one step.
      output_dir: an existing directory.
      picture: write the picture too.

    Returns:
      The paths.
    """
    base = os.path.join(output_dir, "timeline_{}".format(timeline.step))
    about = {"summary": timeline.describe().split("\n"), "gradients": timeline.action_map.group,
             "bubble_measured": timeline.bubble.measured,
             "bubble_planned": timeline.bubble.planned,
             "bubble_equal_times": timeline.bubble.equal_times}
    trace = chrome_trace(timeline.events, timeline.spans, timeline.action_map, about)
    with open(base + ".json", "w", encoding="utf-8") as file:
        json.dump(trace, file)
    if picture:
        draw_timeline(timeline, base + ".png")
    return Files(base + ".json", base + ".png" if picture else "")


def check_output(output_dir: Any, picture: bool) -> None:
    """Make `output_dir`, and see that files can be written there.

    Raises:
      ConfigError: they cannot; the message says why and what to do.
      ImportError: `picture` without matplotlib.
    """
    try:
        os.makedirs(output_dir, exist_ok=True)
        tempfile.TemporaryFile(dir=output_dir).close()
    except (OSError, TypeError) as error:
        raise ConfigError("output_dir = {!r}: nothing can be written there ({}); give a "
                          "local directory that the chief may write to".format(
                              output_dir, error)) from None
    if picture and find_spec("matplotlib") is None:
        raise ImportError("the picture of a timeline needs matplotlib, which is not installed: "
                          "pip install matplotlib, or pass picture=False and open the JSON in "
                          "https://ui.perfetto.dev")
