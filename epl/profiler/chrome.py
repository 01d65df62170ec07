# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step in the trace event format of Chrome, for chrome://tracing and https://ui.perfetto.dev.

    process CPU:1    actions         |-- F0 ----------------|-- B0 ------- ...
                                      |MatMul||Relu||MatMul|  |MatMul|
                     operations           |MatMul|                            what runs beside
                     copies, launches                                         GPUs only

A device is a process, a row a thread. In a row slices follow each other or lie within each other,
as the format wants it; its times are microseconds.
"""

from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from epl.plan.action import Action, Span
from epl.profiler.action_map import ActionMap
from epl.profiler.events import COPIED, LAUNCHED, RAN, Event

_TITLES = {RAN: "operations", COPIED: "copies", LAUNCHED: "launches by the host"}
_CLOCK_NS = 1000  # an operation may seem ready a little before the end of what it waits for


class _Row:
    """Slices one after the other."""

    def __init__(self, start: int = 0, end: Optional[int] = None):
        self.slices: List[Tuple[int, int, Dict[str, Any]]] = []
        self._last = start
        self._end = end

    def take(self, start: int, end: int, what: Dict[str, Any]) -> bool:
        """Add a slice; False if there is no room for it."""
        if start + _CLOCK_NS < self._last or (self._end is not None and end > self._end):
            return False
        start = max(start, self._last)
        self._last = max(start, end)
        self.slices.append((start, self._last, what))
        return True


class _Rows:
    """As many rows as it takes."""

    def __init__(self) -> None:
        self.rows: List[_Row] = []

    def take(self, start: int, end: int, what: Dict[str, Any]) -> _Row:
        """Add a slice to the first row with room for it. Returns the row."""
        for row in self.rows:
            if row.take(start, end, what):
                return row
        self.rows.append(_Row())
        self.rows[-1].take(start, end, what)
        return self.rows[-1]


def chrome_trace(events: Sequence[Event], spans: Sequence[Span], action_map: ActionMap,
                 about: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """The trace as JSON's own types.

    Args:
      events: of a step, in the order in which they started.
      spans: of the same step.
      action_map: its actions.
      about: further facts, kept with the trace.
    """
    found: List[Dict[str, Any]] = []
    devices = sorted({event.device for event in events}, key=_accelerators_first)
    for process, device in enumerate(devices):
        found += _metadata("process", process, 0, device, process)
        rows = _rows([event for event in events if event.device == device],
                     [span for span in spans if span.device == device], action_map)
        for thread, (title, row) in enumerate(rows):
            found += _metadata("thread", process, thread, title, thread)
            found += [dict(what, ph="X", pid=process, tid=thread, ts=start / 1000.0,
                           dur=(end - start) / 1000.0) for start, end, what in row.slices]
    return {"traceEvents": found, "displayTimeUnit": "ms", "otherData": dict(about or {})}


def _rows(events: Iterable[Event], spans: Iterable[Span],
          action_map: ActionMap) -> List[Tuple[str, _Row]]:
    """The rows of one device with their titles."""
    actions = _Rows()
    pieces: Dict[Optional[Action], List[Tuple[_Row, _Row]]] = {}
    for span in spans:
        for start, end in span.pieces:
            row = actions.take(start, end, _slice_of_span(span))
            pieces.setdefault(span.action, []).append((row, _Row(row.slices[-1][0], end)))
    beside = {kind: _Rows() for kind in _TITLES}
    for event in events:
        action = action_map.find(event.name)
        what = _slice_of_event(event, action)
        inner = pieces.get(action, []) if action is not None and event.kind == RAN else []
        if not any(row.take(event.start, event.end, what) for _, row in inner):
            beside[event.kind].take(event.start, event.end, what)
    for found in pieces.values():
        for row, inside in found:
            row.slices.extend(inside.slices)
    return ([("actions", row) for row in actions.rows]
            + [(title, row) for kind, title in _TITLES.items() for row in beside[kind].rows])


def _slice_of_span(span: Span) -> Dict[str, Any]:
    args: Dict[str, Any] = {"busy_ms": span.busy / 1e6}
    if span.action is not None:
        args.update(span.action._asdict())
    return {"name": span.label, "cat": "action" if span.action else "update", "args": args}


def _slice_of_event(event: Event, action: Optional[Action]) -> Dict[str, Any]:
    args: Dict[str, Any] = {"op": event.name, "waited_us": (event.start - event.ready) / 1000.0}
    if action is not None:
        args["action"] = action.path
    return {"name": event.type or event.name, "cat": "operation", "args": args}


def _metadata(what: str, process: int, thread: int, name: str, index: int) -> List[Dict[str, Any]]:
    """Name and position of a process or a thread."""
    place = {"ph": "M", "pid": process, "tid": thread}
    return [dict(place, name=what + "_name", args={"name": name}),
            dict(place, name=what + "_sort_index", args={"sort_index": index})]


def _accelerators_first(device: str) -> Tuple[bool, str, int]:
    kind, _, number = device.partition(":")
    return kind == "CPU", kind, int(number)
