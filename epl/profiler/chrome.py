# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step in the trace event format of Chrome, for chrome://tracing and https://ui.perfetto.dev.

    process CPU:1    cells           |-- F0 ----------------|-- B0 ------- ...
                                      |MatMul||Relu||MatMul|  |MatMul|
                     operations 1         |MatMul|                            what runs beside
                     copies, launches                                         (GPUs)

A device is a process, a row a thread. In a row events follow each other or lie within each other,
as the format wants it (Trace Event Format, "Duration Events"); its times are microseconds.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from epl.profiler.boxes import Box
from epl.profiler.cells import CellMap
from epl.profiler.events import COPIED, LAUNCHED, RAN, Event

_TITLES = {RAN: "operations", LAUNCHED: "launches by the host", COPIED: "copies"}


class _Row(NamedTuple):
    """A row of a device: what it is called, and [(start, end, event of the format)]."""

    title: str
    items: List[Tuple[int, int, Dict[str, Any]]]


def chrome_trace(events: Sequence[Event], boxes: Sequence[Box], cell_map: CellMap,
                 about: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """The trace as JSON's own types.

    Args:
      events: of a step.
      boxes: of the same step.
      cell_map: its cells.
      about: further facts, to be shown with the trace.
    """
    found: List[Dict[str, Any]] = []
    devices = sorted({event.device for event in events}, key=_number)
    for process, device in enumerate(devices):
        found.append(_named("process_name", process, 0, device))
        found.append(_order("process_sort_index", process, 0, process))
        rows = _rows([event for event in events if event.device == device],
                     [box for box in boxes if box.device == device], cell_map)
        for thread, row in enumerate(rows):
            found.append(_named("thread_name", process, thread, row.title))
            found.append(_order("thread_sort_index", process, thread, thread))
            for start, end, item in row.items:
                found.append(dict(item, ph="X", pid=process, tid=thread, ts=start / 1000.0,
                                  dur=(end - start) / 1000.0))
    return {"traceEvents": found, "displayTimeUnit": "ms", "otherData": dict(about or {})}


def _rows(events: Sequence[Event], boxes: Iterable[Box], cell_map: CellMap) -> List[_Row]:
    """The rows of one device."""
    rows: List[_Row] = []
    home: Dict[Any, Tuple[int, Box]] = {}  # cell -> its row and its box
    for box in boxes:
        number = _first_free(rows, box.start)
        if number == len(rows):
            rows.append(_Row("cells", []))
        rows[number].items.append((box.start, box.end, _box_item(box)))
        if box.cell is not None:
            home[box.cell] = (number, box)
    free = [0] * len(rows)  # per row of cells, when its last operation ends
    beside: Dict[str, List[_Row]] = {kind: [] for kind in _TITLES}
    for event in events:
        cell = cell_map.find(event.name)
        item = (event.start, event.end, _event_item(event, cell))
        if event.kind == RAN and cell in home:
            number, box = home[cell]
            within = max(free[number], box.start) <= event.start and event.end <= box.end
            if within:  # a constant may lie outside
                rows[number].items.append(item)
                free[number] = event.end
                continue
        others = beside[event.kind]
        number = _first_free(others, event.start)
        if number == len(others):
            others.append(_Row("{} {}".format(_TITLES[event.kind], number + 1), []))
        others[number].items.append(item)
    return rows + [row for kind in (RAN, COPIED, LAUNCHED) for row in beside[kind]]


def _first_free(rows: Sequence[_Row], start: int) -> int:
    """The first row whose last item has ended, or the number of rows."""
    return next((i for i, row in enumerate(rows) if row.items[-1][1] <= start), len(rows))


def _box_item(box: Box) -> Dict[str, Any]:
    args = {"busy_ms": box.busy / 1e6, "cell": box.cell.describe() if box.cell else ""}
    if box.cell is not None:
        args.update(replica=box.cell.replica, stage=box.cell.stage, phase=box.cell.phase,
                    micro_batch=box.cell.micro_batch)
    return {"name": box.label, "cat": "cell" if box.cell else "update", "args": args}


def _event_item(event: Event, cell: Any) -> Dict[str, Any]:
    args = {"op": event.name, "waited_us": (event.start - event.ready) / 1000.0}
    if cell is not None:
        args["cell"] = cell.describe()
    return {"name": event.type or event.name, "cat": "operation", "args": args}


def _named(what: str, process: int, thread: int, name: str) -> Dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _order(what: str, process: int, thread: int, index: int) -> Dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"sort_index": index}}


def _number(device: str) -> Tuple[bool, str, int]:
    """Sorts accelerators before CPUs, each kind by number."""
    kind, _, number = device.partition(":")
    return kind == "CPU", kind, int(number)
