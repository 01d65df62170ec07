# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
r"""What a traced run allocated, device by device, from the allocation records of `StepStats`.

    in use
      ^            ____        peak
      |       ____/    \__
      |  ____/            \____   what the run allocates and gives back
      |_/______________________   persistent: variables, constants
      +------------------------> time

A record is a piece of memory that an operation took (more than 0 bytes), or that became free again
(fewer). Memory that an operation takes over from its input, and works on in place, has no records.
"""

import re
from typing import Any, Collection, Iterable, List, NamedTuple, Optional, Tuple

from epl.profiler.events import LAUNCHED, device_key

_HOST_ALLOCATOR = re.compile("cpu|host", re.IGNORECASE)


class Record(NamedTuple):
    """One change of what is in use.

    Attributes:
      time: in microseconds since the epoch.
      name: the operation that took the memory, also where it is given back.
      bytes: taken, or less than 0: given back.
      allocator: TensorFlow's name for where it comes from.
      persistent: bytes that stay in use behind the run.
      in_use: bytes in use on the device afterwards.
    """

    time: int
    name: str
    bytes: int
    allocator: str
    persistent: int
    in_use: int


class DeviceMemory(NamedTuple):
    """The memory of one device in one run.

    Attributes:
      device: its TensorFlow name.
      short: kind and number, "GPU:0".
      persistent: bytes of variables and constants that the run used.
      peak: most bytes that were in use at a time, persistent ones included. For a GPU at least what
        its allocator says, which knows of everything in the process.
      records: in the order of time.
    """

    device: str
    short: str
    persistent: int
    peak: int
    records: Tuple[Record, ...]

    def peak_of(self, names: Collection[str]) -> int:
        """Most bytes that these operations took in the run and held at a time."""
        in_use = peak = 0
        for record in self.records:
            if record.name in names and not record.persistent:
                in_use += record.bytes
                peak = max(peak, in_use)
        return peak


def read_memory(step_stats: Any) -> List[DeviceMemory]:
    """The memory of a traced run.

    Args:
      step_stats: `RunMetadata.step_stats` of a run with `RunOptions.FULL_TRACE`.

    Returns:
      The devices that used any, in the order of their names.
    """
    found = []
    for stats in sorted(step_stats.dev_stats, key=lambda each: each.device):
        key = device_key(stats.device)
        if key is not None and key[1] == LAUNCHED:
            memory = _memory(stats.device, key[0], stats.node_stats)
            if memory.peak:
                found.append(memory)
    return found


def megabytes(number: int) -> str:
    """Bytes for people."""
    return "{:.3f} MiB".format(number / 2.0 ** 20)


def _memory(device: str, short: str, nodes: Iterable[Any]) -> DeviceMemory:
    host, changes, known = short.startswith("CPU"), [], 0
    start: Optional[int] = None
    for node in nodes:
        start = node.all_start_micros if start is None else min(start, node.all_start_micros)
        kept = node.memory_stats.persistent_memory_size
        if kept:  # it was there before the run
            changes.append((0, node.node_name, kept, "", kept))
        for used in node.memory:
            if bool(_HOST_ALLOCATOR.search(used.allocator_name)) != host:
                continue  # a GPU's operation reads numbers from the host, or writes them there
            if not host:
                known = max(known, used.allocator_bytes_in_use)
            changes.extend((record.alloc_micros, node.node_name, record.alloc_bytes,
                            used.allocator_name, 0) for record in used.allocation_records)
    records, in_use, peak = [], 0, 0
    # At the same time what is given back comes first: another may take it at once.
    for time, name, size, allocator, kept in sorted(changes, key=lambda each: (each[0], each[2])):
        in_use += size
        peak = max(peak, in_use)
        records.append(Record(time or start or 0, name, size, allocator, kept, in_use))
    return DeviceMemory(device, short, sum(change[4] for change in changes), max(peak, known),
                        tuple(records))
