# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a forward pass is cut, so that its activations take little memory when they are computed
again for the backward pass.

    position     0   1   2   3 | 4   5   6   7 | 8   9
    activations  a-->b-->c-->d-|>e-->f-->g-->h-|>i-->j --> loss
                               cut             cut
    kept                     d               h       i j
    once more    a   b   c       e   f   g

At a cut is kept what is computed in front of it and read behind it: one tensor between two layers,
several inside of one. So the cuts that cost least are where a model is narrow, whatever its parts
are called. While the backward pass works on a segment, in memory are

    what is kept up to the end of the segment + what the backward pass reads of the segment

The least that this can be at most is found by trying limits (the idea of Chen et al., "Training
Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, with the costs of the cuts themselves):
under a limit, the cheapest way to reach each cut follows from those to the cuts before it. n equal
layers come out in about the square root of 2 n segments, the first the longest.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

_SLACK = 1.05  # without a budget: so much more memory may be used to compute less again
_MOST = 160  # cuts that are tried
_ROUNDS = 24  # limits that are tried


class Activation(NamedTuple):
    """What one operation computes.

    Attributes:
      size: in bytes.
      made: position of the operation.
      until: of the last one that reads it, or whose gradient does.
      needed: the backward pass reads it.
    """

    size: int
    made: int
    until: int
    needed: bool


class Stretch(NamedTuple):
    """The operations of one stage, by their positions 0, 1, ...

    Attributes:
      costs: what it costs to run each of them.
      activations: what may be computed again.
      places: positions behind which a cut is possible.
      always: bytes that are kept whatever is computed again.
      in_flight: micro-batches whose backward pass is to come, at most.
    """

    costs: Sequence[int]
    activations: Sequence[Activation]
    places: Sequence[int]
    always: int
    in_flight: int


class Cuts(NamedTuple):
    """Where to cut.

    Attributes:
      positions: a segment ends with each; what is behind the last one is kept as it is.
      peak: bytes in memory at a time, at most.
      cost: of all that is in front of the last cut: no more is computed again.
    """

    positions: Tuple[int, ...]
    peak: int
    cost: int


def choose_cuts(stretch: Stretch, budget: Optional[int] = None) -> Cuts:
    """The cuts with which least is computed again within a budget.

    Args:
      stretch: what is cut.
      budget: bytes; None: about as few as possible.

    Returns:
      The cuts; where the budget is too small, those that need least memory.
    """
    search = _Search(stretch)
    least, most = search.lower_bound(), search.whole()
    if budget is not None:
        found = search.within(budget)
        if found is not None:
            return found
    for _ in range(_ROUNDS):
        if most - least <= most // 200:
            break
        limit = (least + most) // 2
        found = search.within(limit)
        if found is None:
            least = limit
        else:
            most = min(limit, found.peak)
    if budget is None:
        most = int(most * _SLACK)
    best = search.within(most)
    assert best is not None  # `most` was possible
    return best


class _Search:
    """Cheapest ways through the cuts of a stretch.

    Attributes:
      cuts: the positions that are tried, the first in front of everything.
    """

    def __init__(self, stretch: Stretch):
        self._in_flight, self._always = stretch.in_flight, stretch.in_flight * stretch.always
        end = len(stretch.costs) - 1
        self.cuts = [-1] + _narrowest(stretch)
        if self.cuts[-1] != end:
            self.cuts.append(end)
        self._before = _sums(stretch.costs)
        made = [0] * len(stretch.costs)
        for each in stretch.activations:
            made[each.made] += each.size if each.needed else 0
        self._needed = _sums(made)
        self._crossing = [_crossing(stretch, position) for position in self.cuts]
        self._steps = [self._steps_to(number) for number in range(len(self.cuts))]

    def lower_bound(self) -> int:
        """No fewer bytes will do."""
        return self._always

    def whole(self) -> int:
        """Bytes if nothing is computed again."""
        return self._always + self._in_flight * self._needed[-1]

    def within(self, limit: int) -> Optional[Cuts]:
        """The way on which least is computed again that needs no more than `limit` bytes."""
        kept: Dict[int, int] = {0: 0}  # number of a cut -> fewest bytes that are kept up to it
        peaks, origin = {0: self._always}, {0: 0}
        for number in range(1, len(self.cuts)):
            for before, more, held in self._steps[number]:
                if before not in kept:
                    continue
                total = kept[before] + more
                peak = self._always + self._in_flight * total + held
                if peak <= limit and total < kept.get(number, total + 1):
                    kept[number], origin[number] = total, before
                    peaks[number] = max(peak, peaks[before])
        for number in sorted(kept):  # the earlier the last cut, the less is computed again
            rest = self._needed[-1] - self._needed[self.cuts[number] + 1]
            peak = self._always + self._in_flight * (kept[number] + rest)
            if peak <= limit:
                return self._way(number, origin, max(peak, peaks[number]))
        return None

    def _way(self, number: int, origin: Dict[int, int], peak: int) -> Cuts:
        found: List[int] = []
        while number:
            found.append(self.cuts[number])
            number = origin[number]
        positions = tuple(reversed(found))
        return Cuts(positions, peak, self._before[positions[-1] + 1] if positions else 0)

    def _steps_to(self, number: int) -> List[Tuple[int, int, int]]:
        """(cut before, bytes that this cut keeps beside it, bytes of the segment between)."""
        crossing = sorted(self._crossing[number], key=lambda each: -each.made)
        found, more, kept_needed, index = [], 0, 0, 0
        for before in range(number - 1, -1, -1):
            while index < len(crossing) and crossing[index].made > self.cuts[before]:
                more += crossing[index].size
                kept_needed += crossing[index].size if crossing[index].needed else 0
                index += 1
            held = self._needed[self.cuts[number] + 1] - self._needed[self.cuts[before] + 1]
            found.append((before, more, held - kept_needed))
        return found[::-1]  # the longest segment first: of equal ways the one with fewest cuts


def _sums(numbers: Sequence[int]) -> List[int]:
    """Of the first 0, 1, .. of them."""
    found = [0]
    for number in numbers:
        found.append(found[-1] + number)
    return found


def _crossing(stretch: Stretch, position: int) -> List[Activation]:
    return [each for each in stretch.activations if each.made <= position < each.until]


def _narrowest(stretch: Stretch) -> List[int]:
    """The places for cuts; if there are too many, the one in each window at which least is kept."""
    if len(stretch.places) <= _MOST:
        return sorted(stretch.places)
    change = [0] * (len(stretch.costs) + 1)
    for each in stretch.activations:
        if each.until > each.made:
            change[each.made] += each.size
            change[each.until] -= each.size
    widths = _sums(change)[1:]
    windows: Dict[int, List[int]] = {}
    for place in sorted(stretch.places):
        windows.setdefault(place * _MOST // len(stretch.costs), []).append(place)
    return [min(some, key=lambda place: (widths[place], place)) for some in windows.values()]
