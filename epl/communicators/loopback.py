# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that are threads of one process, each with its own graph and session.

    world = World(2)
    rank 0   "g/dense_0", its array ---+--> all are there --> both get all arrays
    rank 1   "g/dense_0", its array ---+

They meet in memory. Whoever leaves takes nobody along: an exchange that waits for it fails with
`Disconnected` at once.
"""

import threading
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from epl.communicators.base import Disconnected
from epl.communicators.through_python import ThroughPython


class _Key(NamedTuple):
    """Names a meeting: the `round`-th under this name of these workers."""

    name: str
    ranks: Tuple[int, ...]
    round: int


class _Meeting:
    """One exchange under way.

    Attributes:
      given: rank -> what it gave.
      taken: who has got all of that.
    """

    def __init__(self) -> None:
        self.given: Dict[int, Any] = {}
        self.taken: Set[int] = set()


class World:
    """Where the workers of a process meet.

    Args:
      size: how many there are.
    """

    def __init__(self, size: int):
        self.size = size
        self._changed = threading.Condition()
        self._meetings: Dict[_Key, _Meeting] = {}
        self._rounds: Dict[Tuple[int, str], int] = {}
        self._gone: Dict[int, str] = {}

    def leave(self, rank: int, why: str = "has ended") -> None:
        """Worker `rank` comes to no exchange any more."""
        with self._changed:
            self._gone.setdefault(rank, why)
            self._changed.notify_all()

    def meet(self, rank: int, name: str, ranks: Tuple[int, ...], value: Any,
             seconds: Optional[float]) -> Optional[List[Any]]:
        """As `ThroughPython.exchange`, for the worker `rank`."""
        with self._changed:
            number = self._rounds.get((rank, name), 0)
            self._rounds[rank, name] = number + 1
            key = _Key(name, ranks, number)
            meeting = self._meetings.setdefault(key, _Meeting())
            meeting.given[rank] = value
            self._changed.notify_all()
            if not self._changed.wait_for(
                    lambda: len(meeting.given) == len(ranks) or self._lost(key, rank), seconds):
                return None
            if len(meeting.given) < len(ranks):
                raise Disconnected(self._lost(key, rank))
            meeting.taken.add(rank)
            if len(meeting.taken) == len(ranks):
                del self._meetings[key]
            return [meeting.given[each] for each in ranks]

    def _lost(self, key: _Key, rank: int) -> str:
        """Who is gone that a meeting waits for, in words; "" if nobody is."""
        given = self._meetings[key].given
        for each in key.ranks:
            if each in self._gone and (each == rank or each not in given):
                return "worker {} {}".format(each, self._gone[each])
        return ""


class LoopbackCommunicator(ThroughPython):
    """What connects the worker of one rank of a `World`."""

    name = "loopback"

    def __init__(self, world: World, rank: int):
        super().__init__()
        self._world = world
        self._connected = True
        self.connect(rank, ["localhost"] * world.size)

    @property
    def is_connected(self) -> bool:
        return self._connected

    def disconnect(self) -> None:
        self._connected = False
        self._world.leave(self.rank)

    def exchange(self, name: str, ranks: Tuple[int, ...], value: Any,
                 seconds: Optional[float] = None) -> Optional[List[Any]]:
        return self._world.meet(self.rank, name, ranks, np.array(value), seconds)
