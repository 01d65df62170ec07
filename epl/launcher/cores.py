# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The cores of a machine, divided between its workers."""

from typing import Collection, List

from epl.errors import ConfigError


def share(cores: Collection[int], index: int, count: int) -> List[int]:
    """The cores of worker `index` of `count` on a machine: a block of neighbours.

    No core belongs to two workers; what does not divide evenly goes to the first ones.

    Args:
      cores: numbers of the cores that the launcher may use.
      index: which of the machine's workers, 0-based.
      count: workers on this machine.

    Raises:
      ConfigError: there are fewer cores than workers.
    """
    if len(cores) < count:
        raise ConfigError("--bind: {} worker(s) on {} core(s): each worker needs one; leave --bind "
                          "out or start fewer workers".format(count, len(cores)))
    ordered = sorted(cores)
    each, more = divmod(len(ordered), count)
    begin = index * each + min(index, more)
    return ordered[begin:begin + each + (1 if index < more else 0)]


def as_ranges(cores: Collection[int]) -> str:
    """`0-3,8`: the way the kernel writes a list of cores."""
    blocks: List[List[int]] = []
    for core in sorted(cores):
        if blocks and blocks[-1][1] == core - 1:
            blocks[-1][1] = core
        else:
            blocks.append([core, core])
    return ",".join(str(a) if a == b else "{}-{}".format(a, b) for a, b in blocks)
