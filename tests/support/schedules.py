# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules of others, such as a script may register: no micro-batch waits for its turn."""

import contextlib
from unittest import mock

from epl.plan.action import BACKWARD, FORWARD, Action
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
