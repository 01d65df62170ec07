# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which replica's stage sits on which devices.

    2 workers x 4 devices, 2 stages of 1 device each      w0: 0 1 2 3    w1: 0 1 2 3
    replica                                                   0 0 1 1        2 2 3 3
    stage                                                     0 1 0 1        0 1 0 1

The devices stand in one line; every replica takes the next ones and deals them to its stages.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from epl.errors import ConfigError


class Device(NamedTuple):
    """An accelerator, or a virtual CPU device.

    Attributes:
      worker: rank of the process that owns it.
      index: its 0-based number among the devices of that worker.
    """

    worker: int
    index: int  # type: ignore[assignment]  # hides tuple.index, as meant


# TaskGraph -> replica -> its devices, as a script chose them.
Slices = Tuple[Tuple[Tuple[Device, ...], ...], ...]


class Placement(NamedTuple):
    """One stage of one model replica on its devices.

    Attributes:
      replica: 0-based.
      stage: 0-based.
      devices: as many as the stage asked for.
    """

    replica: int
    stage: int
    devices: Tuple[Device, ...]


def lay_out(device_counts: Sequence[int], num_workers: int, devices_per_worker: int,
            prefer_intra_node: bool = True, slices: Optional[Slices] = None,
            columns: Optional[Sequence[Tuple[int, ...]]] = None) -> Tuple[Placement, ...]:
    """Deal all devices to model replicas.

    Args:
      device_counts: devices that each stage of a replica asks for.
      num_workers: processes in the job.
      devices_per_worker: devices of each.
      prefer_intra_node: the line of devices goes worker by worker; else through the first devices
        of all workers, then through the second ones.
      slices: all devices, as the script deals them itself; None: in the order of the line.
      columns: the stages that share a device, for every device of a replica, which are dealt out
        by their first stages; None: each stage has its own.

    Returns:
      Every stage of every replica, in that order.

    Raises:
      ConfigError: too few devices for a replica, or some left over; `slices` for other stages.
    """
    if slices is not None:
        return _as_chosen(slices, device_counts)
    together = sorted(columns or [(stage,) for stage in range(len(device_counts))])
    widths = [_width(column, device_counts) for column in together]
    _check_total(len(device_counts), sum(widths), num_workers, devices_per_worker)
    line = _in_line(num_workers, devices_per_worker, prefer_intra_node)
    size = sum(widths)
    placements: List[Placement] = []
    for replica in range(len(line) // size):
        own = line[replica * size:(replica + 1) * size]
        for column, width in zip(together, widths):
            placements.extend(Placement(replica, stage, tuple(own[:width])) for stage in column)
            own = own[width:]
    return tuple(sorted(placements))


def _width(column: Sequence[int], device_counts: Sequence[int]) -> int:
    """How many devices the stages of a column have, all the same ones."""
    counts = sorted({device_counts[stage] for stage in column})
    if len(counts) > 1:
        raise ConfigError(
            "stages {} share their devices (pipeline.num_chunks = {}), but ask for {} of them; let "
            "them ask for as many".format(" and ".join(map(str, column)), len(column),
                                          " and ".join(map(str, counts))))
    return counts[0]


def _as_chosen(slices: Slices, device_counts: Sequence[int]) -> Tuple[Placement, ...]:
    """The placements that a script chose."""
    counts = [sorted({len(devices) for devices in replicas}) for replicas in slices]
    replicas = sorted({len(each) for each in slices})
    if counts != [[count] for count in device_counts] or len(replicas) > 1:
        raise ConfigError(
            "the cluster's layout has {} TaskGraph(s) of {} device(s) in {} replica(s), the model "
            "{} of {}: choose devices for each TaskGraph, or layout=None".format(
                len(slices), counts, replicas, len(device_counts), list(device_counts)))
    return tuple(Placement(replica, stage, slices[stage][replica])
                 for replica in range(replicas[0]) for stage in range(len(slices)))


def _in_line(num_workers: int, devices_per_worker: int, prefer_intra_node: bool) -> List[Device]:
    if prefer_intra_node:
        return [Device(w, i) for w in range(num_workers) for i in range(devices_per_worker)]
    return [Device(w, i) for i in range(devices_per_worker) for w in range(num_workers)]


def _check_total(num_stages: int, size: int, num_workers: int, devices_per_worker: int) -> None:
    total = num_workers * devices_per_worker
    there = "{} device(s) ({} worker(s) x {})".format(total, num_workers, devices_per_worker)
    needed = "{}-stage replicas of {} device(s) each".format(num_stages, size)
    if total < size:
        raise ConfigError(
            "{} for {}: a replica needs {} more; use epl-launch {}, or ask for fewer devices in "
            "epl.replicate(device_count) or for fewer stages".format(
                there, needed, size - total, _flags(1, size)))
    if total % size:
        raise ConfigError(
            "{} for {}: {} would be left over; use a multiple of {}, for example epl-launch {}"
            .format(there, needed, total % size, size, _fitting(size, num_workers, total)))


def on_one_worker(device_counts: Sequence[int], num_workers: int, devices_per_worker: int,
                  prefer_intra_node: bool = True) -> str:
    """What to change so that every replica has one worker's devices alone, in words.

    Args:
      device_counts: devices that each stage of a replica asks for.
      num_workers: processes in the job.
      devices_per_worker: devices of each.
      prefer_intra_node: as `lay_out` was told.
    """
    size, cures = sum(device_counts), []
    if not prefer_intra_node:
        cures.append("cluster.device_place_prefer_intra_node = True")
    if devices_per_worker % size:
        cures.append("epl-launch {}".format(_fitting(
            size, num_workers, num_workers * devices_per_worker)))
    return " with ".join(cures)


def _fitting(size: int, num_workers: int, total: int) -> str:
    """Flags for as many replicas of `size` devices as `total` devices hold, none spanning."""
    replicas = total // size
    workers = num_workers if replicas % num_workers == 0 else replicas
    return _flags(workers, replicas // workers * size)


def _flags(num_workers: int, devices_per_worker: int) -> str:
    return "--num_workers {} --gpu_per_worker {}".format(num_workers, devices_per_worker)
