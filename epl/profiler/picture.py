# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A timeline as a picture: what was measured, and below it the plan in the same time.

matplotlib's own figure is used, not pyplot: the script's pyplot state and backend stay as they are.
matplotlib is looked up when a picture is drawn, as nothing else needs it.
"""

from importlib import import_module
from typing import Any, List, NamedTuple, Sequence, Tuple

from epl.plan.schedule import BACKWARD, FORWARD
from epl.profiler.boxes import Box
from epl.profiler.bubble import percent
from epl.profiler.timeline import Timeline

_UPDATE = "update"
_COLOURS = {FORWARD: ("#2f6fb3", "#6ea6dc"), BACKWARD: ("#d9822b", "#f3b36b"),
            _UPDATE: ("#4f9a58", "#4f9a58")}  # even, odd micro-batches
_WIDTH_INCHES = 12.0
_GAP_INCHES = 0.02  # a narrower gap is not drawn
_POINTS_PER_INCH = 72
_SMALLEST_POINTS = 5.5
_MS = 1e6


class _Bar(NamedTuple):
    """A box of the picture; times in milliseconds."""

    row: int
    kind: str
    number: int
    label: str
    pieces: Sequence[Tuple[float, float]]


def draw_timeline(timeline: Timeline, path: str) -> None:
    """Write the picture of a timeline as PNG.

    Args:
      timeline: what to draw; one with boxes.
      path: of the file.
    """
    devices = sorted({box.device for box in timeline.boxes},
                     key=lambda d: _place(timeline, d) + (d,))
    num_stages = timeline.plan.num_stages
    rows = len(devices) + num_stages
    size = (_WIDTH_INCHES, 2.0 + 0.62 * rows)
    figure = import_module("matplotlib.figure").Figure(size, dpi=100)
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    measured, planned = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [len(devices), num_stages]})
    span = max(box.end for box in timeline.boxes) / _MS
    start = min(box.start for box in timeline.boxes) / _MS
    _panel(measured, [_row_name(timeline, device) for device in devices],
           _measured_bars(timeline.boxes, devices), span)
    _panel(planned, ["plan\nstage {}".format(stage) for stage in range(num_stages)],
           _planned_bars(timeline), span)
    planned.set_xlabel("time in ms")
    planned.set_xlim(start - 0.005 * span, span * 1.005)
    bubble, plan = timeline.bubble, timeline.plan
    figure.suptitle(
        "step {}: bubble {} measured, {} planned with the measured times, {} with equal times"
        .format(timeline.step, percent(bubble.measured), percent(bubble.planned),
                percent(bubble.equal_times)), fontsize=12)
    measured.set_title("{} stage(s), {} micro-batch(es), schedule {}".format(
        num_stages, plan.num_micro_batch, plan.schedule), fontsize=10, color="#444444")
    patch = import_module("matplotlib.patches").Patch
    figure.legend(handles=[patch(color=_COLOURS[kind][0], label=kind) for kind in _COLOURS],
                  loc="lower center", ncol=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.05, 1, 1.0))
    figure.savefig(path, format="png")


def _measured_bars(boxes: Sequence[Box], devices: List[str]) -> List[_Bar]:
    return [_Bar(devices.index(box.device), box.cell.phase if box.cell else _UPDATE,
                 box.cell.micro_batch if box.cell else 0, box.label,
                 [(start / _MS, end / _MS) for start, end in box.pieces]) for box in boxes]


def _planned_bars(timeline: Timeline) -> List[_Bar]:
    """The simulation, starting where the measured pipeline starts."""
    origin = timeline.bubble.window[0]
    return [_Bar(span.stage, span.phase, span.micro_batch,
                 "{}{}".format("F" if span.phase == FORWARD else "B", span.micro_batch),
                 [(float(origin + span.start) / _MS, float(origin + span.end) / _MS)])
            for span in timeline.bubble.simulation.spans]


def _panel(axes: Any, names: Sequence[str], bars: Sequence[_Bar], span: float) -> None:
    inches = 0.85 * _WIDTH_INCHES / span  # per millisecond, about
    for bar in bars:
        colour = _COLOURS[bar.kind][bar.number % 2]
        pieces = _visible(bar.pieces, _GAP_INCHES / inches)
        axes.broken_barh([(start, end - start) for start, end in pieces], (bar.row - 0.4, 0.8),
                         facecolors=colour, edgecolors="white", linewidth=0.4)
        start, end = max(pieces, key=lambda piece: piece[1] - piece[0])
        size = min(8.0, (end - start) * inches * _POINTS_PER_INCH / (0.65 * len(bar.label)))
        if size >= _SMALLEST_POINTS:
            axes.text((start + end) / 2, bar.row, bar.label, ha="center", va="center",
                      fontsize=size, color="white" if bar.number % 2 == 0 else "black")
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels(names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _visible(pieces: Sequence[Tuple[float, float]], gap: float) -> List[Tuple[float, float]]:
    """The pieces, joined where less than `gap` is between them."""
    joined = [pieces[0]]
    for start, end in pieces[1:]:
        if start - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _place(timeline: Timeline, device: str) -> Tuple[int, int]:
    """(replica, stage) of a device."""
    return min((box.cell.replica, box.cell.stage) for box in timeline.boxes
               if box.device == device and box.cell is not None)


def _row_name(timeline: Timeline, device: str) -> str:
    replica, stage = _place(timeline, device)
    name = "{}\nstage {}".format(device, stage)
    return name + " of replica {}".format(replica) if timeline.plan.num_replicas > 1 else name
