# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a chain of units is cut into stages: against all divisions that there are."""

import itertools
import random

import pytest

from epl.errors import ConfigError
from epl.plan.costs import RATES, Chain, Crossing, Rates, Unit, work_of
from epl.plan.division import Limits, divide

SENT = 3


def drawn(seed, most=9):
    """A chain of random units and tensors, a number of stages that it has units for, limits."""
    draw = random.Random(seed)
    number = draw.randint(1, most)
    chain = Chain(
        [Unit(0, draw.choice([0, 1, 5, 20, 50]), draw.randint(0, 9), draw.randint(0, 30))
         for _ in range(number)],
        [Crossing(draw.randint(1, 8), made, draw.randint(made, number - 1))
         for made in range(number) for _ in range(draw.randint(0, 2))])
    num_stages = draw.randint(1, min(5, number))
    return chain, num_stages, list(range(num_stages, 0, -1))


def divisions(chain, num_stages):
    """The starts of the stages of every division."""
    for cuts in itertools.combinations(range(1, len(chain.units)), num_stages - 1):
        yield (0,) + cuts


def stages_of(chain, starts):
    return list(zip(starts, starts[1:] + (len(chain.units),)))


def crossing(chain, start):
    """Bytes over the cut in front of a unit, told tensor by tensor."""
    return sum(each.size for each in chain.crossings if each.made < start <= each.until)


def judged(chain, starts, weights=None):
    """(time of the slowest stage, bytes over all cuts)."""
    times = [weight * sum(unit.work for unit in chain.units[first:end])
             + SENT * (crossing(chain, first) + crossing(chain, end)) for weight, (first, end)
             in zip(weights or [1] * len(starts), stages_of(chain, starts))]
    return max(times), sum(crossing(chain, start) for start in starts)


def fullest(chain, starts, in_flight):
    """Bytes of the stage that needs most."""
    return max(sum(unit.state + number * unit.activations for unit in chain.units[first:end])
               for number, (first, end) in zip(in_flight, stages_of(chain, starts)))


@pytest.mark.parametrize("seed", range(80))
def test_no_division_is_better(seed):
    chain, num_stages, _ = drawn(seed)
    found = divide(chain, num_stages, SENT)
    assert judged(chain, found.starts) == (found.slowest, found.sent)
    assert (found.slowest, found.sent) == min(
        judged(chain, starts) for starts in divisions(chain, num_stages))


@pytest.mark.parametrize("seed", range(80))
def test_no_division_over_unequal_devices_is_better(seed):
    chain, num_stages, in_flight = drawn(seed)
    weights = random.Random(seed).choices([1, 2, 3, 7], k=num_stages)
    needs = {starts: fullest(chain, starts, in_flight) for starts in divisions(chain, num_stages)}
    budget = sorted(needs.values())[len(needs) // 2]
    found = divide(chain, num_stages, SENT, Limits(budget, in_flight), weights=weights)
    assert judged(chain, found.starts, weights) == (found.slowest, found.sent)
    assert (found.slowest, found.sent) == min(
        judged(chain, starts, weights) for starts, need in needs.items() if need <= budget)


@pytest.mark.parametrize("seed", range(80))
def test_with_a_slack_none_that_is_nearly_as_fast_sends_less(seed):
    chain, num_stages, _ = drawn(seed)
    all_judged = [judged(chain, starts) for starts in divisions(chain, num_stages)]
    found = divide(chain, num_stages, SENT, slack=20)
    assert judged(chain, found.starts) == (found.slowest, found.sent)
    bound = min(all_judged)[0] * 120 // 100
    assert found.slowest <= bound
    assert found.sent == min(sent for slowest, sent in all_judged if slowest <= bound)


@pytest.mark.parametrize("seed", range(80))
def test_no_division_within_a_budget_is_better(seed):
    chain, num_stages, in_flight = drawn(seed)
    needs = {starts: fullest(chain, starts, in_flight) for starts in divisions(chain, num_stages)}
    budget = sorted(needs.values())[len(needs) // 4]
    found = divide(chain, num_stages, SENT, Limits(budget, in_flight))
    assert needs[found.starts] <= budget
    assert (found.slowest, found.sent) == min(
        judged(chain, starts) for starts, need in needs.items() if need <= budget)


@pytest.mark.parametrize("seed", range(30))
def test_a_budget_that_is_too_small_is_refused_with_the_least_that_will_do(seed):
    chain, num_stages, in_flight = drawn(seed)
    mib = 1 << 20
    chain = chain._replace(units=[Unit(0, unit.work, unit.activations * mib, unit.state * mib + 1)
                                  for unit in chain.units])
    least = -(-min(fullest(chain, starts, in_flight)
                   for starts in divisions(chain, num_stages)) // mib)
    divide(chain, num_stages, SENT, Limits(least * mib, in_flight))
    with pytest.raises(ConfigError, match=r"auto.memory_budget_mb = {}, but .* {} stage\(s\), one "
                       r"of them needs {} MiB or more".format(least - 1, num_stages, least)):
        divide(chain, num_stages, SENT, Limits((least - 1) * mib, in_flight))


def test_more_stages_than_units_are_refused():
    chain = Chain([Unit(1, 1)] * 3, [])
    assert divide(chain, 3, SENT).starts == (0, 1, 2)
    with pytest.raises(ConfigError, match=r"num_stages = 4, but the model has 3 part.*use 3 or"):
        divide(chain, 4, SENT)


def test_equal_layers_are_shared_out_evenly_at_their_narrow_places():
    """Twelve layers of four units; inside of a layer three times as much crosses."""
    units = [Unit(0, 100)] * 48
    chain = Chain(units, [Crossing(1, n, n + 1) for n in range(47)]
                  + [Crossing(2, 4 * layer, 4 * layer + 3) for layer in range(12)])
    assert divide(chain, 4, SENT).starts == (0, 12, 24, 36)


def test_a_skip_connection_crosses_every_cut_under_it():
    chain = Chain([Unit(0, 1)] * 5, [Crossing(7, 0, 3), Crossing(1, 1, 2), Crossing(2, 4, 4)])
    assert chain.widths() == [7, 8, 7, 0]


def test_a_model_of_thousands_of_operations_is_cut_exactly_in_a_moment():
    """As many layers as BERT-large has, uneven ones, and a mask that all of them read."""
    draw = random.Random(1)
    units = [Unit(0, draw.randint(1, 1000)) for _ in range(3000)]
    chain = Chain(units, [Crossing(draw.randint(1, 50), n, n + 1) for n in range(2999)]
                  + [Crossing(9, 0, 2990)])
    found = divide(chain, 8, SENT)
    assert judged(chain, found.starts) == (found.slowest, found.sent)
    assert sum(unit.work for unit in units) / 8 <= found.slowest < sum(
        unit.work for unit in units) / 8 + 2000


def test_work_counts_what_flops_do_not():
    assert work_of(10, 2, 5, Rates(operation=100, written=3, sent=0)) == 10 + 200 + 15
    assert set(RATES) == {"cpu", "gpu"}
