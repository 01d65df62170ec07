# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Variables are spread over devices evenly, by size, the same way every time."""

import itertools
import random

import pytest

from epl.rewrite.place import balance_by_size


def loads(sizes, devices):
    found = [0] * devices
    for size, device in zip(sizes, balance_by_size(sizes, devices)):
        found[device] += size
    return found


def test_nothing_is_spread_to_nothing():
    assert balance_by_size([], 3) == []


def test_one_device_holds_all():
    assert balance_by_size([5, 1, 9], 1) == [0, 0, 0]


@pytest.mark.parametrize("sizes, devices, expected", [
    ([1, 1, 1, 1], 2, [0, 1, 0, 1]),
    ([4, 3, 2, 1], 2, [0, 1, 1, 0]),
    ([1, 2, 3, 4], 2, [0, 1, 1, 0]),
    ([9, 1, 1, 1], 2, [0, 1, 1, 1]),
    ([5, 5], 4, [0, 1]),
])
def test_the_largest_come_first_each_to_the_emptiest(sizes, devices, expected):
    assert balance_by_size(sizes, devices) == expected


@pytest.mark.parametrize("seed", range(5))
def test_no_device_holds_more_than_its_share_and_one_variable(seed):
    draw = random.Random(seed)
    for devices in (2, 3, 4, 8):
        sizes = [draw.choice([1, 4, 64, 1000, 4096]) for _ in range(draw.randrange(1, 40))]
        found = loads(sizes, devices)
        assert sum(found) == sum(sizes)
        assert max(found) <= sum(sizes) / devices + max(sizes)
        # The bound of longest-processing-time-first (Graham 1969): 4/3 of what is possible.
        lower = max(sum(sizes) / devices, max(sizes))
        assert max(found) <= 4 / 3 * max(lower, _pair(sizes, devices))


def _pair(sizes, devices):
    """Two of the `devices` + 1 largest have to share a device."""
    largest = sorted(sizes, reverse=True)[:devices + 1]
    return sum(largest[-2:]) if len(largest) > devices else 0


def test_the_division_is_near_the_best_of_small_cases():
    for sizes in itertools.combinations_with_replacement([1, 2, 3, 7], 5):
        best = min(max(sum(s for s, d in zip(sizes, choice) if d == k) for k in range(2))
                   for choice in itertools.product(range(2), repeat=len(sizes)))
        assert max(loads(sizes, 2)) <= 7 / 6 * best + 1e-9


def test_the_same_sizes_are_spread_the_same_way():
    sizes = [3, 3, 8, 1, 8, 0, 2]
    assert all(balance_by_size(list(sizes), 3) == balance_by_size(sizes, 3) for _ in range(5))


def test_variables_of_no_size_break_nothing():
    assert set(balance_by_size([0, 0, 0], 2)) <= {0, 1}
