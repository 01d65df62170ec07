# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that hold model replicas together: a team.

    4 workers x 1 device, 2 stages      w0    w1    w2    w3
    replica                              0     0     1     1
    stage                                0     1     0     1
    team                                 0 ------    1 ------

Workers belong together as soon as one replica has devices of both. To all that comes later a team
is like one worker that has the devices of all its members: `Fold` says whose they are. Its first
member leads it: the others see what it does. Teams are alike, so that what one of them holds in a
place the others hold in the same place.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

from epl.plan.layout import Device, Placement


class Fold(NamedTuple):
    """The teams of a job.

    Attributes:
      seats: team -> its devices, one after the other as the stages of its replicas have them.
    """

    seats: Tuple[Tuple[Device, ...], ...]

    def members(self, team: int) -> Tuple[int, ...]:
        """The workers of a team, ascending; the first one leads it."""
        return tuple(sorted({device.worker for device in self.seats[team]}))

    def team_of(self, worker: int) -> int:
        """The team of a worker. Raises IndexError."""
        for number in range(len(self.seats)):
            if worker in self.members(number):
                return number
        raise IndexError("worker {} is in no team".format(worker))

    def real(self, device: Device) -> Device:
        """The device that a team has at this place, as (worker, index) of the job."""
        return self.seats[device.worker][device.index]

    def peers(self, device: Device) -> Tuple[int, ...]:
        """The workers that hold in their teams what the worker of `device` holds in its own."""
        return tuple(sorted(seats[device.index].worker for seats in self.seats))


def fold(placements: Sequence[Placement], num_workers: int) -> Fold:
    """The teams of a layout.

    Args:
      placements: every stage of every replica.
      num_workers: processes in the job.

    Raises:
      NotImplementedError: the teams are not alike.
    """
    teams = _together(placements, num_workers)
    number = {worker: team for team, workers in enumerate(teams) for worker in workers}
    seats: List[List[Device]] = [[] for _ in teams]
    for placement in placements:
        own = seats[number[placement.devices[0].worker]]
        own.extend(device for device in placement.devices if device not in own)
    _check_alike(seats, teams)
    return Fold(tuple(map(tuple, seats)))


def spans(placements: Sequence[Placement]) -> bool:
    """True if a replica lies on several workers."""
    workers: Dict[int, int] = {}
    return any(workers.setdefault(p.replica, device.worker) != device.worker
               for p in placements for device in p.devices)


def _together(placements: Sequence[Placement], num_workers: int) -> List[List[int]]:
    """The workers of each team, by their first members."""
    first = list(range(num_workers))  # worker -> the first one that it belongs to, as far as known
    of_replica: Dict[int, int] = {}
    for placement in placements:
        for device in placement.devices:
            one = first[of_replica.setdefault(placement.replica, device.worker)]
            other = first[device.worker]
            first = [min(one, other) if f in (one, other) else f for f in first]
    return [[worker for worker in range(num_workers) if first[worker] == leader]
            for leader in sorted(set(first))]


def _check_alike(seats: Sequence[Sequence[Device]], teams: Sequence[Sequence[int]]) -> None:
    """Raises NotImplementedError unless all teams look the same from inside."""
    shapes = [[(workers.index(device.worker), device.index) for device in own]
              for own, workers in zip(seats, teams)]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise NotImplementedError(
                "model replicas lie on workers {} and on workers {} in different ways ({} and {} "
                "as member:device): give all workers of a replica equally many devices, or choose "
                "a number of workers that makes whole teams".format(
                    " ".join(map(str, teams[0])), " ".join(map(str, teams[number])),
                    _text(shapes[0]), _text(shape)))


def _text(shape: Sequence[Tuple[int, int]]) -> str:
    return " ".join("{}:{}".format(*place) for place in shape[:8])
