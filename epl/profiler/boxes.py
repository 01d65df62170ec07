# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Events of a step as boxes: what every device did when.

    could run    .|----|            |...a.......|
    ran          .     |====|=======|    |==b===|......|==c===|
    box          .|#################|    |#######|     |######|

A cell is busy while one of its operations runs. While none of its device's cells has one running,
the operation that starts next counts from when it had all its inputs: it waited for a thread, and
nothing else. Where it had to wait for its inputs, the device was idle. A box consists of the pieces
of time in which its cell was busy; most have one. (What needs nothing of the stage before, such as
a dropout mask, may run early, and is a piece of its own.)
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
    work: Dict[str, List[Tuple[Event, Cell]]] = {}
    rest: Dict[str, List[Event]] = {}
    for event in sorted(done, key=lambda event: event.start):
        cell = cell_map.find(event.name)
        if cell is None:
            rest.setdefault(event.device, []).append(event)
        elif event.device in homes[cell.replica, cell.stage]:
            work.setdefault(event.device, []).append((event, cell))
    boxes: List[Box] = []
    for device, found in work.items():
        cells = _busy(found)
        boxes.extend(Box(device, cell, union(times)) for cell, times in cells.items())
        last = max((end for times in cells.values() for _, end in times), default=0)
        update = union((max(e.ready, last), e.end) for e in rest.get(device, []) if e.end > last)
        if cells and update:
            boxes.append(Box(device, None, update))
    return sorted(boxes, key=lambda box: (box.main, box.device))


def _busy(work: Sequence[Tuple[Event, Cell]]) -> Dict[Cell, List[Interval]]:
    """When the cells of a device were busy.

    Args:
      work: operations and their cells, in the order in which they started.
    """
    found: Dict[Cell, List[Interval]] = {}
    free = work[0][0].start  # when all that started has ended
    for event, cell in work:
        if event.type == _CONSTANT and cell not in found:
            continue
        found.setdefault(cell, []).append((min(event.start, max(event.ready, free)), event.end))
        free = max(free, event.end)
    return found


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
