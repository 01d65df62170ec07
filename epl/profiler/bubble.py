# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How much of the stages' time was idle, measured and planned.

    device of stage 0 | F0 F1 .  .  B0 B1 .      busy        8 of 12: bubble share 1/3
    device of stage 1 | .  F0 F1 B0 B1 .  .
                        |--- window ----|

The window of a replica reaches from the start of its first forward to the end of its last backward.
The update behind it is no part of the pipeline.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from epl.plan.action import Action, Span
from epl.plan.parallel_plan import ParallelPlan
from epl.plan.simulator import Simulation
from epl.profiler.spans import union


class Bubble(NamedTuple):
    """Idle shares of the stages' time, 0 to 1, and the times behind them in nanoseconds.

    Attributes:
      measured: 1 - busy / (devices x window), both summed over the replicas.
      planned: of the plan's schedule if an action takes what `times` says.
      equal_times: of the plan's schedule if all actions take the same time.
      window: (start, end) around the windows of all replicas.
      times: kind of action -> mean busy time of one, per stage; of the kinds in the plan.
      simulation: the plan with these times.
    """

    measured: float
    planned: float
    equal_times: float
    window: Tuple[int, int]
    times: Dict[str, Tuple[float, ...]]
    simulation: Simulation


def measure(spans: Sequence[Span], plan: ParallelPlan) -> Bubble:
    """The bubble of a step.

    Args:
      spans: of the step, with one action at least.
      plan: what was carried out.

    Raises:
      ValueError: there is no action.
    """
    acting = [(span, span.action) for span in spans if span.action is not None]
    if not acting:
        raise ValueError("no action of the pipeline ran on the devices of the plan, so nothing can "
                         "be measured; tf.ConfigProto(log_device_placement=True) shows where they "
                         "ran")
    stage_time = busy = 0
    windows = []
    for replica in sorted({action.replica for _, action in acting}):
        own = [span for span, action in acting if action.replica == replica]
        windows.append((min(span.start for span in own), max(span.end for span in own)))
        devices = {span.device for span in own}
        stage_time += len(devices) * (windows[-1][1] - windows[-1][0])
        busy += sum(end - start for device in devices for start, end in union(
            piece for span in own if span.device == device for piece in span.pieces))
    times = _means(acting, plan)
    simulation = plan.simulate(times)
    return Bubble(
        measured=1 - busy / stage_time if stage_time else 0.0,
        planned=float(simulation.bubble_share),
        equal_times=float(plan.simulate().bubble_share),
        window=(min(start for start, _ in windows), max(end for _, end in windows)),
        times=times, simulation=simulation)


def _means(acting: Sequence[Tuple[Span, Action]],
           plan: ParallelPlan) -> Dict[str, Tuple[float, ...]]:
    """Kind of action -> mean busy time, per stage."""
    found: Dict[str, List[List[int]]] = {
        kind: [[] for _ in range(plan.num_stages)] for kind in plan.kinds}
    for span, action in acting:
        found[action.kind][action.stage].append(span.busy)
    return {kind: tuple(sum(times) / len(times) if times else 0.0 for times in per_stage)
            for kind, per_stage in found.items()}


def percent(share: float, digits: Optional[int] = 1) -> str:
    """0.125 as "12.5 %"."""
    return "{:.{}f} %".format(100 * share, digits)
