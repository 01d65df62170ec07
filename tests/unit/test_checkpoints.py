# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a forward pass is cut whose activations are computed again: on numbers alone."""

import itertools

import pytest

from epl.plan.checkpoints import Activation, Stretch, choose_cuts


def chain(sizes, always=0, in_flight=1, costs=None):
    """Operations one after the other; each reads the one before it, and the gradients read all."""
    last = len(sizes) - 1
    return Stretch(costs or [1] * len(sizes), [
        Activation(size, number, min(number + 1, last), True)
        for number, size in enumerate(sizes)], range(len(sizes)), always, in_flight)


def peak_of(stretch, positions):
    """The most bytes in memory while the backward pass works, played through."""
    kept = {each for each in stretch.activations for cut in positions
            if each.made <= cut < each.until}
    borders = [-1] + list(positions)
    peak = 0
    for first, end in zip(borders, positions):
        before = sum(each.size for each in kept if each.made <= end)
        held = sum(each.size for each in stretch.activations
                   if each.needed and first < each.made <= end and each not in kept)
        peak = max(peak, stretch.in_flight * before + held)
    rest = sum(each.size for each in stretch.activations if each.needed
               and each.made > borders[-1])
    total = sum(each.size for each in kept) + rest
    return stretch.in_flight * stretch.always + max(peak, stretch.in_flight * total)


def best_of_all(stretch):
    places = range(len(stretch.costs))
    return min(peak_of(stretch, cuts) for number in range(len(places) + 1)
               for cuts in itertools.combinations(places, number))


MODELS = {
    "equal": chain([4] * 9),
    "one large": chain([1, 1, 9, 1, 1, 1, 1]),
    "growing": chain([1, 2, 3, 4, 5, 6, 7]),
    "in flight": chain([4] * 8, in_flight=3),
    "always": chain([4] * 6, always=5),
    # Two layers of three operations; the first of each is read by the last as well.
    "residual": Stretch([1] * 8, [
        Activation(4, 0, 3, True), Activation(8, 1, 2, True), Activation(8, 2, 3, False),
        Activation(4, 3, 6, True), Activation(8, 4, 5, True), Activation(8, 5, 6, False),
        Activation(4, 6, 7, True), Activation(1, 7, 7, True)], range(8), 0, 1),
    # What is read from everywhere is kept once.
    "mask": Stretch([1] * 7, [Activation(3, 0, 6, False)] + [
        Activation(4, number, min(number + 1, 6), True) for number in range(1, 7)], range(7), 0, 1),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_peak_is_about_the_least_possible_and_what_it_is_said_to_be(name):
    stretch = MODELS[name]
    found = choose_cuts(stretch)
    assert peak_of(stretch, found.positions) <= found.peak
    assert found.peak <= 1.06 * best_of_all(stretch) + 1


def test_cuts_go_through_narrow_places():
    stretch = MODELS["residual"]
    narrow = {number for number in range(8)
              if sum(each.made <= number < each.until for each in stretch.activations) <= 1}
    assert set(choose_cuts(stretch).positions) <= narrow


def test_equal_layers_come_to_about_the_root():
    found = choose_cuts(chain([100] * 200))
    assert found.peak < 100 * (2 * (2 * 200) ** 0.5)
    lengths = [b - a for a, b in zip((-1,) + found.positions, found.positions)]
    assert lengths[0] > 2 * lengths[-1]  # the later a segment, the more is kept before it


@pytest.mark.parametrize("budget", [20, 25, 30, 35])
def test_a_budget_is_used_up(budget):
    """The last cut is as far in front as the budget allows: what is behind it is not repeated."""
    stretch = chain([4] * 9)
    found = choose_cuts(stretch, budget)
    assert peak_of(stretch, found.positions) <= found.peak <= budget
    cheaper = [cuts for number in range(4) for cuts in itertools.combinations(range(9), number)
               if peak_of(stretch, cuts) <= budget]
    assert found.cost == min(cuts[-1] + 1 if cuts else 0 for cuts in cheaper)


def test_nothing_is_cut_where_all_fits():
    assert choose_cuts(chain([4] * 9), 36) == ((), 36, 0)
    assert choose_cuts(chain([4])).positions == ()


def test_a_budget_that_is_too_small_gives_the_least():
    stretch = chain([4] * 9)
    found = choose_cuts(stretch, 5)
    assert found.peak > 5 and found.peak <= 1.06 * best_of_all(stretch) + 1


def test_a_long_model_is_cut_in_a_moment():
    found = choose_cuts(chain([100] * 20000))
    assert found.peak < 100 * 2 * (2 * 20000) ** 0.5 + 20000
    assert len(found.positions) < 200


def test_the_cost_is_that_of_all_before_the_last_cut():
    stretch = chain([4] * 6, costs=[1, 2, 4, 8, 16, 32])
    found = choose_cuts(stretch, 18)
    assert found.cost == sum(stretch.costs[:found.positions[-1] + 1])
