# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How much of the stages' time was idle, measured and planned.

    device of stage 0 | F0 F1 .  .  B0 B1 .      busy        8 of 12: bubble share 1/3
    device of stage 1 | .  F0 F1 B0 B1 .  .
                        |--- window ----|

The window of a replica reaches from the start of its first forward to the end of its last backward.
The update behind it is no part of the pipeline.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from epl.plan.parallel_plan import ParallelPlan
from epl.plan.schedule import BACKWARD, FORWARD
from epl.plan.simulator import Simulation
from epl.profiler.boxes import Box, total, union


class Bubble(NamedTuple):
    """Idle shares of the stages' time, 0 to 1, and the times behind them in nanoseconds.

    Attributes:
      measured: 1 - busy / (devices x window), both summed over the replicas.
      planned: of the plan's schedule if a cell takes `forward` or `backward` of its stage.
      equal_times: of the plan's schedule if all cells take the same time.
      window: (start, end) around the windows of all replicas.
      forward: mean busy time of a forward cell, per stage.
      backward: the same of a backward cell.
      simulation: the plan with these times.
    """

    measured: float
    planned: float
    equal_times: float
    window: Tuple[int, int]
    forward: Tuple[float, ...]
    backward: Tuple[float, ...]
    simulation: Simulation


def measure(boxes: Sequence[Box], plan: ParallelPlan) -> Bubble:
    """The bubble of a step.

    Args:
      boxes: of the step, with one cell at least.
      plan: what was carried out.

    Raises:
      ValueError: there is no cell.
    """
    cells = [box for box in boxes if box.cell is not None]
    if not cells:
        raise ValueError("no cell of the pipeline ran on the devices of the plan, so nothing can "
                         "be measured; tf.ConfigProto(log_device_placement=True) shows where they "
                         "ran")
    stage_time = busy = 0
    windows = []
    for replica in sorted({box.cell.replica for box in cells if box.cell is not None}):
        own = [box for box in cells if box.cell is not None and box.cell.replica == replica]
        windows.append((min(box.start for box in own), max(box.end for box in own)))
        devices = {box.device for box in own}
        stage_time += len(devices) * (windows[-1][1] - windows[-1][0])
        busy += sum(total(union(piece for box in own if box.device == device
                                for piece in box.pieces)) for device in devices)
    forward = _means(cells, plan, FORWARD)
    backward = _means(cells, plan, BACKWARD)
    simulation = plan.simulate(forward, backward)
    return Bubble(
        measured=1 - busy / stage_time if stage_time else 0.0,
        planned=float(simulation.bubble_share),
        equal_times=float(plan.simulate(1, 1).bubble_share),
        window=(min(start for start, _ in windows), max(end for _, end in windows)),
        forward=forward, backward=backward, simulation=simulation)


def _means(cells: Sequence[Box], plan: ParallelPlan, phase: str) -> Tuple[float, ...]:
    """Mean busy time of the cells of a phase, per stage."""
    found: List[List[int]] = [[] for _ in range(plan.num_stages)]
    for box in cells:
        if box.cell is not None and box.cell.phase == phase:
            found[box.cell.stage].append(box.busy)
    return tuple(sum(times) / len(times) if times else 0.0 for times in found)


def percent(share: float, digits: Optional[int] = 1) -> str:
    """0.125 as "12.5 %"."""
    return "{:.{}f} %".format(100 * share, digits)
