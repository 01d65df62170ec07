# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers send each other, by hand: which value goes where, and how often in a step."""

from epl.plan.links import Crossing, links_of
from epl.plan.parallel_plan import make_plan

FORWARD, BACKWARD = Crossing(0, (1,), 10, False), Crossing(1, (0,), 7, False)


def plan(stages, workers, devices, micro_batches=4, **more):
    return make_plan([("", count) for count in stages], workers, devices, micro_batches, **more)


def test_a_value_is_sent_once_for_each_micro_batch():
    links = links_of(plan((1, 1), 2, 1), [FORWARD, BACKWARD], {0: 100, 1: 50}, {})
    assert links.sent == {(0, 1): 40, (1, 0): 28}
    assert not links.summed  # one replica has nobody to add up with


def test_data_comes_from_the_leader_and_variables_come_once():
    links = links_of(plan((1, 1, 1), 3, 1), [
        Crossing(None, (0, 2), 3, False), Crossing(0, (2,), 1000, True)], {}, {})
    assert links.sent == {(0, 2): 4 * 3 + 1000}


def test_stages_of_one_worker_read_a_value_on_their_own_devices():
    """Stages 0 and 1 are on worker 0, stages 2 and 3 on two devices of worker 1."""
    links = links_of(plan((1, 1, 1, 1), 2, 2), [Crossing(0, (1, 2, 3), 10, False)], {}, {})
    assert links.sent == {(0, 1): 2 * 40}


def test_replicas_add_up_between_the_workers_that_hold_the_same_stage():
    links = links_of(plan((1, 1), 4, 1), [FORWARD], {0: 100, 1: 50}, {})
    assert links.sent == {(0, 1): 40, (2, 3): 40}
    assert links.summed == {((0, 2), 0): 100, ((1, 3), 1): 50}


def test_rows_of_all_micro_batches_and_replicas_of_a_worker_are_gathered():
    links = links_of(plan((1, 1), 4, 1), [], {}, {0: 10})
    assert links.gathered == {((0, 2), 0): 4 * 10} and not links.summed
    links = links_of(plan((1, 1), 2, 4), [], {1: 100}, {0: 10})  # two replicas in each worker
    assert links.gathered == {((0, 1), 0): 2 * 4 * 10} and links.summed == {((0, 1), 1): 100}
    assert links_of(plan((1, 1), 1, 4), [], {1: 100}, {0: 10}) == ({}, {}, {}, 0)


def test_two_replicas_on_the_same_two_workers_send_twice_and_add_up_alone():
    links = links_of(plan((1, 1), 2, 2, prefer_intra_node=False), [FORWARD], {0: 100}, {})
    assert links.sent == {(0, 1): 80} and not links.summed


def test_devices_of_one_stage_send_their_slices():
    """Stage 0 on worker 0, stage 1 on workers 1 and 2."""
    links = links_of(plan((1, 2), 3, 1), [FORWARD, BACKWARD], {}, {})
    assert links.sent == {(0, 1): 20, (0, 2): 20, (1, 0): 14, (2, 0): 14}


def test_what_people_read():
    links = links_of(plan((1, 1), 4, 1), [
        Crossing(0, (1,), 1 << 10, False), Crossing(1, (0,), 0, False)], {1: 3 << 9}, {0: 1 << 10})
    assert links.describe() == [
        "sent between workers in a step, predicted, in KiB:",
        "  worker 0 to worker 1: 4.0", "  worker 2 to worker 3: 4.0",
        "  workers 1 3 add up gradients of stage 1: 1.5 of each",
        "  workers 0 2 gather rows of gradients of stage 0: 4.0 of each",
        "  1 value(s) more, whose sizes the graph does not say"]
    assert links_of(plan((1,), 64, 1), [], {0: 1 << 10}, {}).describe()[1:] == [
        "  workers 0 to 63 add up gradients of stage 0: 1.0 of each"]
