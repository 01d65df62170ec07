# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Machine 0 of `--machine_list`, to which those connect where somebody started `epl-launch` too.

    machine 0                                 machine i (`follow`)
    listens at its ip:port           <->      do we have the same secret? (`handshake`)
                                     <-       hello{rank, member, devices, trouble}
                                     ->       note{text}: who is still missing
                                     ->       refused{reason}, to everybody
    the job, as in `remote`
                                     ->       verdict{exit_code, text, again}

Who does not have the secret is let go, and the others are waited for as before. Machine 0 decides
for all; every machine runs its own command line, never one that it was sent.
Whoever is told `again` connects anew, for the next attempt.
"""

import contextlib
import functools
import os
import selectors
import socket
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

from epl.communicators.horovod.rendezvous import meeting_of
from epl.errors import ConfigError
from epl.launcher import handshake, hostfile, preflight
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.devices import DevicePlan, find_gpus, plan_devices
from epl.launcher.host import TICK_S, Allocation, Host
from epl.launcher.local import LocalHost
from epl.launcher.options import Options
from epl.launcher.placement import placement
from epl.launcher.plan import LOCAL, WorkerPlan
from epl.launcher.provider import HostProvider, Say, join_devices
from epl.launcher.remote import RemoteHost
from epl.launcher.signals import exit_on_signal
from epl.shared import secret
from epl.typed import made

JOIN_S = 600.0  # the machines wait so long for each other, where --start_timeout says nothing
_REMIND_S = 15.0
_FIRST_NOTE_S = 1.0
# Of those who connect and do not show that they belong here: so long, so many at once; so many are
# told of.
_STRANGER_S = 10.0
_MAX_STRANGERS = 128
_MAX_TOLD = 16


class Hello(NamedTuple):
    """What a machine says of itself when it connects.

    Attributes:
      rank: which machine it is.
      member: what must be the same on all.
      devices: of its own workers.
      trouble: why others could not reach its workers; "" if they can.
    """

    rank: int
    member: preflight.Member
    devices: DevicePlan
    trouble: str


def hello_fields(hello: Hello) -> Dict[str, Any]:
    """As the fields of a message."""
    return {"rank": hello.rank, "member": list(hello.member), "devices": list(hello.devices),
            "trouble": hello.trouble}


def read_hello(message: Message) -> Hello:
    """The inverse of `hello_fields`. Raises ChannelClosed for anything else."""
    with contextlib.suppress(ValueError):
        if message.kind == handshake.HELLO:
            return made(Hello, message.fields)
    raise ChannelClosed("it said something else than hello")


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
        odd = preflight.differences(names, [self.hellos[0].member, hello.member])
        return "the machines do not fit together: " + "; ".join(odd) if odd else None

    def remove(self, rank: int) -> None:
        """Machine `rank` has gone away again."""
        del self.hellos[rank]

    @property
    def missing(self) -> List[str]:
        """The machines that have not come, in words."""
        return ["{} ({})".format(rank, self._machines[rank].host)
                for rank in range(len(self._machines)) if rank not in self.hellos]


class JoinedProvider(HostProvider):
    """Machine 0 and those that connect to it; see `HostProvider`.

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

    def allocate(self, attempt: int, news: Optional[socket.socket] = None) -> Allocation:
        self._attempt = attempt
        if self._options.dry_run:
            return self._as_planned()
        places = placement(self._options)
        own = describe_own(self._options, 0)
        gathering = _Gathering(self._machines, own, secret.shared(), self._say,
                               self._options.host_timeout)
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
        return Allocation(hosts, places, join_devices(places, devices), self._machines[0].host)

    def _as_planned(self) -> Allocation:
        """For `dry_run`, on any machine: as if the others were like it."""
        places = placement(self._options)
        if self._options.machine_rank:  # the address of `LOCAL` is that of the rendezvous
            places = hostfile.place_on_machines(self._machines, self._options.num_workers)
        devices = plan_devices(len(places) // len(self._machines),
                               self._options.gpu_per_worker, find_gpus(os.environ))
        return Allocation([], places, join_devices(places, dict.fromkeys(places, devices)),
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
        meeting = meeting_of(plans[0].environment)
        assert meeting is not None
        return dict(meeting._asdict(), attempt=self._attempt)


def describe_own(options: Options, rank: int) -> Hello:
    """What this machine says of itself. Raises ConfigError if it has too few devices."""
    workers = placement(options).count(LOCAL)
    devices = plan_devices(workers, options.gpu_per_worker, find_gpus(os.environ))
    address = hostfile.parse_machine_list(options.machine_list)[rank].host
    trouble = "" if address.startswith("127.") else preflight.trouble_with_own_name()
    return Hello(rank, preflight.describe(options, devices.device_type), devices, trouble)


class _Stranger:
    """Who has connected, and has not shown yet that it has the secret.

    Args:
      peer: its address.
      key: the secret.
    """

    def __init__(self, peer: str, key: str):
        self.peer = peer
        self.until = time.monotonic() + _STRANGER_S
        self.door = handshake.Door(key)


class _Gathering:
    """Machine 0 waits for the others.

    Attributes:
      members: who has come.
      channels: to them, by rank.
    """

    def __init__(self, machines: Sequence[hostfile.Address], own: Hello, key: str, say: Say,
                 silence: float):
        self.members = Members(machines, own)
        self.channels: Dict[int, Channel] = {}
        self._key = key
        self._say = say
        self._silence = silence
        self._strangers: Dict[Channel, _Stranger] = {}
        self._with_other_secrets: Set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(machines[0])
        self._accepts = False
        self._accept_some()

    def run(self, seconds: float, news: Optional[socket.socket]) -> None:
        """Until all are there. Raises ConfigError: after `seconds`, or if they do not fit."""
        if news is not None:
            self._selector.register(news, selectors.EVENT_READ,
                                    functools.partial(exit_on_signal, news))
        start = time.monotonic()
        next_note = start + _FIRST_NOTE_S
        while self.members.missing:
            for key, _ in self._selector.select(TICK_S):
                key.data()
            self._keep_alive()
            self._accept_some()
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
        channel = channel_over(connection, self._silence, known=False)
        self._strangers[channel] = _Stranger(peer, self._key)
        self._selector.register(channel, selectors.EVENT_READ,
                                functools.partial(self._receive, channel))

    def _accept_some(self) -> None:
        """Those for whom there is no room wait in the listener's queue."""
        room = len(self._strangers) < _MAX_STRANGERS
        if room and not self._accepts:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif self._accepts and not room:
            self._selector.unregister(self._listener)
        self._accepts = room

    def _receive(self, channel: Channel) -> None:
        try:
            for message in channel.receive():
                if channel in self._strangers:
                    self._hear(channel, message)
        except ChannelClosed:
            self._drop(channel)

    def _hear(self, channel: Channel, message: Message) -> None:
        """What somebody says who has not been let in. Raises ChannelClosed for the unexpected."""
        stranger = self._strangers[channel]
        if message.kind == handshake.KNOCK:
            channel.send(handshake.CHALLENGE, **stranger.door.challenge(message))
        elif message.kind == handshake.STRANGER:
            self._turn_away(stranger.peer)
        else:
            stranger.door.admit(message)
            self._greet(channel, read_hello(message), stranger.peer)

    def _turn_away(self, peer: str) -> None:
        if peer not in self._with_other_secrets and len(self._with_other_secrets) < _MAX_TOLD:
            self._with_other_secrets.add(peer)
            self._say("epl-launch: the machine at {} has another secret than this one's {}".format(
                peer, secret.path_of_shared()))

    def _greet(self, channel: Channel, hello: Hello, peer: str) -> None:
        del self._strangers[channel]
        channel.trust()
        refusal = self.members.add(hello, peer)
        if refusal is not None:
            with contextlib.suppress(ChannelClosed):
                channel.send("refused", reason=refusal)
            self._refuse(refusal)
        self.channels[hello.rank] = channel

    def _drop(self, channel: Channel) -> None:
        self._selector.unregister(channel)
        channel.close()
        self._strangers.pop(channel, None)
        for rank in [r for r, c in self.channels.items() if c is channel]:
            del self.channels[rank]
            self.members.remove(rank)
            self._say("epl-launch: machine {} went away again".format(rank))

    def _keep_alive(self) -> None:
        now = time.monotonic()
        late = [channel for channel, who in self._strangers.items() if now > who.until]
        for channel in late:
            self._drop(channel)
        for channel in list(self._strangers) + list(self.channels.values()):
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
        for channel in self.channels.values():
            with contextlib.suppress(ChannelClosed):  # `_keep_alive` finds out
                channel.send(kind, **fields)


def channel_over(connection: socket.socket, silence: float, known: bool = True) -> Channel:
    """A channel that takes over a connected socket; `known` as for `Channel`."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    descriptor = connection.detach()
    return Channel(descriptor, descriptor, silence, known)


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
