# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step takes on paper, against sums by hand."""

import pytest

from epl.errors import ConfigError
from epl.plan.costs import Chain, Crossing, Unit
from epl.plan.estimate import Hardware, Layouts
from tests.support.schedules import last_first, registering

# Four units alike: 6 FLOPs of work, so 2 of a forward and 4 of a backward; 40 bytes of state, of
# which a fourth are gradients; 100 bytes held. 8 bytes from each to the next.
CHAIN = Chain([Unit(6, 6, 100, 40)] * 4, [Crossing(8, n, n + 1) for n in range(3)])
DEVICE = Hardware(flops=2.0, sent=0, to_next_stage=1e9, to_replica=5.0, memory=10000)


def test_one_stage_takes_the_time_of_all_its_micro_batches():
    found = Layouts(CHAIN, DEVICE).estimate(1, 1, 3)
    assert found.seconds == pytest.approx(3 * 4 * 6 / 2.0)
    assert (found.bubble_share, found.memory, found.sent) == (0, 4 * 40 + 4 * 100, 0)


def test_replicas_reduce_their_gradients_in_a_ring():
    found = Layouts(CHAIN, DEVICE).estimate(4, 1, 3)
    sent = 2 * 3 * 40 // 4
    assert found.sent == sent and found.seconds == pytest.approx(36 + sent / 5.0)


def test_stages_have_the_bubble_of_their_schedule():
    layouts = Layouts(CHAIN, DEVICE)
    found = layouts.estimate(1, 4, 4)
    assert found.seconds == pytest.approx((4 + 3) * 3.0)
    assert found.bubble_share == pytest.approx(3 / 7)
    assert found.memory == 40 + 4 * 100 and found.sent == 4 * (8 + 8)
    assert layouts.estimate(1, 4, 4, "zb-h1").seconds == pytest.approx(4 * 3.0 + 3 * 1.0)
    slow = Layouts(CHAIN, DEVICE._replace(to_next_stage=8.0))  # a second to the next stage
    assert slow.estimate(1, 4, 1).seconds == pytest.approx(4 * 3.0 + 6 * 1.0)


def test_the_fastest_layout_that_keeps_to_the_memory_comes_first():
    found = Layouts(CHAIN, DEVICE).by_time(4, 8)
    assert [(each.num_replicas, each.num_stages, each.num_micro_batch) for each in found] == [
        (1, 4, 8), (2, 2, 4), (4, 1, 2)]
    # Forwards and backwards, and 0, 20 and 60 bytes to another replica.
    assert [each.seconds for each in found] == pytest.approx([33, 30 + 4, 24 + 12])
    fast = Layouts(CHAIN, DEVICE._replace(to_replica=1e9)).by_time(4, 8)
    assert (fast[0].num_replicas, fast[0].num_stages) == (4, 1)
    small = Layouts(CHAIN, DEVICE._replace(memory=500)).by_time(4, 8)
    assert {each.num_stages for each in small} == {2, 4}


def test_a_schedule_for_some_shapes_counts_for_these():
    def two(shape):
        return last_first(shape._replace(num_stages=2))

    def at_most_two(shape):
        return last_first(shape) if shape.num_stages <= 2 else [][shape.num_stages]

    for schedule in (two, at_most_two):
        with registering() as register:
            register("Mine", schedule)
            layouts = Layouts(CHAIN, DEVICE)
            found = layouts.by_time(4, 8, ("preferbackward", "mine"))
            assert [each.num_stages for each in found if each.schedule == "mine"] == [2]
            assert {each.num_stages for each in found} == {1, 2, 4}
            with pytest.raises((ConfigError, NotImplementedError), match="strategy = 'mine'"):
                layouts.estimate(1, 4, 8, "mine")


@pytest.mark.parametrize("memory, micro_batches, message", [
    (9999, 3, "no layout of 5 device(s) for 3 micro-batch(es) divides them equally"),
    (100, 5, "keeps to 0 MiB of a device: the least that one needs is 1 MiB")])
def test_no_layout_is_an_error(memory, micro_batches, message):
    with pytest.raises(ConfigError) as caught:
        Layouts(CHAIN, DEVICE._replace(memory=memory)).by_time(5, micro_batches)
    assert message in str(caught.value)


def test_a_thousand_devices():
    chain = Chain([Unit(10 ** 9, 10 ** 9, 1000, 4000)] * 100, [])
    found = Layouts(chain, DEVICE._replace(flops=1e12, memory=10 ** 9)).by_time(
        1000, 1000, ("preferbackward", "zb-h1"))
    assert {each.num_replicas * each.num_stages for each in found} == {1000}
    assert {each.schedule for each in found} == {"preferbackward", "zb-h1"}
