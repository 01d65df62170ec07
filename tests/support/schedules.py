# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules of others, such as a script may register.

`OTHERS` are carried out: orders in which no micro-batch waits for its turn. Two show what the
vocabulary can say beyond that, several stages on a device and a backward in two halves; they are
built here from what their papers describe.
"""

import contextlib
from unittest import mock

from epl.plan.action import BACKWARD, FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS, Action
from epl.plan.schedules import registry


@contextlib.contextmanager
def registering():
    """What is registered meanwhile is forgotten afterwards."""
    with mock.patch.dict(registry.NAMES), mock.patch.dict(registry._SCHEDULES):
        yield registry.register


def of_orders(shape, forward, backward):
    """The forwards of all stages in one order, then the backwards in one order per stage."""
    return [[Action(FORWARD, stage, m) for m in forward] +
            [Action(BACKWARD, stage, m) for m in backward[stage]]
            for stage in range(shape.num_stages)]


def last_first(shape):
    """GPipe, the backward of the last micro-batch first."""
    numbers = range(shape.num_micro_batch)
    return of_orders(shape, numbers, [numbers[::-1]] * shape.num_stages)


def crossed(shape):
    """Forwards out of turn, backwards in another order on every stage."""
    numbers = list(range(shape.num_micro_batch))
    first = [stage % len(numbers) for stage in range(shape.num_stages)]
    return of_orders(shape, numbers[:1] + numbers[:0:-1],
                     [numbers[f:] + numbers[:f] for f in first])


def pairs(shape):
    """Two forwards, then their backwards, the second one first."""
    numbers = range(shape.num_micro_batch)
    return [[Action(kind, stage, m) for first in numbers[::2] for kind, step in (
        (FORWARD, 1), (BACKWARD, -1)) for m in numbers[first:first + 2][::step]]
        for stage in range(shape.num_stages)]


OTHERS = {"LastFirst": last_first, "Crossed": crossed, "Pairs": pairs}


def interleaved(shape):
    """Interleaved 1F1B (arXiv:2104.04473): device d of p has the stages d, d + p, d + 2p ...

    The micro-batches go through in rounds of p: all of a round are forwarded on one stage of the
    device before any on the next. So num_micro_batch has to be a multiple of p.
    """
    p, v, m = shape.num_devices, shape.stages_per_device, shape.num_micro_batch
    assert m % p == 0, (p, m)

    def of_device(device):
        rounds = [range(first, first + p) for first in range(0, m, p)]
        forward = [Action(FORWARD, chunk * p + device, number)
                   for numbers in rounds for chunk in range(v) for number in numbers]
        backward = [Action(BACKWARD, chunk * p + device, number)
                    for numbers in rounds for chunk in reversed(range(v)) for number in numbers]
        warm_up = min(len(forward), 2 * (p - device - 1) + (v - 1) * p)
        return alternating(forward, backward, warm_up)
    return [of_device(device) for device in range(p)]


def zero_bubble(shape):
    """ZB-H1 (arXiv:2401.10241, section 2): 1F1B with the weight gradients put off.

    Device d puts the weight gradients of d micro-batches off: what others hold in activations of
    micro-batches in flight, it holds in those. At the end they fill what was bubble.
    """
    p, m = shape.num_stages, shape.num_micro_batch

    def of_device(device):
        forward, inputs, weights = [[Action(kind, device, number) for number in range(m)] for kind
                                    in (FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS)]
        found, put_off = [], list(weights)
        for action in alternating(forward, inputs, min(p - device - 1, m)):
            found.append(action)
            if action.kind == INPUT_GRADIENTS and action.micro_batch >= device:
                found.append(put_off.pop(0))
        return found + put_off
    return [of_device(device) for device in range(p)]


def alternating(forward, backward, warm_up):
    """`warm_up` forwards, then one and one, then what is left."""
    steady = [action for pair in zip(forward[warm_up:], backward) for action in pair]
    return forward[:warm_up] + steady + backward[len(forward) - warm_up:]
