# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""1F1B with several stages on every device: interleaved 1F1B (arXiv:2104.04473, section 2.2).

Device d of p has the stages d, d + p, d + 2p ... With 2 devices, 2 stages on each, 4 micro-batches:

    device 0, stages 0a 2b | F0a F1a F0b F1b F2a B0b F3a B1b F2b B0a F3b B1a .   B2b .   B3b B2a B3a
    device 1, stages 1a 3b | .   F0a F1a F0b B0b F1b B1b F2a B0a F3a B1a F2b B2b F3b B3b B2a B3a .

In flight at most: 5, 3. A micro-batch counts once for each stage of the device that it is in.
The bubble is that of 1F1B divided by the number of stages on a device, since a device waits for
small stages instead of large ones; more travels between devices, and more is held in memory.
"""

from typing import List

from epl.plan.action import BACKWARD, FORWARD, Action, Actions
from epl.plan.schedules.registry import Shape


def interleaved(shape: Shape) -> Actions:
    """The micro-batches go through in rounds, of as many as there are devices.

    All of a round are forwarded on one stage of a device before any on the next.

    Raises:
      ValueError: the micro-batches are no number of whole rounds.
    """
    if shape.num_micro_batch % shape.num_devices:
        raise ValueError(
            "interleaved stages take micro-batches in rounds of {}, as many as a replica has "
            "devices, and {} is no multiple of that; use {}".format(
                shape.num_devices, shape.num_micro_batch,
                -(-shape.num_micro_batch // shape.num_devices) * shape.num_devices))
    return [_of_device(device, shape) for device in range(shape.num_devices)]


def _of_device(device: int, shape: Shape) -> List[Action]:
    size, chunks = shape.num_devices, range(shape.stages_per_device)
    rounds = [range(first, first + size) for first in range(0, shape.num_micro_batch, size)]
    forward = [Action(FORWARD, chunk * size + device, micro_batch)
               for numbers in rounds for chunk in chunks for micro_batch in numbers]
    backward = [Action(BACKWARD, chunk * size + device, micro_batch)
                for numbers in rounds for chunk in reversed(chunks) for micro_batch in numbers]
    warm_up = 2 * (size - device - 1) + (shape.stages_per_device - 1) * size
    return alternating(forward, backward, min(warm_up, len(forward)))


def alternating(forward: List[Action], backward: List[Action], warm_up: int) -> List[Action]:
    """So many forwards, then forward and backward in turn, then the backwards that are left."""
    steady = [action for pair in zip(forward[warm_up:], backward) for action in pair]
    return forward[:warm_up] + steady + backward[len(forward) - warm_up:]
