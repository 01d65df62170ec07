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

from typing import Iterable, List, NamedTuple, Optional

from epl.plan.action import KINDS, Action


class StageMemory(NamedTuple):
    """What a stage takes on one device, in bytes.

    Attributes:
      parameters: trained variables.
      state: other variables.
      gradients: of the stage's parameters, those that are dense.
      rows: sparse gradients of one micro-batch.
      held: what the forward pass of a micro-batch leaves for its backward pass.
      forward: most at a time in a forward pass.
      backward: most at a time in a backward pass, with `held` and the gradients that it makes.
      update: most at a time in an update, beside the gradients; None: each variable is updated as
        soon as the backward pass has its gradient, which `backward` includes.
    """

    parameters: int
    state: int
    gradients: int
    rows: int
    held: int
    forward: int
    backward: int
    update: Optional[int]


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


def at_peak(stage: StageMemory, actions: Iterable[Action]) -> DeviceMemory:
    """What is in use at the worst time of a step.

    Args:
      stage: what the stage takes.
      actions: what its device does, in that order.
    """
    moments: List[List[int]] = []
    in_flight = made = 0
    for action in actions:
        kind = KINDS[action.kind]
        added = stage.gradients + made * stage.rows if made else 0
        held = in_flight * stage.held
        if kind.computes_gradients:
            more = stage.backward - stage.held
            own = min(stage.gradients + stage.rows, max(0, more))
            moments.append([added + own, held, more - own])
        else:
            moments.append([added, held, stage.forward])
        in_flight += kind.opens - kind.closes
        made += kind.closes
    if stage.update is not None:
        moments.append([stage.gradients + made * stage.rows, 0, stage.update])
    gradients, activations, working = max(moments, key=sum, default=[0, 0, 0])
    return DeviceMemory(stage.parameters, stage.state, gradients, activations, working)
