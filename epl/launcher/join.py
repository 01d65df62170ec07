# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Machine 0 of `--machine_list`, to which those connect where somebody started `epl-launch` too.

    machine 0                                 machine i (`follow`)
    listens at its ip:port           <-       hello{rank, member, devices, trouble}
                                     ->       note{text}: who is still missing
                                     ->       refused{reason}, to everybody
    the job, as in `remote`
                                     ->       verdict{exit_code, text, again}

Machine 0 decides for all; every machine runs its own command line, never one that it was sent.
Whoever is told `again` connects anew, for the next attempt.
"""

import contextlib
import functools
import os
import selectors
import socket
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from epl.errors import ConfigError
from epl.launcher import hostfile, members
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.devices import DevicePlan, find_gpus, plan_devices
from epl.launcher.host import TICK_S, Crew, Host
from epl.launcher.local import LocalHost
from epl.launcher.machines import Machines, Say, heed, join_devices, placement
from epl.launcher.options import Options
from epl.launcher.plan import LOCAL, WorkerPlan
from epl.launcher.remote import RemoteHost

JOIN_S = 600.0  # the machines wait so long for each other, where --start_timeout says nothing
_REMIND_S = 15.0
_FIRST_NOTE_S = 1.0


class Hello(NamedTuple):
    """What a machine says of itself when it connects.

    Attributes:
      rank: which machine it is.
      member: what must be the same on all.
      devices: of its own workers.
      trouble: why others could not reach its workers; "" if they can.
    """

    rank: int
    member: members.Member
    devices: DevicePlan
    trouble: str


def hello_fields(hello: Hello) -> Dict[str, Any]:
    """As the fields of a message."""
    return {"rank": hello.rank, "member": list(hello.member), "devices": list(hello.devices),
            "trouble": hello.trouble}


def read_hello(message: Message) -> Hello:
    """The inverse of `hello_fields`. Raises ChannelClosed for anything else."""
    try:
        return Hello(int(message.fields["rank"]), members.Member(*message.fields["member"]),
                     DevicePlan(*message.fields["devices"]), str(message.fields["trouble"]))
    except (KeyError, TypeError, ValueError):
        raise ChannelClosed("it said something else than hello") from None


class Members:
    """Who has come, and what speaks against going on; without sockets and clocks.

    Args:
      machines: those of `--machine_list`.
      own: what machine 0 would say of itself.
    """

    def __init__(self, machines: Sequence[hostfile.Address], own: Hello):
        self._machines = machines
        self.hellos = {0: own}
        self._peers = {0: machines[0].host}

    def add(self, hello: Hello, peer: str) -> Optional[str]:
        """Note the machine that connected from `peer`; returns why it cannot be, or None."""
        count = len(self._machines)
        if not 0 <= hello.rank < count:
            return "the machine at {} says it is --machine_rank {} of {}".format(
                peer, hello.rank, count)
        if hello.rank in self.hellos:
            return "--machine_rank {} was given on two machines: {} and {}".format(
                hello.rank, self._peers[hello.rank], peer)
        self.hellos[hello.rank], self._peers[hello.rank] = hello, peer
        names = [self._machines[0].host, self._machines[hello.rank].host]
        troubled = [h for h in (self.hellos[0], hello) if h.trouble]
        if troubled:
            return "machine {} ({}): {}".format(
                troubled[0].rank, self._machines[troubled[0].rank].host, troubled[0].trouble)
        odd = members.differences(names, [self.hellos[0].member, hello.member])
        return "the machines do not fit together: " + "; ".join(odd) if odd else None

    def remove(self, rank: int) -> None:
        """Machine `rank` has gone away again."""
        del self.hellos[rank]

    @property
    def missing(self) -> List[str]:
        """The machines that have not come, in words."""
        return ["{} ({})".format(rank, self._machines[rank].host)
                for rank in range(len(self._machines)) if rank not in self.hellos]


class JoinedMachines(Machines):
    """Machine 0 and those that connect to it; see `Machines`.

    Args:
      options: the command line.
      say: prints a line of the launcher's own.
    """

    def __init__(self, options: Options, say: Say):
        self._options = options
        self._say = say
        self._machines = hostfile.parse_machine_list(options.machine_list)
        self._channels: Dict[int, Channel] = {}
        self._attempt = 0

    def crew(self, attempt: int, news: Optional[socket.socket] = None) -> Crew:
        self._attempt = attempt
        if self._options.dry_run:
            return self._as_planned()
        places = placement(self._options)
        own = describe_own(self._options, 0)
        gathering = _Gathering(self._machines, own, self._say, self._options.host_timeout)
        try:
            gathering.run(self._options.start_timeout or JOIN_S, news)
            self._channels = gathering.channels
        except BaseException:
            for channel in gathering.channels.values():
                channel.close()
            raise
        finally:
            gathering.close()
        names = [LOCAL] + [machine.host for machine in self._machines[1:]]
        devices = {names[rank]: hello.devices
                   for rank, hello in gathering.members.hellos.items()}
        hosts: List[Host] = [LocalHost()]
        hosts.extend(RemoteHost(names[rank], channel, self._order)
                     for rank, channel in sorted(self._channels.items()))
        return Crew(hosts, places, join_devices(places, devices), self._machines[0].host)

    def _as_planned(self) -> Crew:
        """For `dry_run`, on any machine: as if the others were like it."""
        places = placement(self._options)
        if self._options.machine_rank:  # the address of `LOCAL` is that of the rendezvous
            places = hostfile.place_on_machines(self._machines, self._options.num_workers)
        devices = plan_devices(len(places) // len(self._machines),
                               self._options.gpu_per_worker, find_gpus(os.environ))
        return Crew([], places, join_devices(places, dict.fromkeys(places, devices)),
                    self._machines[0].host)

    def conclude(self, exit_code: int, verdict: str, again: bool) -> None:
        for channel in self._channels.values():
            with contextlib.suppress(ChannelClosed):
                channel.send("verdict", exit_code=exit_code, text=verdict, again=again)
                channel.drain()
        self.close()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels = {}

    def _order(self, plans: Sequence[WorkerPlan]) -> Dict[str, Any]:
        """Nothing but where the workers meet: their commands are not sent."""
        environment = plans[0].environment
        return {"address": environment["HOROVOD_GLOO_RENDEZVOUS_ADDR"],
                "port": int(environment["HOROVOD_GLOO_RENDEZVOUS_PORT"]),
                "attempt": self._attempt}


def describe_own(options: Options, rank: int) -> Hello:
    """What this machine says of itself. Raises ConfigError if it has too few devices."""
    workers = placement(options).count(LOCAL)
    devices = plan_devices(workers, options.gpu_per_worker, find_gpus(os.environ))
    address = hostfile.parse_machine_list(options.machine_list)[rank].host
    trouble = "" if address.startswith("127.") else members.trouble_with_own_name()
    return Hello(rank, members.describe(options, devices.device_type), devices, trouble)


class _Gathering:
    """Machine 0 waits for the others.

    Attributes:
      members: who has come.
      channels: to them, by rank.
    """

    def __init__(self, machines: Sequence[hostfile.Address], own: Hello, say: Say,
                 silence: float):
        self.members = Members(machines, own)
        self.channels: Dict[int, Channel] = {}
        self._say = say
        self._silence = silence
        self._strangers: List[Channel] = []
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(machines[0])
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def run(self, seconds: float, news: Optional[socket.socket]) -> None:
        """Until all are there. Raises ConfigError: after `seconds`, or if they do not fit."""
        if news is not None:
            self._selector.register(news, selectors.EVENT_READ, functools.partial(heed, news))
        start = time.monotonic()
        next_note = start + _FIRST_NOTE_S
        while self.members.missing:
            for key, _ in self._selector.select(TICK_S):
                key.data()
            self._keep_alive()
            now = time.monotonic()
            missing = ", ".join(self.members.missing)
            if missing and now - start > seconds:
                self._refuse("machine {} did not connect in {:g} s".format(missing, seconds))
            if missing and now >= next_note:
                next_note = now + _REMIND_S
                self._note("waiting for machine " + missing)

    def close(self) -> None:
        """Close everything but the channels of the members."""
        for channel in self._strangers:
            channel.close()
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, (peer, _) = self._listener.accept()
        except OSError:
            return  # it has gone away again
        channel = channel_over(connection, self._silence)
        self._strangers.append(channel)
        self._selector.register(channel, selectors.EVENT_READ,
                                functools.partial(self._receive, channel, peer))

    def _receive(self, channel: Channel, peer: str) -> None:
        try:
            for message in channel.receive():
                if channel in self._strangers:
                    self._greet(channel, read_hello(message), peer)
        except ChannelClosed:
            self._drop(channel)

    def _greet(self, channel: Channel, hello: Hello, peer: str) -> None:
        refusal = self.members.add(hello, peer)
        if refusal is not None:
            self._refuse(refusal)
        self._strangers.remove(channel)
        self.channels[hello.rank] = channel

    def _drop(self, channel: Channel) -> None:
        self._selector.unregister(channel)
        channel.close()
        if channel in self._strangers:
            self._strangers.remove(channel)
        for rank in [r for r, c in self.channels.items() if c is channel]:
            del self.channels[rank]
            self.members.remove(rank)
            self._say("epl-launch: machine {} went away again".format(rank))

    def _keep_alive(self) -> None:
        for channel in self._strangers + list(self.channels.values()):
            try:
                channel.tick()
            except ChannelClosed:
                self._drop(channel)

    def _note(self, text: str) -> None:
        self._say("epl-launch: " + text)
        self._tell_everybody("note", text=text)

    def _refuse(self, reason: str) -> None:
        self._tell_everybody("refused", reason=reason)
        raise ConfigError(reason)

    def _tell_everybody(self, kind: str, **fields: Any) -> None:
        strangers = self._strangers if kind == "refused" else []
        for channel in strangers + list(self.channels.values()):
            with contextlib.suppress(ChannelClosed):  # `_keep_alive` finds out
                channel.send(kind, **fields)


def channel_over(connection: socket.socket, silence: float) -> Channel:
    """A channel that takes over a connected socket."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    descriptor = connection.detach()
    return Channel(descriptor, descriptor, silence)


def _listen(machine: hostfile.Address) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((machine.host, machine.port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError("machine 0 cannot listen at {} ({}); is this that machine, and the port "
                          "free?".format(machine, error.strerror)) from error
    return listener
