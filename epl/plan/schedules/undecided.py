# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What stands for the schedule until EPL has chosen one of the others."""

from epl.plan.action import Actions
from epl.plan.schedules.one_forward_one_backward import prefer_backward
from epl.plan.schedules.registry import AUTO, Shape, register
from epl.plan.schedules.zero_bubble import zb_v


def undecided(shape: Shape) -> Actions:
    """1F1B; with two stages on a device ZB-V, where the micro-batches are no whole rounds."""
    if shape.stages_per_device == 2 and shape.num_micro_batch % shape.num_devices:
        return zb_v(shape)
    return prefer_backward(shape)


register(AUTO, undecided)
