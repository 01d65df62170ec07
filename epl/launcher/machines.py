# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The machines of a job: this one alone, others by ssh, or others where `epl-launch` was started.

    chosen by                          the other machines              implementation
    nothing, or hosts that are local   none                            LocalMachines
    --hosts, --hostfile                agents started by ssh           ssh.SshMachines
    --machine_list, --machine_rank 0   launchers that connect to us    join.JoinedMachines
    --machine_list, --machine_rank i   this launcher follows rank 0    join.follow
"""

import abc
import contextlib
import os
import socket
from typing import Callable, Dict, List, Optional, Sequence

from epl.errors import ConfigError
from epl.launcher import hostfile
from epl.launcher.channel import HEARTBEAT_S
from epl.launcher.devices import DevicePlan, find_gpus, plan_devices
from epl.launcher.host import Crew
from epl.launcher.job import ENDING_SIGNALS
from epl.launcher.local import LocalHost
from epl.launcher.options import Options
from epl.launcher.plan import LOCAL
from epl.launcher.rendezvous import LOOPBACK

Say = Callable[[str], None]

_LEAST_HOST_TIMEOUT_S = 3 * HEARTBEAT_S


class Machines(abc.ABC):
    """The machines of one job, for all its attempts. To be closed, also after an error."""

    @abc.abstractmethod
    def crew(self, attempt: int, news: Optional[socket.socket] = None) -> Crew:
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


class LocalMachines(Machines):
    """This machine alone."""

    def __init__(self, options: Options):
        self._options = options

    def crew(self, attempt: int, news: Optional[socket.socket] = None) -> Crew:
        workers = self._options.num_workers
        devices = plan_devices(workers, self._options.gpu_per_worker, find_gpus(os.environ))
        return Crew([LocalHost()], [LOCAL] * workers, devices, LOOPBACK)

    def close(self) -> None:
        pass


def make_machines(options: Options, say: Say) -> Machines:
    """The machines that `options` choose, not connected yet.

    Args:
      options: the command line; `num_workers` as `count_workers` says.
      say: prints a line of the launcher's own.

    Raises:
      ConfigError: they name no usable machines, or too few for the workers.
    """
    if options.machine_list:
        from epl.launcher.join import JoinedMachines
        return JoinedMachines(options, say)
    if set(placement(options)) == {LOCAL}:
        return LocalMachines(options)
    from epl.launcher.ssh import SshMachines
    return SshMachines(options, placement(options), say)


def count_workers(options: Options) -> Options:
    """`options` with the number of workers that the machines give, where `num_workers` is 0.

    Raises:
      ConfigError: machines are described wrongly, or do not take `num_workers` workers.
    """
    places = placement(options)
    if options.host_timeout < _LEAST_HOST_TIMEOUT_S:
        raise ConfigError("--host_timeout {:g} is too short for heartbeats of {:g} s; use {:g} or "
                          "more".format(options.host_timeout, HEARTBEAT_S, _LEAST_HOST_TIMEOUT_S))
    if options.debug and places and places[0] != LOCAL and not options.machine_list:
        raise ConfigError("--debug gives worker 0 this terminal, but its host is {}; put this "
                          "machine first in the list".format(places[0]))
    return options._replace(num_workers=len(places)) if places else options


def placement(options: Options) -> List[str]:
    """The host of every worker, `LOCAL` for this machine; pure but for the names of this machine.

    Raises:
      ConfigError: see `count_workers`.
    """
    wanted = options.num_workers or None
    if options.machine_list:
        if options.hosts or options.hostfile:
            hostfile.refuse_both("--machine_list", "--hosts" if options.hosts else "--hostfile")
        machines = hostfile.parse_machine_list(options.machine_list)
        rank = hostfile.check_machine_rank(options.machine_rank, machines)
        return [LOCAL if host == machines[rank].host else host
                for host in hostfile.place_on_machines(machines, wanted)]
    if options.machine_rank is not None:
        hostfile.check_machine_rank(options.machine_rank, [])
    if options.hosts or options.hostfile:
        hosts = hostfile.chosen_hosts(options.hosts, options.hostfile)
        return _with_local(hostfile.place_on_slots(hosts, wanted))
    return [LOCAL] * options.num_workers


def heed(news: socket.socket) -> None:
    """Read signals that came before there are workers. Raises SystemExit for one that ends."""
    for signum in news.recv(64):
        if signum in ENDING_SIGNALS:
            raise SystemExit(128 + signum)


def is_this_machine(name: str) -> bool:
    """Whether `name` is this machine: by its name, or because an address of it is ours."""
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return False  # a name of the user's ssh configuration
    return any(_is_own(entry[4][0]) for entry in found)


def own_address_towards(host: str) -> str:
    """The address of this machine on the way to `host`, as the routing table has it.

    Raises:
      OSError: `host` has no IPv4 address, or no way leads there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # chooses a route; nothing is sent
        return str(probe.getsockname()[0])


def join_devices(placement: Sequence[str], devices: Dict[str, DevicePlan]) -> DevicePlan:
    """The devices of all workers, from those of each host."""
    visible = {name: list(plan.visible) for name, plan in devices.items()}
    notes = dict.fromkeys(plan.note for plan in devices.values() if plan.note)
    return DevicePlan(next(iter(devices.values())).device_type,
                      [visible[name].pop(0) for name in placement],
                      "; ".join(notes) or None)


def _with_local(places: Sequence[str]) -> List[str]:
    local = {name for name in set(places) if is_this_machine(name)}
    hostfile.refuse_two_names_of_one_machine(sorted(local))
    return [LOCAL if name in local else name for name in places]


def _is_own(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.bind((address, 0))
            return True
    return False
