# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
r"""What the parts of a model cost: the chain of units that `plan.division` cuts into stages.

    units        0   1   2   3   4   5        each with its work and its memory
    tensors      a-->b-->c-->d-->e-->loss
                 \__________/                 a skip connection: it crosses three cuts
    cut behind   0   1   2   3   4

Everything is a whole number, so that two workers come to the same division: floating-point
operations (FLOPs), bytes, and times in FLOPs or, where they were measured, in picoseconds.
"""

from typing import List, NamedTuple, Sequence


class Rates(NamedTuple):
    """How many FLOPs a device computes in the time that something else takes it.

    Attributes:
      operation: starting one operation.
      written: writing one byte of a result.
      sent: sending one byte to the device of the next stage.
    """

    operation: int
    written: int
    sent: int


# Assumed, not measured. A CPU core: 40 GFLOP/s, 10 GB/s, 2.5 us for an operation. A GPU: 10
# TFLOP/s, 600 GB/s in its memory, 10 GB/s to another one, 5 us.
RATES = {"cpu": Rates(100000, 4, 4), "gpu": Rates(50000000, 16, 1000)}
PER_SECOND = {"cpu": 4e10, "gpu": 1e13}  # FLOPs
# Bytes per second to a device of the same worker, and to one of another (10 and 100 Gbit/s).
LINKS = {"cpu": (1e10, 1.25e9), "gpu": (1e10, 1.25e10)}


class Unit(NamedTuple):
    """What is not cut: an operation, or several that have to stay together.

    Attributes:
      flops: of its forward and backward passes, for one micro-batch.
      work: the time of both, what else takes time included (in FLOPs: see `work_of`).
      activations: bytes that a micro-batch leaves for the backward pass.
      state: bytes of variables, their gradients and what the optimizer keeps.
    """

    flops: int
    work: int
    activations: int = 0
    state: int = 0


class Crossing(NamedTuple):
    """A tensor that units behind the one that makes it read.

    Attributes:
      size: bytes.
      made: position of the unit that makes it.
      until: of the last that reads it.
    """

    size: int
    made: int
    until: int


class Chain(NamedTuple):
    """A model as a chain: what a unit reads is made in front of it.

    Attributes:
      units: in that order.
      crossings: what they hand on.
    """

    units: Sequence[Unit]
    crossings: Sequence[Crossing]

    def widths(self) -> List[int]:
        """Bytes that cross a cut behind each unit; no cut is behind the last."""
        change = [0] * len(self.units)
        for each in self.crossings:
            if each.until > each.made:
                change[each.made] += each.size
                change[each.until] -= each.size
        return sums(change)[1:-1]


def work_of(flops: int, operations: int, written: int, rates: Rates) -> int:
    """What operations take of a device's time, in FLOPs.

    Args:
      flops: that they compute.
      operations: their number.
      written: bytes of their results.
      rates: of the device.
    """
    return flops + operations * rates.operation + written * rates.written


def sums(numbers: Sequence[int]) -> List[int]:
    """Of the first 0, 1, .. of them."""
    found = [0]
    for number in numbers:
        found.append(found[-1] + number)
    return found
