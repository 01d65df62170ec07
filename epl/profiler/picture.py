# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A timeline as a picture: what was measured, and below it the plan in the same time.

matplotlib's own figure is used, not pyplot: the script's pyplot state and backend stay as they are.
matplotlib is looked up when a picture is drawn, as nothing else needs it.
"""

from importlib import import_module
from typing import Any, List, Sequence, Tuple, Union

from epl.plan.action import KINDS, Span
from epl.profiler.bubble import percent
from epl.profiler.timeline import Timeline

_UPDATE_COLOUR = "#4f9a58"
_WIDTH_INCHES = 12.0
_GAP_INCHES = 0.02  # a narrower gap is not drawn
_POINTS_PER_INCH = 72
_SMALLEST_POINTS = 5.5
_MS = 1e6


def draw_timeline(timeline: Timeline, path: str) -> None:
    """Write the picture of a timeline as PNG.

    Args:
      timeline: what to draw; one with spans.
      path: of the file.
    """
    devices = sorted({span.device for span in timeline.spans},
                     key=lambda d: _place(timeline, d) + (d,))
    bubble, plan = timeline.bubble, timeline.plan
    simulation = bubble.simulation.devices
    rows = len(devices) + len(simulation)
    size = (_WIDTH_INCHES, 2.0 + 0.62 * rows)
    figure = import_module("matplotlib.figure").Figure(size, dpi=100)
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    measured, planned = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [len(devices), len(simulation)]})
    start = min(span.start for span in timeline.spans)
    end = max(span.end for span in timeline.spans)
    _panel(measured, [_row_name(timeline, device) for device in devices],
           [[span for span in timeline.spans if span.device == device] for device in devices],
           0, end)
    _panel(planned, ["plan\nstage {}".format(_stages(own)) for own in simulation], simulation,
           bubble.window[0], end)
    planned.set_xlabel("time in ms")
    planned.set_xlim((start - 0.005 * end) / _MS, end * 1.005 / _MS)
    figure.suptitle(
        "step {}: bubble {} measured, {} planned with the measured times, {} with equal times"
        .format(timeline.step, percent(bubble.measured), percent(bubble.planned),
                percent(bubble.equal_times)), fontsize=12)
    measured.set_title("{} stage(s), {} micro-batch(es), schedule {}".format(
        plan.num_stages, plan.num_micro_batch, plan.schedule), fontsize=10, color="#444444")
    patch = import_module("matplotlib.patches").Patch
    handles = [patch(color=KINDS[kind].colours[0], label=KINDS[kind].title) for kind in plan.kinds]
    handles.append(patch(color=_UPDATE_COLOUR, label="update"))
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.05, 1, 1.0))
    figure.savefig(path, format="png")


def _panel(axes: Any, names: Sequence[str], rows: Sequence[Sequence[Span]], origin: float,
           end: float) -> None:
    """Draw rows of spans, whose times count from `origin`, in a picture that reaches to `end`."""
    inches = 0.85 * _WIDTH_INCHES / (end / _MS)  # per millisecond, about
    for number, row in enumerate(rows):
        for span in row:
            _draw_span(axes, number, span, origin, inches)
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels(names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_span(axes: Any, row: int, span: Span, origin: float, inches: float) -> None:
    """Draw a span; `inches` is the length of a millisecond."""
    odd = span.action is not None and span.action.micro_batch % 2
    colour = _UPDATE_COLOUR if span.action is None else KINDS[span.action.kind].colours[odd]
    pieces = _visible([(float(origin + start) / _MS, float(origin + end) / _MS)
                       for start, end in span.pieces], _GAP_INCHES / inches)
    axes.broken_barh([(start, end - start) for start, end in pieces], (row - 0.4, 0.8),
                     facecolors=colour, edgecolors="white", linewidth=0.4)
    start, end = max(pieces, key=lambda piece: piece[1] - piece[0])
    size = min(8.0, (end - start) * inches * _POINTS_PER_INCH / (0.65 * len(span.label)))
    if size >= _SMALLEST_POINTS:
        axes.text((start + end) / 2, row, span.label, ha="center", va="center", fontsize=size,
                  color="black" if odd else "white")


def _visible(pieces: Sequence[Tuple[float, float]], gap: float) -> List[Tuple[float, float]]:
    """The pieces, joined where less than `gap` is between them."""
    joined = [pieces[0]]
    for start, end in pieces[1:]:
        if start - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _stages(spans: Sequence[Span]) -> str:
    """The stages of a device."""
    return ", ".join(map(str, sorted({span.action.stage for span in spans if span.action})))


def _place(timeline: Timeline, device: Union[int, str]) -> Tuple[int, int]:
    """(replica, first stage) of a device."""
    return min((span.action.replica, span.action.stage) for span in timeline.spans
               if span.device == device and span.action is not None)


def _row_name(timeline: Timeline, device: Union[int, str]) -> str:
    replica, _ = _place(timeline, device)
    name = "{}\nstage {}".format(device, _stages(
        [span for span in timeline.spans if span.device == device]))
    return name + " of replica {}".format(replica) if timeline.plan.num_replicas > 1 else name
