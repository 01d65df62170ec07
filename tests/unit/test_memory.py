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
    return at_peak({stage: memory}, actions_of(schedule, Shape(stages, micro_batches))[stage])


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


HALVES = STAGE._replace(backward=115, put_off=60, weights=85)


def test_weight_gradients_that_are_put_off_keep_what_they_need():
    # ZB-H1 on stage 1 of 2: F0 I0 F1 I1 W0 ...: in I1 the first 60 and the second 100 are there.
    assert peak("zb-h1", 2, 2, stage=1, memory=HALVES._replace(backward=150)) == DeviceMemory(
        1000, 2000, 0, 160, 50)
    # In W0 60 and 60, 10 made and 15 beside them.
    assert peak("zb-h1", 2, 2, stage=1, memory=HALVES._replace(weights=200)) == DeviceMemory(
        1000, 2000, 10, 120, 130)


def test_a_device_holds_what_all_its_stages_hold():
    # Device 0 of 2, stages 0 and 2: F0a F1a F0b F1b B0b ...
    upper = StageMemory(parameters=7, state=8, gradients=3, rows=0, held=30, forward=40,
                        backward=35, update=1)
    actions = actions_of("preferbackward", Shape(4, 2, 2))[0]
    found = at_peak({0: STAGE, 2: upper}, actions)
    assert found == DeviceMemory(1007, 2008, 0, 2 * 100 + 30, 40)  # in F1b
    # In B0b two of each, and gradients of 3.
    assert at_peak({0: STAGE, 2: upper._replace(backward=95)}, actions) == DeviceMemory(
        1007, 2008, 3, 260, 62)
