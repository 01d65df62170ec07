# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Devices that are not equally fast: what the same work takes on each, in whole numbers.

    "2 1 1"    the first device of a replica is twice as fast as the others --> weights 1 2 2
"""

from fractions import Fraction
from functools import reduce
from math import gcd
from typing import List, NamedTuple, Tuple

from epl.errors import ConfigError, shown
from epl.plan.parallel_plan import ParallelPlan

_KEY = "auto.device_speeds"


class Weights(NamedTuple):
    """What the same work takes.

    Attributes:
      of_stage: the time that one unit of work takes on the device of each stage.
      one: the time that it takes on a device as fast as the fastest, and what is on none.
    """

    of_stage: Tuple[int, ...]
    one: int


def parse(text: str) -> List[Fraction]:
    """The speeds that a configuration says; none if it says nothing.

    Raises:
      ConfigError: something that is no number above 0.
    """
    found = []
    for word in text.replace(",", " ").split():
        try:
            in_range = "/" in word or 0 < float(word) < 1e7  # Fraction("1e999999999") takes hours
            speed = Fraction(word if in_range else 0)
        except (ValueError, ZeroDivisionError):
            speed = Fraction(0)
        if speed <= 0 or speed.denominator > 10 ** 6 or speed > 10 ** 6:
            raise ConfigError("{} = {}: {} is no speed; write a number above 0 for each device of "
                              "a replica, such as '2 1'".format(_KEY, shown(text), shown(word)))
        found.append(speed)
    return found


def weights_of(text: str, plan: ParallelPlan) -> Weights:
    """What the stages of a plan have to count with.

    Args:
      text: the speeds of the devices of a replica, in the order of its devices; "": all are equal.
      plan: whose stages are on these devices. Of several devices of a stage the slowest counts.

    Raises:
      ConfigError: other than one speed for each device.
    """
    speeds = parse(text)
    if not speeds:
        return Weights((1,) * plan.num_stages, 1)
    if len(speeds) != plan.devices_per_replica:
        raise ConfigError("{} = {} has {} speed(s), but a replica of the model has {} device(s): "
                          "write one for each".format(
                              _KEY, shown(text), len(speeds), plan.devices_per_replica))
    slowest, first = {}, 0
    for column in plan.columns:
        behind = first + plan.device_counts[column[0]]
        slowest.update(dict.fromkeys(column, min(speeds[first:behind])))
        first = behind
    times = [max(speeds) / slowest[stage] for stage in range(plan.num_stages)]
    one = reduce(lambda a, b: a * b // gcd(a, b), (time.denominator for time in times), 1)
    return Weights(tuple(int(time * one) for time in times), one)
