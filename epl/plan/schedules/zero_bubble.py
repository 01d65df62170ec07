# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Backwards in two halves, of which nobody waits for the second: zero bubble (arXiv:2401.10241).

The stage before waits for the gradients of a stage's inputs (I). Those of its weights (W) may come
at any time, and fill what was bubble. Times below: every action takes one column.
"""

from typing import Dict, List, Optional, Tuple

from epl.plan.action import (
    FORWARD,
    INPUT_GRADIENTS,
    KINDS,
    WEIGHT_GRADIENTS,
    Action,
    Actions,
)
from epl.plan.dependencies import needs_of
from epl.plan.schedules.interleaved import alternating
from epl.plan.schedules.registry import Shape, register

_KINDS = (INPUT_GRADIENTS, FORWARD, WEIGHT_GRADIENTS)  # what comes first


# stage 0 | F0 F1 F2 .  .  I0 W0 F3 I1 W1 I2 W2 I3 W3
# stage 1 | .  F0 F1 .  I0 F2 I1 W0 F3 I2 W1 I3 W2 W3
# stage 2 | .  .  F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3
#
# In flight at most: 3, 3, 3.
def zb_h1(shape: Shape) -> Actions:
    """1F1B with the weight gradients put off, those of as many micro-batches as stages are before.

    What other stages hold in micro-batches on their way, a late stage holds in these, so that
    `num_stages` are in flight everywhere. The bubble is (stages - 1) x (F + I - W).
    """
    return [_of_stage(stage, shape) for stage in range(shape.num_stages)]


def _of_stage(stage: int, shape: Shape) -> List[Action]:
    number = shape.num_micro_batch
    forward, inputs, weights = [[Action(kind, stage, m) for m in range(number)] for kind
                                in (FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS)]
    found: List[Action] = []
    for action in alternating(forward, inputs, min(shape.num_stages - stage - 1, number)):
        found.append(action)
        if action.kind == INPUT_GRADIENTS and action.micro_batch >= stage:
            found.append(weights.pop(0))
    return found + weights


# device 0, stages 0a 3b | F0a F1a F2a F0b I0b W0b F1b I0a I1b W0a F3a I1a W1b F2b I2b W1a W2b ...
# device 1, stages 1a 2b | .   F0a F0b F1a F1b I0b I0a W0b F2a I1b I1a W0a F2b W1b F3a I2b I2a ...
#
# In flight at most: 4, 4, each of which is half as much as with one stage on a device.
def zb_v(shape: Shape) -> Actions:
    """Two stages on every device, the first with the last, so that the way through is a V.

    Every device takes what is there: gradients of inputs before forwards, these before gradients of
    weights, and of two stages what is further on its way. Forwards wait while as many micro-batches
    are in flight as in 1F1B on the first device. All actions are taken to last as long.

    Raises:
      ValueError: not two stages on each device.
    """
    if shape.stages_per_device != 2:
        raise ValueError("'zb-v' is for two stages on each device; set pipeline.num_chunks = 2 and "
                         "give the model two stages for each")
    return _Folded(shape).run()


class _Folded:
    """Devices that choose what to do next, time after time."""

    def __init__(self, shape: Shape):
        self._last, self._number = shape.num_stages - 1, shape.num_micro_batch
        self._most = shape.num_stages
        self._listed = {Action(kind, stage, m) for kind in _KINDS
                        for stage in range(shape.num_stages) for m in range(self._number)}
        self._ended: Dict[Action, int] = {}
        self._next = {(kind, stage): 0 for stage in range(shape.num_stages)
                      for kind in _KINDS}
        self._done: List[List[Action]] = [[] for _ in range(shape.num_devices)]
        self._in_flight = [0] * shape.num_devices

    def run(self) -> Actions:
        """The actions of every device."""
        left, now = len(self._listed), 0
        while left:
            for device, action in enumerate([self._choose(d, now) for d in self._devices()]):
                if action is not None:
                    self._take(device, action, now)
                    left -= 1
            now += 1
        return self._done

    def _devices(self) -> range:
        return range(len(self._done))

    def _choose(self, device: int, now: int) -> Optional[Action]:
        """What a device does from `now` on; None: nothing is there."""
        stages = (self._last - device, device)  # the one that is further on first
        able = [Action(kind, stage, self._next[kind, stage])
                for kind in _KINDS for stage in stages
                if kind != FORWARD or self._in_flight[device] < self._most]
        able = [each for each in able if each.micro_batch < self._number
                and all(self._ended.get(need, now + 1) <= now
                        for need in needs_of(each, self._listed, self._last + 1))]
        return min(able, key=_rank) if able else None

    def _take(self, device: int, action: Action, now: int) -> None:
        self._done[device].append(action)
        self._ended[action] = now + 1
        self._next[action.kind, action.stage] += 1
        self._in_flight[device] += KINDS[action.kind].opens - KINDS[action.kind].closes


def _rank(action: Action) -> Tuple[int, int]:
    """The least is done first: by kind, then the older micro-batch, then the stage further on."""
    return _KINDS.index(action.kind), 0 if action.kind == FORWARD else action.micro_batch


register("zb-h1", zb_h1)
register("zb-v", zb_v)
