# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Exchanges of teams: of workers that hold model replicas together, each team like one worker.

    team 0   worker 0: stage 0    worker 1: stage 1
                  |                    |
    team 1   worker 2: stage 0    worker 3: stage 1

What a team gives to an exchange lies on one of its workers, and meets there what the workers that
sit in the same place of the other teams give.
"""

from typing import Any, Callable, Tuple

import tensorflow.compat.v1 as tf

from epl.communicators.base import Communicator, Group, Met, all_workers
from epl.communicators.native import collectives
from epl.plan.teams import Fold


class TeamCommunicator(Communicator):
    """Connects the teams of a job; its ranks are the numbers of teams.

    Args:
      process: connects this worker with all others.
      keys: the numbers of the process's exchanges.
      teams: who they are.
    """

    name = "native"
    spans = True

    def __init__(self, process: Communicator, keys: collectives.Keys, teams: Fold):
        super().__init__()
        self._process, self._keys, self._teams = process, keys, teams
        self.rank, self.group = teams.team_of(process.rank), all_workers(len(teams.seats))
        self._members = teams.members(self.rank)

    @property
    def is_connected(self) -> bool:
        return self._process.is_connected

    def disconnect(self) -> None:
        self._process.disconnect()

    def is_cold(self, session: Any) -> bool:
        return self._leads and self._process.is_cold(session)

    def warm_up(self, session: Any, run: Callable[[Any, Any], None]) -> None:
        if self._leads:
            self._process.warm_up(session, run)

    def is_collective(self, op: Any) -> bool:
        return self._process.is_collective(op)

    def combines(self, op: Any) -> bool:
        return self._process.combines(op)

    @property
    def _leads(self) -> bool:
        return self._process.rank == self._members[0]

    def _all_reduce(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        return collectives.all_reduce(tensor, name, self._member(tensor, group), how)

    def _all_gather(self, tensor: Any, name: str, group: Group) -> Met:
        return collectives.all_gather(tensor, name, self._member(tensor, group))

    def _reduce_scatter(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        return collectives.reduce_scatter(tensor, name, self._member(tensor, group), how)

    def _broadcast(self, tensor: Any, name: str, group: Group) -> Met:
        return collectives.broadcast(tensor, name, self._member(tensor, group))

    def _member(self, tensor: Any, group: Group) -> collectives.Member:
        """The worker of this team that `tensor` is on, among those in its place in `group`."""
        task = tf.DeviceSpec.from_string(tensor.device).task
        place = self._members.index(task) if task in self._members else 0
        peers: Tuple[int, ...] = tuple(self._teams.members(team)[place] for team in group.ranks)
        return collectives.Member(self._members[place], Group(group.axis, peers), self._keys)
