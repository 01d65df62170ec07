# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which replica's stage sits on which devices, and which layouts are refused."""

import re

import pytest

from epl.errors import ConfigError
from epl.plan.layout import Device, lay_out, on_one_worker
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


@pytest.mark.parametrize("workers, devices, counts, prefer_intra_node, placements, teams", [
    (2, 1, [1, 1], True, "w0d0 w1d0", ["01"]),
    (2, 1, [1, 1], False, "w0d0 w1d0", ["01"]),
    (2, 1, [2], True, "w0d0+w1d0", ["01"]),
    (4, 1, [1, 1], True, "w0d0 w1d0  w2d0 w3d0", ["01", "23"]),
    (4, 1, [1] * 4, True, "w0d0 w1d0 w2d0 w3d0", ["0123"]),
    (4, 1, [1, 1], False, "w0d0 w1d0  w2d0 w3d0", ["01", "23"]),
    (2, 2, [1, 1], False, "w0d0 w1d0  w0d1 w1d1", ["01"]),
    (2, 2, [1] * 4, True, "w0d0 w0d1 w1d0 w1d1", ["01"]),
    (2, 2, [1] * 4, False, "w0d0 w1d0 w0d1 w1d1", ["01"]),
    (2, 2, [2, 2], True, "w0d0+w0d1 w1d0+w1d1", ["01"]),
    (2, 3, [1, 1], True, "w0d0 w0d1  w0d2 w1d0  w1d1 w1d2", ["01"]),
    (3, 2, [1] * 3, True, "w0d0 w0d1 w1d0  w1d1 w2d0 w2d1", ["012"]),
    (3, 2, [1, 1], False, "w0d0 w1d0  w2d0 w0d1  w1d1 w2d1", ["012"]),
    (4, 2, [1] * 4, True, "w0d0 w0d1 w1d0 w1d1  w2d0 w2d1 w3d0 w3d1", ["01", "23"]),
    (4, 2, [1, 1], False, "w0d0 w1d0 w0d1 w1d1  w2d0 w3d0 w2d1 w3d1", ["01", "23"]),
])
def test_workers_hold_replicas_together(workers, devices, counts, prefer_intra_node, placements,
                                        teams):
    plan = make_plan([("", count) for count in counts], workers, devices,
                     prefer_intra_node=prefer_intra_node)
    assert [list(map(plan.real, p.devices)) for p in plan.placements] == rows(placements)
    found = [plan.teams.members(team) for team in range(plan.num_workers)]
    assert ["".join(map(str, members)) for members in found] == teams
    assert all(plan.teams.team_of(w) == t for t, own in enumerate(found) for w in own)
    assert plan.num_workers * plan.devices_per_worker == workers * devices
    assert sorted(r for t in range(len(teams)) for r in plan.replicas_of(t)) == list(
        range(plan.num_replicas))


def test_who_holds_the_same_in_other_teams():
    plan = make_plan([("", 1)] * 2, 4, 1)
    assert [plan.teams.peers(device) for device in (Device(0, 0), Device(1, 1))] == [
        (0, 2), (1, 3)]
    with pytest.raises(IndexError, match="worker 4 is in no team"):
        plan.teams.team_of(4)


def test_a_chosen_layout_may_put_a_replica_on_several_workers():
    slices = (((Device(0, 0),), (Device(0, 1),)), ((Device(1, 1),), (Device(1, 0),)))
    plan = make_plan([("", 1)] * 2, 2, 2, slices=slices)
    assert [list(map(plan.real, p.devices)) for p in plan.placements] == rows(
        "w0d0 w1d1  w0d1 w1d0")


def test_teams_that_are_not_alike_are_refused():
    slices = (((Device(0, 0),), (Device(3, 0),)), ((Device(1, 0),), (Device(2, 0),)))
    with pytest.raises(NotImplementedError) as caught:
        make_plan([("", 1)] * 2, 4, 1, slices=slices)
    assert "workers 0 1 and on workers 2 3 in different ways (0:0 1:0 and 1:0 0:0" in str(
        caught.value)


@pytest.mark.parametrize("workers, devices, counts, prefer_intra_node, cure", [
    (2, 1, [1, 1], True, "epl-launch --num_workers 1 --gpu_per_worker 2"),
    (2, 2, [1] * 4, True, "epl-launch --num_workers 1 --gpu_per_worker 4"),
    (2, 3, [1, 1], True, "epl-launch --num_workers 3 --gpu_per_worker 2"),
    (2, 2, [1, 1], False, "cluster.device_place_prefer_intra_node = True"),
    (2, 1, [1, 1], False, "cluster.device_place_prefer_intra_node = True with epl-launch "
                          "--num_workers 1 --gpu_per_worker 2"),
])
def test_what_keeps_replicas_on_one_worker(workers, devices, counts, prefer_intra_node, cure):
    assert on_one_worker(counts, workers, devices, prefer_intra_node) == cure


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
        used = [plan.real(device) for p in plan.placements for device in p.devices]
        assert sorted(used) == [(w, d) for w in range(workers) for d in range(devices)]
        assert all(len(p.devices) == counts[p.stage] for p in plan.placements)
        replicas = [plan.replicas_of(w) for w in range(plan.num_workers)]
        assert sorted(r for own in replicas for r in own) == list(range(plan.num_replicas))
        assert len({len(own) for own in replicas}) == 1
    assert accepted > 50


def test_every_layout_of_whole_replicas_is_accepted():
    for workers, devices, counts, prefer in SWEEP:
        if workers * devices % sum(counts) == 0:
            plan = attempt(workers, devices, counts, prefer)
            assert plan.num_stages == len(counts)
            assert plan.teams is None or devices % sum(counts) or not prefer


def test_every_refusal_names_a_cure_that_works():
    refused = 0
    for workers, devices, counts, prefer in SWEEP:
        refusal = attempt(workers, devices, counts, prefer)
        if not isinstance(refusal, Exception):
            continue
        refused, refusal = refused + 1, str(refusal)
        flags = re.search(r"--num_workers (\d+) --gpu_per_worker (\d+)", refusal)
        cured = (int(flags.group(1)), int(flags.group(2))) if flags else (workers, devices)
        assert cured != (workers, devices)
        plan = attempt(cured[0], cured[1], counts, prefer)
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
