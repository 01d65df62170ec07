# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""All forwards, then all backwards: the order of GPipe (arXiv:1811.06965).

For 3 stages and 5 micro-batches, a forward and a backward taking one column each (Fi is the forward
of micro-batch i, Bi its backward, a dot an idle device):

    stage 0 | F0 F1 F2 F3 F4 .  .  .  .  B0 B1 B2 B3 B4
    stage 1 | .  F0 F1 F2 F3 F4 .  .  B0 B1 B2 B3 B4 .
    stage 2 | .  .  F0 F1 F2 F3 F4 B0 B1 B2 B3 B4 .  .

In flight at most: 5, 5, 5. (Micro-batches whose forward has begun and whose backward has not ended:
their activations are in memory.)
"""

from epl.plan.action import BACKWARD, FORWARD, Action, Actions
from epl.plan.schedules.registry import Shape, register


def prefer_forward(shape: Shape) -> Actions:
    """Holds all micro-batches in flight."""
    return [[Action(kind, stage, micro_batch) for kind in (FORWARD, BACKWARD)
             for micro_batch in range(shape.num_micro_batch)]
            for stage in range(shape.num_stages)]


register("preferforward", prefer_forward, aliases=["gpipe"])
