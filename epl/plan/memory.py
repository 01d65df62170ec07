# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
r"""How much memory the device of a stage needs, from what one micro-batch needs there.

    forward 0    ____/ held \________________   what the forward pass of a micro-batch leaves for
    forward 1          ____/ held \__________   its backward pass
    backward 0   the peak of a backward pass + what others left + the gradients added up so far
    update       all gradients + what the optimizer takes for a while

Variables are there all the time. How many micro-batches are between forward and backward is up to
the schedule.
"""

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from epl.plan.action import GRADIENTS_OF_INPUTS, KINDS, Action, Kind, Need


class StageMemory(NamedTuple):
    """What a stage takes on its device, in bytes.

    Attributes:
      parameters: trained variables.
      state: other variables.
      gradients: of the stage's parameters, those that are dense.
      rows: sparse gradients of one micro-batch.
      held: what the forward pass of a micro-batch leaves for its backward pass.
      forward: most at a time in a forward pass.
      backward: most at a time in a backward pass, with `held` and the gradients that it makes; in
        its first half, if there are two.
      update: most at a time in an update, beside the gradients; None: each variable is updated as
        soon as the backward pass has its gradient, which `backward` includes.
      put_off: what is held instead of `held` between the gradients of inputs and those of weights.
      weights: most at a time while the latter are computed, with `put_off` and what they make.
    """

    parameters: int
    state: int
    gradients: int
    rows: int
    held: int
    forward: int
    backward: int
    update: Optional[int]
    put_off: int = 0
    weights: int = 0


class DeviceMemory(NamedTuple):
    """What is in use on a device when most is, in bytes.

    Attributes:
      parameters: trained variables.
      state: other variables: what the optimizer keeps, statistics, counters.
      gradients: those added up so far, and those that a backward pass makes.
      activations: what forward passes have left for backward passes.
      working: what a pass or an update takes beside that, for a while.
    """

    parameters: int
    state: int
    gradients: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        return self.parameters + self.state + self.gradients + self.activations + self.working


def at_peak(stages: Mapping[int, StageMemory], actions: Iterable[Action]) -> DeviceMemory:
    """What is in use on a device at the worst time of a step.

    Args:
      stages: number -> what it takes, of every stage of the device.
      actions: what the device does, in that order.
    """
    moments: List[List[int]] = []
    held = 0
    made = dict.fromkeys(stages, 0)
    for action in actions:
        stage, kind = stages[action.stage], KINDS[action.kind]
        before = _held_before(kind, stage)
        more, own = stage.forward, 0
        if kind.computes_gradients:
            peak = stage.weights if _is_put_off(kind) else stage.backward
            own = min(stage.gradients + stage.rows, max(0, peak - before)) if kind.closes else 0
            more = peak - before - own
        moments.append([_summed(stages, made) + own, held, more])
        held += _held_after(kind, stage) - before
        made[action.stage] += kind.closes
    updates = [stage.update for stage in stages.values() if stage.update is not None]
    if updates:
        moments.append([_summed(stages, made), 0, sum(updates)])
    gradients, activations, working = max(moments, key=sum, default=[0, 0, 0])
    return DeviceMemory(sum(stage.parameters for stage in stages.values()),
                        sum(stage.state for stage in stages.values()),
                        gradients, activations, working)


def _summed(stages: Mapping[int, StageMemory], made: Dict[int, int]) -> int:
    """The gradients of so many micro-batches of every stage."""
    return sum(stages[number].gradients + count * stages[number].rows
               for number, count in made.items() if count)


def _is_put_off(kind: Kind) -> bool:
    """True for gradients of weights that are computed behind those of inputs."""
    return Need(GRADIENTS_OF_INPUTS, 0) in kind.needs


def _held_before(kind: Kind, stage: StageMemory) -> int:
    if kind.opens:
        return 0
    return stage.put_off if _is_put_off(kind) else stage.held


def _held_after(kind: Kind, stage: StageMemory) -> int:
    if kind.opens:
        return stage.held
    return 0 if kind.closes else stage.put_off


def most_kept(actions: Iterable[Action], stages: Sequence[Tuple[int, int]]) -> int:
    """Bytes that a device keeps at most: what is always there, and for micro-batches in flight.

    Args:
      actions: what the device does, in that order.
      stages: (bytes that are always there, bytes of a micro-batch in flight) of every stage.
    """
    actions = list(actions)
    kept = most = 0
    for action in actions:
        kept += KINDS[action.kind].opens * stages[action.stage][1]
        most = max(most, kept)
        kept -= KINDS[action.kind].closes * stages[action.stage][1]
    return most + sum(stages[stage][0] for stage in {action.stage for action in actions})
