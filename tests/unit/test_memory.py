# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a schedule makes of the memory that one micro-batch takes."""

import pytest

from epl.plan.memory import DeviceMemory, StageMemory, at_peak
from epl.plan.schedules import Shape, actions_of

# held 100 by each micro-batch; a backward pass makes gradients of 10 and takes 30 beside them.
STAGE = StageMemory(parameters=1000, state=2000, gradients=10, rows=0, held=100, forward=120,
                    backward=140, update=25)


def peak(schedule, stages, micro_batches, stage=0, memory=STAGE):
    return at_peak(memory, actions_of(schedule, Shape(stages, micro_batches))[stage])


def test_all_forwards_first_hold_all_micro_batches():
    # The first backward: 4 x 100 held, 10 made, 30 beside; none of it is there twice.
    assert peak("preferforward", 2, 4) == DeviceMemory(1000, 2000, 10, 400, 30)


def test_one_forward_one_backward_holds_as_many_as_stages_follow():
    # Stage 0 of 2 has two in flight, and from the second backward on the sum of gradients as well.
    assert peak("preferbackward", 2, 4) == DeviceMemory(1000, 2000, 20, 200, 30)
    assert peak("preferbackward", 2, 4, stage=1) == DeviceMemory(1000, 2000, 20, 100, 30)
    assert peak("preferbackward", 4, 8) == DeviceMemory(1000, 2000, 20, 400, 30)


def test_one_micro_batch_adds_nothing_up():
    assert peak("preferbackward", 1, 1) == DeviceMemory(1000, 2000, 10, 100, 30)
    assert peak("preferbackward", 1, 1).total == 3140


def test_sparse_gradients_of_all_micro_batches_are_kept():
    found = peak("preferbackward", 1, 3, memory=STAGE._replace(rows=7, backward=147))
    assert found == DeviceMemory(1000, 2000, 10 + 2 * 7 + 17, 100, 30)


@pytest.mark.parametrize("memory, expected", [
    (STAGE._replace(forward=900), (0, 100, 900)),  # the second forward pass, beside what is held
    (STAGE._replace(update=900), (10, 0, 900)),  # nothing is held any more
])
def test_the_worst_time_may_be_a_forward_pass_or_the_update(memory, expected):
    if memory.forward == 900:
        found = peak("preferforward", 1, 2, memory=memory)
    else:
        found = peak("preferbackward", 1, 2, memory=memory)
    assert tuple(found)[2:] == expected


def test_what_is_updated_at_once_has_no_time_of_its_own():
    found = peak("preferbackward", 1, 1, memory=STAGE._replace(gradients=500, update=None))
    assert found == DeviceMemory(1000, 2000, 40, 100, 0)
