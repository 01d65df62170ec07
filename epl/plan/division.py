# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a chain of units is cut into stages: exactly, whatever the units are.

    units   0 1 2 3 | 4 5 | 6 7 8       3 stages; a stage's time is its work, the activations that
    stage     0     |  1  |   2         it sends behind its end, and the gradients in front of it

Of all divisions the one whose slowest stage is fastest; of these, and of those that are slower by
a slack at most, one that sends the fewest bytes: a model's narrow places are between its layers.
With a budget for memory, of all divisions each of whose stages keeps to it:

    state of the units + activations of a micro-batch x micro-batches in flight there

A division of the first units into s stages follows from those of fewer units into s - 1 (the linear
partition problem). What is found among few cuts, the narrowest of each stretch, is a bound for the
search among all of them, which then has little left to look at.
"""

import bisect
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from epl.errors import ConfigError
from epl.plan.costs import Chain, sums

_COARSE = 48  # cuts of the first search
_MIB = 1 << 20


class Division(NamedTuple):
    """A chain cut into stages.

    Attributes:
      starts: position of the first unit of each stage.
      slowest: the time of the slowest stage, in the unit of the weights and of `sent`.
      sent: bytes that cross the cuts, each way.
    """

    starts: Tuple[int, ...]
    slowest: int
    sent: int


class Limits(NamedTuple):
    """What stages have to keep to.

    Attributes:
      budget: bytes of each.
      in_flight: micro-batches between forward and backward at most, by stage.
    """

    budget: int
    in_flight: Sequence[int]


def divide(chain: Chain, num_stages: int, sent: int, limits: Optional[Limits] = None,
           slack: int = 0, weights: Optional[Sequence[int]] = None) -> Division:
    """The best division of a chain.

    Args:
      chain: the units, and what they hand on.
      num_stages: 1 or more.
      sent: the time that it takes to send a byte.
      limits: None: memory does not matter.
      slack: percent by which the slowest stage may be slower than in the fastest division, where
        that sends fewer bytes.
      weights: the time that one of `Unit.work` takes on the device of each stage, 1 or more; None:
        1 on all.

    Raises:
      ConfigError: more stages than units; stages that need more than the budget however the chain
        is cut.
    """
    if num_stages > len(chain.units):
        raise ConfigError(
            "pipeline.num_stages = {}, but the model has {} part(s) that can be cut apart (a loop "
            "or a condition is one part): use {} or less".format(
                num_stages, len(chain.units), len(chain.units)))
    search = _Search(chain, sent, limits, list(weights or [1] * num_stages))
    if limits is not None and search.filled(limits.budget) is None:
        raise ConfigError(
            "auto.memory_budget_mb = {}, but however the model is cut into {} stage(s), one of "
            "them needs {} MiB or more: use that, more stages, a smaller batch, or a schedule with "
            "fewer micro-batches in flight".format(
                limits.budget // _MIB, num_stages, -(-search.least_budget() // _MIB)))
    return search.best(slack)


class _Search:
    """The divisions of one chain into one number of stages."""

    def __init__(self, chain: Chain, sent: int, limits: Optional[Limits], weights: List[int]):
        self._num_units, self._num_stages = len(chain.units), len(weights)
        self._sent, self._limits, self._weights = sent, limits, weights
        self._work = sums([unit.work for unit in chain.units])
        self._activations = sums([unit.activations for unit in chain.units])
        self._state = sums([unit.state for unit in chain.units])
        self._width = [0] + chain.widths() + [0]  # of the cut in front of each unit

    def filled(self, budget: int) -> Optional[List[int]]:
        """Starts of the division whose stages are as long as a budget allows, the first before all.

        If that leaves over units, every division needs more: None.
        """
        starts = [0]
        for stage in range(self._num_stages):
            last = self._num_units - (self._num_stages - 1 - stage)
            end = starts[-1]
            while end < last and self._memory(stage, starts[-1], end + 1) <= budget:
                end += 1
            if end == starts[-1]:
                return None
            starts.append(end)
        return starts[:-1] if starts[-1] == self._num_units else None

    def least_budget(self) -> int:
        """The smallest budget that there is a division for."""
        too_small, enough = 0, max(self._memory(stage, 0, self._num_units)
                                   for stage in range(self._num_stages))
        while enough - too_small > 1:
            middle = (too_small + enough) // 2
            if self.filled(middle) is None:
                too_small = middle
            else:
                enough = middle
        return enough

    def best(self, slack: int) -> Division:
        """The division that sends least, of those that are slower by no more than `slack` %."""
        bound = self._work[-1] * max(self._weights) + 2 * self._sent * max(self._width)
        for places in (self._narrowest(), list(range(self._num_units + 1))):
            bound = self._slowest(places, bound)
        starts, sent = self._fewest_bytes(list(range(self._num_units + 1)),
                                          bound * (100 + slack) // 100)
        return Division(starts, max(map(self._time, range(self._num_stages), starts,
                                        starts[1:] + (self._num_units,))), sent)

    def _time(self, stage: int, first: int, end: int) -> int:
        return (self._weights[stage] * (self._work[end] - self._work[first])
                + self._sent * (self._width[first] + self._width[end]))

    def _slowest(self, places: List[int], bound: int) -> int:
        """The time of the slowest stage in the best division with starts in `places`."""
        before = {0: 0}
        for stage in range(self._num_stages):
            found: Dict[int, int] = {}
            for first, end, time in self._stages(stage, before, places, bound):
                found[end] = min(found.get(end, bound), max(before[first], time))
            before = found
        return before[self._num_units]

    def _fewest_bytes(self, places: List[int], bound: int) -> Tuple[Tuple[int, ...], int]:
        """(starts, bytes) of the division that sends least, with no stage slower than `bound`."""
        before: Dict[int, Tuple[int, Tuple[int, ...]]] = {0: (0, ())}
        for stage in range(self._num_stages):
            found: Dict[int, Tuple[int, Tuple[int, ...]]] = {}
            for first, end, _ in self._stages(stage, before, places, bound):
                sent, starts = before[first]
                sent += self._width[end]
                if end not in found or sent < found[end][0]:
                    found[end] = sent, starts + (first,)
            before = found
        sent, starts = before[self._num_units]
        return starts, sent

    def _stages(self, stage: int, before: Iterable[int], places: List[int],
                bound: int) -> Iterator[Tuple[int, int, int]]:
        """(first unit, unit behind the last, time) of what this stage can be.

        Args:
          stage: 0-based.
          before: where it may begin.
          places: where it may end, in order.
          bound: neither it nor another stage takes longer.
        """
        most = [bound // weight for weight in self._weights]  # of work, by stage
        rest = self._work[-1] - sum(most[stage + 1:])
        firsts = sorted(before)
        for end in places if stage < self._num_stages - 1 else [self._num_units]:
            if self._work[end] < rest:
                continue
            if self._work[end] > sum(most[:stage + 1]):
                break
            for number in range(bisect.bisect_left(firsts, end) - 1, -1, -1):
                first = firsts[number]
                if self._work[end] - self._work[first] > most[stage] \
                        or not self._fits(stage, first, end):
                    break
                time = self._time(stage, first, end)
                if time <= bound:
                    yield first, end, time

    def _fits(self, stage: int, first: int, end: int) -> bool:
        return self._limits is None or self._memory(stage, first, end) <= self._limits.budget

    def _memory(self, stage: int, first: int, end: int) -> int:
        assert self._limits is not None
        return (self._state[end] - self._state[first] + self._limits.in_flight[stage]
                * (self._activations[end] - self._activations[first]))

    def _narrowest(self) -> List[int]:
        """Places for a first search; among them are the starts of a division that is possible."""
        windows: Dict[int, List[int]] = {}
        for place in range(1, self._num_units):
            windows.setdefault(self._work[place] * _COARSE // max(1, self._work[-1]), []).append(
                place)
        found = {min(some, key=lambda place: (self._width[place], place))
                 for some in windows.values()}
        possible = list(range(self._num_stages)) if self._limits is None else self.filled(
            self._limits.budget)
        assert possible is not None  # or the budget was refused
        return sorted(found.union(possible, [0, self._num_units]))
