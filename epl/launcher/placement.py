# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""On which machine every worker runs, from the command line."""

from typing import List, Sequence

from epl.errors import ConfigError
from epl.launcher import hostfile
from epl.launcher.channel import HEARTBEAT_S
from epl.launcher.options import Options
from epl.launcher.own import is_this_machine
from epl.launcher.plan import LOCAL

_LEAST_HOST_TIMEOUT_S = 3 * HEARTBEAT_S


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


def _with_local(places: Sequence[str]) -> List[str]:
    local = {name for name in set(places) if is_this_machine(name)}
    hostfile.refuse_two_names_of_one_machine(sorted(local))
    return [LOCAL if name in local else name for name in places]
