# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Devices that are not equally fast."""

import pytest

from epl.errors import ConfigError
from epl.plan.parallel_plan import make_plan
from epl.plan.speeds import Weights, parse, weights_of


def plan(*counts, **more):
    return make_plan([("", count) for count in counts], 1, more.pop("devices", sum(counts)),
                     num_micro_batch=4, **more)


def test_the_fastest_counts_once_and_the_others_as_often_as_they_are_slower():
    assert weights_of("", plan(1, 1)) == Weights((1, 1), 1)
    assert weights_of("3 3", plan(1, 1)) == Weights((1, 1), 1)
    assert weights_of("2 1", plan(1, 1)) == Weights((1, 2), 1)
    assert weights_of("1, 0.5 1/4", plan(1, 1, 1)) == Weights((1, 2, 4), 1)
    assert weights_of("3 2", plan(1, 1)) == Weights((2, 3), 2)


def test_a_stage_is_as_fast_as_the_slowest_of_its_devices():
    assert weights_of("4 2 1", plan(2, 1)) == Weights((2, 4), 1)


def test_stages_of_one_device_are_equally_fast():
    shared = plan(1, 1, 1, 1, devices=2, num_chunks=2)
    assert shared.columns == ((0, 2), (1, 3))
    assert weights_of("1 2", shared) == Weights((2, 1, 2, 1), 1)


@pytest.mark.parametrize("text", ["2 x", "2 0", "2 -1", "1/0 1", "nan 1", "inf 1", "1e9 1",
                                  "1e999999999 1", "1e-999999999 1", "1e9/2 1"])
def test_what_is_no_speed_is_refused(text):
    with pytest.raises(ConfigError, match="is no speed; write a number above 0 for each device"):
        parse(text)


def test_there_is_one_for_each_device_of_a_replica():
    for text in ("1", "1 2 3"):
        with pytest.raises(ConfigError, match=r"has \d speed\(s\), but a replica .* has 2"):
            weights_of(text, plan(1, 1, devices=4))
