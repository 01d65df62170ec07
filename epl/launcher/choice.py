# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The machines of a job: this one alone, others by ssh, or others where `epl-launch` was started.

    chosen by                          the other machines              implementation
    nothing, or hosts that are local   none                            LocalProvider
    --hosts, --hostfile                agents started by ssh           ssh.SshProvider
    --machine_list, --machine_rank 0   launchers that connect to us    join.JoinedProvider
    --machine_list, --machine_rank i   this launcher follows rank 0    follow.Follower
"""

import os
import socket
from typing import Optional

from epl.communicators.horovod.rendezvous import LOOPBACK
from epl.launcher.devices import find_gpus, plan_devices
from epl.launcher.host import Allocation
from epl.launcher.join import JoinedProvider
from epl.launcher.local import LocalHost
from epl.launcher.options import Options
from epl.launcher.placement import placement
from epl.launcher.plan import LOCAL
from epl.launcher.provider import HostProvider, Say
from epl.launcher.ssh import SshProvider


class LocalProvider(HostProvider):
    """This machine alone."""

    def __init__(self, options: Options):
        self._options = options

    def allocate(self, attempt: int, news: Optional[socket.socket] = None) -> Allocation:
        workers = self._options.num_workers
        devices = plan_devices(workers, self._options.gpu_per_worker, find_gpus(os.environ))
        return Allocation([LocalHost()], [LOCAL] * workers, devices, LOOPBACK)

    def close(self) -> None:
        pass


def make_provider(options: Options, say: Say) -> HostProvider:
    """The machines that `options` choose, not connected yet.

    Args:
      options: the command line; `num_workers` as `count_workers` says.
      say: prints a line of the launcher's own.

    Raises:
      ConfigError: they name no usable machines, or too few for the workers.
    """
    if options.machine_list:
        return JoinedProvider(options, say)
    places = placement(options)
    if set(places) == {LOCAL}:
        return LocalProvider(options)
    return SshProvider(options, places, say)
