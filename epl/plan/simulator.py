# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""When everything of a schedule happens, if every task takes a known time.

    forward(s-1, m) ──▶ forward(s, m) ──▶ forward(s+1, m)
                             │
                             ▼
    backward(s-1, m) ◀── backward(s, m) ◀── backward(s+1, m)

A stage runs its tasks one after the other in the order of its list; a task begins as soon as the
stage is free and what the arrows bring has arrived. Times are only added and compared, never
converted: with integers or fractions the result is exact.
"""

from fractions import Fraction
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from epl.plan.schedule import BACKWARD, FORWARD, Task

Number = Union[int, float, Fraction]
Times = Union[Number, Sequence[Number]]


class Span(NamedTuple):
    """One task of one stage, with its time (in the unit of the times that were given).

    Attributes:
      stage: 0-based.
      phase: FORWARD or BACKWARD.
      micro_batch: 0-based.
      start: when it begins; the step begins at 0.
      end: when it ends.
    """

    stage: int
    phase: str
    micro_batch: int
    start: Number
    end: Number


class Simulation(NamedTuple):
    """A step as it runs.

    Attributes:
      num_stages: stages of the pipeline.
      spans: all tasks; stage by stage, those of a stage in the order in which they run.
    """

    num_stages: int
    spans: Tuple[Span, ...]

    def of_stage(self, stage: int) -> List[Span]:
        """The tasks of one stage in the order in which they run."""
        return [span for span in self.spans if span.stage == stage]

    @property
    def makespan(self) -> Number:
        """Time from the start of the step to the end of its last task."""
        return max((span.end for span in self.spans), default=0)

    @property
    def bubble_share(self) -> Number:
        """Idle part of the stages' time, 0 to 1: 1 - busy / (num_stages * makespan)."""
        total = self.num_stages * self.makespan
        busy = sum(span.end - span.start for span in self.spans)
        return (total - busy) / total if total else 0

    @property
    def peak_in_flight(self) -> Tuple[int, ...]:
        """Per stage, the most micro-batches that wait for their backward at one time."""
        return tuple(_peak(self.of_stage(stage)) for stage in range(self.num_stages))


def simulate(schedules: Sequence[Sequence[Task]], forward_time: Times = 1,
             backward_time: Times = 1, transfer_time: Number = 0) -> Simulation:
    """Run the schedules of all stages against each other.

    Args:
      schedules: the tasks of every stage, in the order in which it runs them.
      forward_time: of one micro-batch; a number, or one per stage.
      backward_time: of one micro-batch; a number, or one per stage.
      transfer_time: from the end of a task until its result is on the neighbouring stage. It
        keeps no stage busy.

    Returns:
      The simulation, in the unit and the number type of the times.

    Raises:
      ValueError: schedules that wait for each other or for a task that nobody runs, a task that is
        listed twice, an unknown phase, times that are negative or too many or too few.
    """
    _check_tasks(schedules)
    durations = {FORWARD: _per_stage("forward_time", forward_time, len(schedules)),
                 BACKWARD: _per_stage("backward_time", backward_time, len(schedules))}
    if transfer_time < 0:
        raise ValueError("transfer_time = {}: use 0 or more".format(transfer_time))
    done: List[List[Span]] = [[] for _ in schedules]
    ends: Dict[Tuple[int, Task], Number] = {}
    ran = True
    while ran:
        ran = False
        for stage, tasks in enumerate(schedules):
            for task in tasks[len(done[stage]):]:
                start = _start(stage, task, done, ends, transfer_time)
                if start is None:
                    break
                end = start + durations[task.phase][stage]
                done[stage].append(Span(stage, task.phase, task.micro_batch, start, end))
                ends[stage, task] = end
                ran = True
    if len(ends) < sum(len(tasks) for tasks in schedules):
        raise ValueError(_deadlock(schedules, done, ends))
    return Simulation(len(schedules), tuple(span for spans in done for span in spans))


def _needs(stage: int, task: Task, num_stages: int) -> List[Tuple[int, Task]]:
    """The arrows of the picture above that end at `task` of `stage`."""
    if task.phase == FORWARD:
        return [(stage - 1, task)] if stage > 0 else []
    own = [(stage, Task(FORWARD, task.micro_batch))]
    return own + ([(stage + 1, task)] if stage < num_stages - 1 else [])


def _start(stage: int, task: Task, done: Sequence[Sequence[Span]],
           ends: Dict[Tuple[int, Task], Number], transfer_time: Number) -> Optional[Number]:
    """When `task` can begin; None if something that it needs has not run yet."""
    times: List[Number] = [done[stage][-1].end if done[stage] else 0]
    for need in _needs(stage, task, len(done)):
        if need not in ends:
            return None
        times.append(ends[need] if need[0] == stage else ends[need] + transfer_time)
    return max(times)


def _peak(spans: Sequence[Span]) -> int:
    in_flight = peak = 0
    for span in spans:
        in_flight += 1 if span.phase == FORWARD else -1
        peak = max(peak, in_flight)
    return peak


def _check_tasks(schedules: Sequence[Sequence[Task]]) -> None:
    for stage, tasks in enumerate(schedules):
        seen = set()
        for task in tasks:
            if task.phase not in (FORWARD, BACKWARD):
                raise ValueError("stage {}: phase {!r} is neither {!r} nor {!r}".format(
                    stage, task.phase, FORWARD, BACKWARD))
            if task in seen:
                raise ValueError("stage {} lists {} {} twice".format(stage, *task))
            seen.add(task)


def _per_stage(what: str, times: Times, num_stages: int) -> Sequence[Number]:
    per_stage = times if isinstance(times, Sequence) else [times] * num_stages
    if len(per_stage) != num_stages:
        raise ValueError("{} has {} value(s) for {} stage(s): give one number, or one per stage"
                         .format(what, len(per_stage), num_stages))
    for time in per_stage:
        if time < 0:
            raise ValueError("{} = {}: use 0 or more".format(what, time))
    return per_stage


def _deadlock(schedules: Sequence[Sequence[Task]], done: Sequence[Sequence[Span]],
              ends: Dict[Tuple[int, Task], Number]) -> str:
    """For every stage that stands still: its task, and what that waits for."""
    stuck = []
    for stage, tasks in enumerate(schedules):
        if len(done[stage]) == len(tasks):
            continue
        task = tasks[len(done[stage])]
        other, need = next(n for n in _needs(stage, task, len(schedules)) if n not in ends)
        stuck.append("stage {} waits before {} {} for {} {} of stage {}{}".format(
            stage, task.phase, task.micro_batch, need.phase, need.micro_batch, other,
            "" if need in schedules[other] else ", which is not in its list"))
    return "the schedules cannot finish: {}".format("; ".join(stuck))
