# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""When everything of a schedule happens, if every action takes a known time.

A device runs its actions one after the other, in the order of its list; an action begins as soon as
the device is free and what it needs has arrived. Times are only added and compared, never
converted: with integers or fractions the result is exact.
"""

from fractions import Fraction
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from epl.errors import nearest
from epl.plan.action import KINDS, Action, Actions, Span
from epl.plan.dependencies import stage_count, turns

Number = Union[int, float, Fraction]
Times = Mapping[str, Union[Number, Sequence[Number]]]


class Simulation(NamedTuple):
    """A step as it runs.

    Attributes:
      devices: what every device does, in the order in which it does it; times in the unit of those
        that were given, the step begins at 0.
    """

    devices: Tuple[Tuple[Span, ...], ...]

    @property
    def spans(self) -> List[Span]:
        """Everything, device by device."""
        return [span for own in self.devices for span in own]

    @property
    def makespan(self) -> Number:
        """Time from the start of the step to the end of its last action."""
        return max((span.end for span in self.spans), default=0)

    @property
    def bubble_share(self) -> Number:
        """Idle part of the devices' time, 0 to 1: 1 - busy / (number of devices * makespan)."""
        total = len(self.devices) * self.makespan
        busy = sum(span.busy for span in self.spans)
        return (total - busy) / total if total else 0

    @property
    def peak_in_flight(self) -> Tuple[int, ...]:
        """Per device, the most micro-batches whose activations are in memory at one time.

        A micro-batch counts once for every stage of the device that it is in.
        """
        return tuple(_peak([span.action for span in own if span.action]) for own in self.devices)


def simulate(actions: Actions, times: Optional[Times] = None,
             transfer_time: Number = 0) -> Simulation:
    """Run the actions of all devices against each other.

    Args:
      actions: of every device, in the order in which it runs them.
      times: kind of action -> time of one; a number, or one per stage. Of kinds that are left out
        an action takes 1.
      transfer_time: from the end of an action until its result is on another device. It keeps no
        device busy.

    Returns:
      The simulation, in the unit and the number type of the times.

    Raises:
      ValueError: actions that cannot run (as `dependencies.turns`), or times that are negative, of
        no kind, or too many or too few.
    """
    durations = _durations(times or {}, stage_count(actions))
    if transfer_time < 0:
        raise ValueError("transfer_time = {}: use 0 or more".format(transfer_time))
    done: List[List[Span]] = [[] for _ in actions]
    ran: Dict[Action, Span] = {}
    for device, action, needs in turns(actions):
        free = done[device][-1].end if done[device] else 0
        start = max([free] + [ran[need].end + (
            0 if ran[need].device == device else transfer_time) for need in needs])
        span = Span(device, action, ((start, start + durations[action.kind][action.stage]),))
        done[device].append(span)
        ran[action] = span
    return Simulation(tuple(tuple(own) for own in done))


def _peak(actions: Sequence[Action]) -> int:
    opens = {(action.stage, action.micro_batch): number for number, action in enumerate(actions)
             if KINDS[action.kind].opens}  # the last one that does
    in_flight = peak = 0
    for number, action in enumerate(actions):
        in_flight += opens.get((action.stage, action.micro_batch)) == number
        peak = max(peak, in_flight)
        in_flight -= KINDS[action.kind].closes
    return peak


def _durations(times: Times, num_stages: int) -> Dict[str, Sequence[Number]]:
    """Kind of action -> time per stage."""
    for kind in times:
        if kind not in KINDS:
            raise ValueError("times of {!r}, which is no kind of action; {}".format(
                kind, nearest(str(kind), KINDS)))
    found = {}
    for kind in KINDS:
        given = times.get(kind, 1)
        per_stage = given if isinstance(given, Sequence) else [given] * num_stages
        if len(per_stage) != num_stages:
            raise ValueError("times of {}: {} value(s) for {} stage(s); give one number, or one "
                             "per stage".format(kind, len(per_stage), num_stages))
        for time in per_stage:
            if time < 0:
                raise ValueError("times of {}: {}; use 0 or more".format(kind, time))
        found[kind] = per_stage
    return found
