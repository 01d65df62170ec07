# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The order in which stages run their micro-batches."""

import inspect
import re

import pytest

from epl.errors import ConfigError
from epl.plan import schedule
from epl.plan.drawing import draw
from epl.plan.schedule import BACKWARD, FORWARD, SCHEDULES, Task, get_schedule
from epl.plan.simulator import simulate

NAMES = ("preferforward", "preferbackward", "preferbackwardoptimizer")
SIZES = [(p, m) for p in range(1, 9) for m in range(1, 17)]


def order(name, stage, num_stages, num_micro_batch):
    return " ".join("{}{}".format(task.phase[0].upper(), task.micro_batch)
                    for task in SCHEDULES[name](stage, num_stages, num_micro_batch))


@pytest.mark.parametrize("name, num_stages, num_micro_batch, stages", [
    ("preferforward", 1, 2, ["F0 F1 B0 B1"]),
    ("preferforward", 2, 3, ["F0 F1 F2 B0 B1 B2", "F0 F1 F2 B0 B1 B2"]),
    ("preferbackward", 1, 3, ["F0 B0 F1 B1 F2 B2"]),
    ("preferbackward", 2, 4, ["F0 F1 B0 F2 B1 F3 B2 B3", "F0 B0 F1 B1 F2 B2 F3 B3"]),
    ("preferbackward", 4, 2, ["F0 F1 B0 B1"] * 3 + ["F0 B0 F1 B1"]),
    ("preferbackwardoptimizer", 1, 3, ["F0 F1 B0 F2 B1 B2"]),
    ("preferbackwardoptimizer", 2, 4, ["F0 F1 F2 B0 F3 B1 B2 B3", "F0 F1 B0 F2 B1 F3 B2 B3"]),
    ("preferbackwardoptimizer", 3, 1, ["F0 B0"] * 3),
])
def test_the_order_of_each_stage(name, num_stages, num_micro_batch, stages):
    assert [order(name, d, num_stages, num_micro_batch) for d in range(num_stages)] == stages


@pytest.mark.parametrize("name", NAMES)
def test_every_micro_batch_goes_forward_then_backward_once_and_in_turn(name):
    for p, m in SIZES:
        for stage in range(p):
            tasks = SCHEDULES[name](stage, p, m)
            assert tasks[0] == Task(FORWARD, 0)
            for phase in (FORWARD, BACKWARD):
                assert [t.micro_batch for t in tasks if t.phase == phase] == list(range(m))
            assert len(tasks) == 2 * m
            for i in range(m):
                assert tasks.index(Task(FORWARD, i)) < tasks.index(Task(BACKWARD, i))


@pytest.mark.parametrize("name, peak", [
    ("preferforward", lambda d, p, m: m),
    ("preferbackward", lambda d, p, m: min(p - d, m)),
    ("preferbackwardoptimizer", lambda d, p, m: min(p - d + 1, m)),
])
def test_micro_batches_in_flight(name, peak):
    for p, m in SIZES:
        for stage in range(p):
            in_flight = [0]
            for task in SCHEDULES[name](stage, p, m):
                in_flight.append(in_flight[-1] + (1 if task.phase == FORWARD else -1))
            assert max(in_flight) == peak(stage, p, m), (stage, p, m)


def test_the_tables_in_the_source_are_what_the_schedules_do():
    rows = re.findall(r"^# (stage .*)$", inspect.getsource(schedule), re.MULTILINE)
    expected = []
    for name in NAMES:
        simulation = simulate([SCHEDULES[name](d, 3, 5) for d in range(3)])
        expected.extend(draw(simulation).splitlines())
    assert rows == expected


def test_the_peaks_in_the_source_are_those_of_the_schedules():
    peaks = re.findall(r"^# In flight at most: (.*)\.$", inspect.getsource(schedule), re.MULTILINE)
    assert peaks == [", ".join(map(str, simulate(
        [SCHEDULES[name](d, 3, 5) for d in range(3)]).peak_in_flight)) for name in NAMES]


def test_schedules_are_found_by_name():
    assert sorted(SCHEDULES) == sorted(NAMES)
    for name in NAMES:
        assert get_schedule(name) is SCHEDULES[name]


@pytest.mark.parametrize("name, hint", [
    ("preferbackwards", "did you mean 'preferbackward'"),
    ("zzz", "known: preferbackward, preferbackwardoptimizer, preferforward"),
])
def test_an_unknown_schedule_names_the_nearest(name, hint):
    with pytest.raises(ConfigError) as caught:
        get_schedule(name)
    assert "pipeline.strategy = '{}'".format(name) in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments, message", [
    ((2, 2, 4), r"stage = 2 of 2 stage\(s\): use 0 to 1"),
    ((-1, 2, 4), r"stage = -1 of 2 stage\(s\): use 0 to 1"),
    ((0, 2, 0), "num_micro_batch = 0: use 1 or more"),
])
def test_numbers_that_are_out_of_range_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        SCHEDULES[name](*arguments)
