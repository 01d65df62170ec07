# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The timeline of one training step: events, boxes, bubble; as text."""

from typing import List, NamedTuple, Tuple

from epl.plan.parallel_plan import ParallelPlan
from epl.profiler.boxes import Box, make_boxes
from epl.profiler.bubble import Bubble, measure, percent
from epl.profiler.cells import CellMap
from epl.profiler.events import Event
from epl.rewrite.order import Cell


class Timeline(NamedTuple):
    """What a training step did, on this worker. Times are nanoseconds since its first event.

    Attributes:
      step: value of the global step when the step began.
      plan: what was carried out.
      cell_map: which operation belongs where.
      events: operations, in the order in which they started.
      boxes: cells and updates, in the order in which their longest pieces start.
      bubble: idle shares of the stages' time.
    """

    step: int
    plan: ParallelPlan
    cell_map: CellMap
    events: Tuple[Event, ...]
    boxes: Tuple[Box, ...]
    bubble: Bubble

    @property
    def missing(self) -> List[Cell]:
        """Cells of which nothing ran on the devices that the plan means for them."""
        seen = {box.cell for box in self.boxes}
        planned = [Cell(replica, stage, task.phase, task.micro_batch)
                   for replica, stage in sorted(self.cell_map.devices)
                   for task in self.plan.tasks(stage)]
        return [cell for cell in planned if cell not in seen]

    @property
    def duration(self) -> int:
        """Nanoseconds from the first to the last event."""
        return max(event.end for event in self.events)

    def describe(self) -> str:
        """The measured bubble beside the plan's, and the times of the stages, as text."""
        bubble, plan = self.bubble, self.plan
        lines = [
            "step {} took {}, the pipeline in it {}; schedule {}, {} micro-batch(es)".format(
                self.step, _ms(self.duration), _ms(bubble.window[1] - bubble.window[0]),
                plan.schedule, plan.num_micro_batch),
            "bubble: measured {}; plan {} with the measured times below, {} with equal times"
            .format(percent(bubble.measured), percent(bubble.planned),
                    percent(bubble.equal_times))]
        for stage, name in enumerate(plan.stage_names):
            lines.append("stage {} ({}): forward {}, backward {} per micro-batch".format(
                stage, name, _ms(bubble.forward[stage]), _ms(bubble.backward[stage])))
        missing = self.missing
        if missing:
            lines.append("not measured, as nothing of them ran on the plan's devices: {} cell(s), "
                         "such as {}".format(len(missing), missing[0].describe()))
        return "\n".join(lines)


def make_timeline(step: int, plan: ParallelPlan, cell_map: CellMap,
                  events: List[Event]) -> Timeline:
    """The timeline of the events of one step.

    Raises:
      ValueError: none of the events belongs to a cell.
    """
    boxes = make_boxes(events, cell_map)
    return Timeline(step, plan, cell_map, tuple(events), tuple(boxes), measure(boxes, plan))


def _ms(nanoseconds: float) -> str:
    return "{:.2f} ms".format(nanoseconds / 1e6)
