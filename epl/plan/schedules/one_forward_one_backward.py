# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A backward as soon as there is one: 1F1B, the order of PipeDream-Flush (arXiv:2006.09503).

These take the time that GPipe takes, (micro-batches + stages - 1) x (forward + backward), and hold
less in memory. The tables are as those of GPipe.
"""

from typing import Callable, List

from epl.plan.action import BACKWARD, FORWARD, Action, Actions
from epl.plan.schedules.interleaved import alternating, interleaved
from epl.plan.schedules.registry import Shape, register


# stage 0 | F0 F1 F2 .  .  B0 F3 B1 F4 B2 .  B3 .  B4
# stage 1 | .  F0 F1 .  B0 F2 B1 F3 B2 F4 B3 .  B4 .
# stage 2 | .  .  F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 .  .
#
# In flight at most: 3, 2, 1.
def prefer_backward(shape: Shape) -> Actions:
    """Holds at most `num_stages - stage` micro-batches in flight, however many there are.

    With several stages on a device: see `interleaved`.
    """
    if shape.stages_per_device > 1:
        return interleaved(shape)
    return in_turn(shape, lambda stage: shape.num_stages - stage - 1)


# stage 0 | F0 F1 F2 F3 .  .  B0 F4 B1 .  B2 .  B3 B4
# stage 1 | .  F0 F1 F2 .  B0 F3 B1 F4 B2 .  B3 B4 .
# stage 2 | .  .  F0 F1 B0 F2 B1 F3 B2 F4 B3 B4 .  .
#
# In flight at most: 4, 3, 2.
def prefer_backward_optimizer(shape: Shape) -> Actions:
    """As `prefer_backward`, with one micro-batch more in flight.

    A stage has the next forward at hand while it waits for a backward: slack for transfers that
    take time, paid for with one more micro-batch in memory.
    """
    return in_turn(shape, lambda stage: shape.num_stages - stage)


# stage 0 | F0 F1 F2 F3 F4 .  B0 .  B1 B2 .  B3 .  B4
# stage 1 | .  F0 F1 F2 F3 B0 F4 B1 B2 .  B3 .  B4 .
# stage 2 | .  .  F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 .  .
#
# In flight at most: 5, 4, 1.
def ahead(shape: Shape) -> Actions:
    """As `prefer_backward`, with three times as many forwards ahead of the first backward.

    That hides transfers, each way, that take as long as a forward and a backward of a stage: a
    micro-batch is back after three times as long as without transfers, and until then the stage has
    others. For stages on hosts that a slow line connects; paid for in memory.
    """
    return in_turn(shape, lambda stage: 3 * (shape.num_stages - stage - 1))


def in_turn(shape: Shape, warm_up: Callable[[int], int]) -> Actions:
    """`warm_up(stage)` forwards (or all), then forward and backward in turn, then what is left."""
    return [_of_stage(stage, min(warm_up(stage), shape.num_micro_batch), shape.num_micro_batch)
            for stage in range(shape.num_stages)]


def _of_stage(stage: int, warm_up: int, num_micro_batch: int) -> List[Action]:
    forward, backward = [[Action(kind, stage, m) for m in range(num_micro_batch)]
                         for kind in (FORWARD, BACKWARD)]
    return alternating(forward, backward, warm_up)


register("preferbackward", prefer_backward, aliases=["1f1b"])
register("preferbackwardoptimizer", prefer_backward_optimizer)
register("1f1b-ahead", ahead)
