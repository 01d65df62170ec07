# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the machines of a job are to the launcher; `choice` has the three kinds."""

import abc
import socket
from typing import Callable, Dict, Optional, Sequence

from epl.launcher.devices import DevicePlan
from epl.launcher.host import Allocation

Say = Callable[[str], None]


class HostProvider(abc.ABC):
    """The machines of one job, for all its attempts. To be closed, also after an error."""

    @abc.abstractmethod
    def allocate(self, attempt: int, news: Optional[socket.socket] = None) -> Allocation:
        """Connect to the machines and see that they fit together; once for every attempt.

        Args:
          attempt: how often the job was restarted.
          news: brings the numbers of signals to this process, see `signals`.

        Raises:
          ConfigError: a machine cannot be reached in time, or differs from the others.
          SystemExit: a signal asked for the end.
        """

    def conclude(self, exit_code: int, verdict: str, again: bool) -> None:
        """Tell those who wait elsewhere how an attempt ended, when its hosts have been closed.

        Args:
          exit_code: with which they are to exit, unless
          again: another attempt follows.
          verdict: the words for the user.
        """
        del exit_code, verdict, again  # nobody waits elsewhere

    @abc.abstractmethod
    def close(self) -> None:
        """End all connections."""


def join_devices(placement: Sequence[str], devices: Dict[str, DevicePlan]) -> DevicePlan:
    """The devices of all workers, from those of each host."""
    visible = {name: list(plan.visible) for name, plan in devices.items()}
    notes = dict.fromkeys(plan.note for plan in devices.values() if plan.note)
    return DevicePlan(next(iter(devices.values())).device_type,
                      [visible[name].pop(0) for name in placement],
                      "; ".join(notes) or None)
