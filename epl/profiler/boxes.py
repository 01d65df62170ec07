# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Events of a step as boxes: what every device did when.

    stage 1   .  F0 B0 ..             of F0's operations some may be ready long before the
              |  |                    others (a dropout mask, a shape): they make a piece of
              |  second piece         their own, and the waiting between is no part of the box
              first piece

A cell is busy while one of its operations runs, or could run and waits for a thread. A box consists
of the pieces of time in which its cell is busy.
"""

from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from epl.plan.schedule import BACKWARD, FORWARD
from epl.profiler.cells import CellMap
from epl.profiler.events import RAN, Event
from epl.rewrite.order import Cell

Interval = Tuple[int, int]  # (start, end) in nanoseconds

_CONSTANT = "Const"


class Box(NamedTuple):
    """A cell on a device, or the update that follows the last cell of a device.

    Attributes:
      device: as in `Event.device`.
      cell: the cell, or None for the update.
      pieces: when it was busy; in order, at least one, none touching the next.
    """

    device: str
    cell: Optional[Cell]
    pieces: Tuple[Interval, ...]

    @property
    def start(self) -> int:
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        return self.pieces[-1][1]

    @property
    def main(self) -> Interval:
        """The longest piece."""
        return max(self.pieces, key=lambda piece: piece[1] - piece[0])

    @property
    def busy(self) -> int:
        """Nanoseconds."""
        return total(self.pieces)

    @property
    def label(self) -> str:
        """F0 for the forward of micro-batch 0, B0 for its backward, "update"."""
        if self.cell is None:
            return "update"
        return "{}{}".format("F" if self.cell.phase == FORWARD else "B", self.cell.micro_batch)


def make_boxes(events: Iterable[Event], cell_map: CellMap) -> List[Box]:
    """The boxes of a step.

    An operation counts only on a device of its cell's stage: rows that are gathered on the device
    of an embedding table are not work of the stage that uses them. A constant counts only behind
    other work of its cell: TensorFlow's graph optimizer leaves constants where it has computed
    something beforehand, and they are there when the step begins.

    Args:
      events: of the step.
      cell_map: the step's cells.

    Returns:
      Boxes in the order in which their longest pieces start.
    """
    done = [event for event in events if event.kind == RAN]
    homes = _homes(cell_map, done)
    work: Dict[Tuple[str, Cell], List[Event]] = {}
    rest: Dict[str, List[Event]] = {}
    for event in done:
        cell = cell_map.find(event.name)
        if cell is None:
            rest.setdefault(event.device, []).append(event)
        elif event.device in homes[cell.replica, cell.stage]:
            work.setdefault((event.device, cell), []).append(event)
    boxes = []
    for (device, cell), found in work.items():
        busy = union(_busy(found))
        if busy:
            boxes.append(Box(device, cell, busy))
    for device in {box.device for box in boxes}:
        last = max(box.end for box in boxes if box.device == device and box.cell is not None)
        after = union((max(e.ready, last), e.end) for e in rest.get(device, [])
                      if e.end > last)
        if after:
            boxes.append(Box(device, None, after))
    return sorted(boxes, key=lambda box: (box.main, box.device))


def _busy(events: Sequence[Event]) -> List[Interval]:
    """When the events of a cell kept it busy."""
    first = min((e.ready for e in events if e.type != _CONSTANT), default=None)
    return [(e.ready, e.end) for e in events if first is not None and e.ready >= first]


def computes_gradients(events: Iterable[Event], cell_map: CellMap) -> bool:
    """True if something of a backward pass of these cells is among `events`."""
    cells = (cell_map.find(event.name) for event in events)
    return any(cell is not None and cell.phase == BACKWARD for cell in cells)


def union(intervals: Iterable[Interval]) -> Tuple[Interval, ...]:
    """The time that the intervals cover together: in order, none touching the next."""
    found: List[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def total(intervals: Sequence[Interval]) -> int:
    """The length of intervals that do not overlap."""
    return sum(end - start for start, end in intervals)


def _homes(cell_map: CellMap,
           events: Sequence[Event]) -> Dict[Tuple[int, int], Tuple[str, ...]]:
    """The devices of every stage; where TensorFlow chose, the first accelerator that worked."""
    used = sorted({event.device for event in events}, key=lambda d: (d.startswith("CPU:"), d))
    return {place: devices or tuple(used[:1]) for place, devices in cell_map.devices.items()}
