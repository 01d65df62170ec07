# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which replica's stage sits on which devices, and which layouts are refused."""

import re

import pytest

from epl.errors import ConfigError
from epl.plan.layout import Device, lay_out
from epl.plan.parallel_plan import make_plan


def rows(text):
    """"w0d1+w0d2 w1d0" -> the devices of each (replica, stage)."""
    return [[Device(*map(int, re.findall(r"\d+", name))) for name in cell.split("+")]
            for cell in text.split()]


@pytest.mark.parametrize("workers, devices, counts, prefer_intra_node, placements", [
    (1, 1, [1], True, "w0d0"),
    (3, 1, [1], True, "w0d0 w1d0 w2d0"),
    (1, 4, [1], True, "w0d0 w0d1 w0d2 w0d3"),
    (1, 4, [1, 1], True, "w0d0 w0d1  w0d2 w0d3"),
    (1, 4, [1, 1], False, "w0d0 w0d1  w0d2 w0d3"),
    (1, 4, [2], True, "w0d0+w0d1  w0d2+w0d3"),
    (1, 4, [2, 2], True, "w0d0+w0d1 w0d2+w0d3"),
    (1, 4, [1, 1, 1, 1], True, "w0d0 w0d1 w0d2 w0d3"),
    (1, 3, [1, 2], True, "w0d0 w0d1+w0d2"),
    (2, 2, [1], True, "w0d0 w0d1 w1d0 w1d1"),
    (2, 2, [1], False, "w0d0 w1d0 w0d1 w1d1"),
    (2, 2, [1, 1], True, "w0d0 w0d1  w1d0 w1d1"),
    (2, 2, [2], True, "w0d0+w0d1 w1d0+w1d1"),
    (2, 4, [1, 1], True, "w0d0 w0d1  w0d2 w0d3  w1d0 w1d1  w1d2 w1d3"),
    (2, 3, [2, 1], True, "w0d0+w0d1 w0d2  w1d0+w1d1 w1d2"),
])
def test_layouts(workers, devices, counts, prefer_intra_node, placements):
    plan = make_plan([("", count) for count in counts], workers, devices,
                     prefer_intra_node=prefer_intra_node)
    expected = rows(placements)
    assert [list(p.devices) for p in plan.placements] == expected
    assert [(p.replica, p.stage) for p in plan.placements] == [
        divmod(i, len(counts)) for i in range(len(expected))]
    assert plan.num_replicas * len(counts) == len(expected)


@pytest.mark.parametrize("workers, devices, counts, prefer_intra_node, words", [
    (2, 1, [1, 1], True, ["2 worker(s) x 1 device(s)", "2-stage replicas of 2 device(s) each",
                          "replica 0 would lie on workers 0 and 1",
                          "use epl-launch --num_workers 1 --gpu_per_worker 2"]),
    (4, 1, [1, 1], True, ["4 worker(s) x 1", "workers 0 and 1",
                          "--num_workers 2 --gpu_per_worker 2"]),
    (4, 1, [2], True, ["1-stage replicas of 2", "--num_workers 2 --gpu_per_worker 2"]),
    (2, 2, [1, 1, 1, 1], True, ["4-stage replicas of 4", "--num_workers 1 --gpu_per_worker 4"]),
    (3, 1, [1, 2], True, ["workers 0 and 1 and 2", "--num_workers 1 --gpu_per_worker 3"]),
    (2, 3, [1, 1], True, ["2 worker(s) x 3", "replica 1 would lie on workers 0 and 1",
                          "--num_workers 3 --gpu_per_worker 2"]),
    (2, 2, [1, 1], False, ["replica 0 would lie on workers 0 and 1",
                           "use cluster.device_place_prefer_intra_node = True"]),
    (2, 1, [1, 1], False, ["use cluster.device_place_prefer_intra_node = True with epl-launch "
                           "--num_workers 1 --gpu_per_worker 2"]),
])
def test_a_replica_on_several_workers_is_refused(workers, devices, counts, prefer_intra_node,
                                                 words):
    with pytest.raises(NotImplementedError) as caught:
        lay_out(counts, workers, devices, prefer_intra_node)
    for word in words:
        assert word in str(caught.value)


def test_only_what_is_wrong_is_named_as_the_cure():
    with pytest.raises(NotImplementedError) as caught:
        lay_out([1, 1], 2, 2, prefer_intra_node=False)
    assert "epl-launch" not in str(caught.value)
    with pytest.raises(NotImplementedError) as caught:
        lay_out([1, 1], 2, 1, prefer_intra_node=True)
    assert "prefer_intra_node" not in str(caught.value)


@pytest.mark.parametrize("workers, devices, counts, words", [
    (7, 1, [1, 1], ["7 device(s) (7 worker(s) x 1)", "2-stage replicas of 2 device(s) each",
                    "1 would be left over", "a multiple of 2",
                    "epl-launch --num_workers 3 --gpu_per_worker 2"]),
    (1, 7, [1, 1], ["7 device(s) (1 worker(s) x 7)", "--num_workers 1 --gpu_per_worker 6"]),
    (2, 4, [1, 2], ["8 device(s)", "replicas of 3", "2 would be left over",
                    "--num_workers 2 --gpu_per_worker 3"]),
    (1, 1, [1, 1], ["1 device(s) (1 worker(s) x 1)", "2-stage replicas of 2 device(s) each",
                    "a replica needs 1 more", "--num_workers 1 --gpu_per_worker 2",
                    "epl.replicate(device_count)"]),
    (2, 1, [4], ["2 device(s) (2 worker(s) x 1)", "1-stage replicas of 4", "needs 2 more",
                 "--num_workers 1 --gpu_per_worker 4"]),
])
def test_devices_that_do_not_fit_are_refused_with_both_numbers(workers, devices, counts, words):
    with pytest.raises(ConfigError) as caught:
        lay_out(counts, workers, devices)
    for word in words:
        assert word in str(caught.value)


SWEEP = [(workers, devices, counts, prefer)
         for workers in range(1, 5) for devices in range(1, 7)
         for counts in ([1], [2], [3], [1, 1], [1, 2], [2, 2], [1, 1, 1], [2, 1, 3])
         for prefer in (True, False)]


def attempt(workers, devices, counts, prefer):
    """The plan, or the refusal."""
    try:
        return make_plan([("", count) for count in counts], workers, devices,
                         prefer_intra_node=prefer)
    except (ConfigError, NotImplementedError) as refusal:
        return refusal


def test_every_accepted_layout_uses_every_device_once_and_no_worker_more_than_another():
    accepted = 0
    for workers, devices, counts, prefer in SWEEP:
        plan = attempt(workers, devices, counts, prefer)
        if isinstance(plan, Exception):
            continue
        accepted += 1
        used = [device for p in plan.placements for device in p.devices]
        assert sorted(used) == [(w, d) for w in range(workers) for d in range(devices)]
        assert all(len(p.devices) == counts[p.stage] for p in plan.placements)
        replicas = [plan.replicas_of(w) for w in range(workers)]
        assert sorted(r for own in replicas for r in own) == list(range(plan.num_replicas))
        assert len({len(own) for own in replicas}) == 1
    assert accepted > 50


def test_every_layout_with_whole_replicas_on_each_worker_is_accepted():
    for workers, devices, counts, prefer in SWEEP:
        if devices % sum(counts) == 0 and prefer:
            assert attempt(workers, devices, counts, prefer).num_stages == len(counts)


def test_every_refusal_names_a_cure_that_works():
    refused = 0
    for workers, devices, counts, prefer in SWEEP:
        refusal = attempt(workers, devices, counts, prefer)
        if not isinstance(refusal, Exception):
            continue
        refused, refusal = refused + 1, str(refusal)
        flags = re.search(r"--num_workers (\d+) --gpu_per_worker (\d+)", refusal)
        cured = (int(flags.group(1)), int(flags.group(2))) if flags else (workers, devices)
        prefer = prefer or "device_place_prefer_intra_node = True" in refusal
        assert cured != (workers, devices) or "prefer_intra_node" in refusal
        plan = attempt(cured[0], cured[1], counts, prefer)
        if isinstance(plan, NotImplementedError):  # too many devices and the wrong order
            assert "device_place_prefer_intra_node = True" in str(plan)
            plan = attempt(cured[0], cured[1], counts, True)
        assert plan.num_stages == len(counts), refusal
        if "needs" not in refusal:
            assert cured[0] * cured[1] <= workers * devices
    assert refused > 50


@pytest.mark.parametrize("change, message", [
    (dict(num_workers=0), "num_workers = 0: use 1 or more"),
    (dict(devices_per_worker=0), "devices_per_worker = 0: use 1 or more"),
    (dict(num_micro_batch=0), "num_micro_batch = 0: use 1 or more"),
    (dict(stages=[("a", 0)]), "device_count = 0: use 1 or more"),
    (dict(reduce_method="mena"), r"reduce_method = 'mena' .* did you mean 'mean'"),
    (dict(schedule="preferbackwards"), "pipeline.strategy = 'preferbackwards'"),
])
def test_numbers_and_names_that_cannot_be_used_are_refused(change, message):
    arguments = dict(stages=[("a", 1)], num_workers=1, devices_per_worker=1)
    arguments.update(change)
    with pytest.raises(ConfigError, match=message):
        make_plan(**arguments)


def test_a_plan_without_stages_is_refused():
    with pytest.raises(ValueError, match="one stage or more.*set_default_strategy"):
        make_plan([], 1, 1)
