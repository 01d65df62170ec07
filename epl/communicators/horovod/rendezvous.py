# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the workers of a job find each other: what Horovod's Gloo expects as its rendezvous.

A small HTTP key-value store in which every worker leaves the address of its sockets. It runs in the
launcher, or in the chief when there is no launcher, and answers only those who know the job's
secret. Horovod's client (0.28.1) sends no headers of ours, but it puts the host of the rendezvous
into its URLs as it was told, the port behind it:

    HOROVOD_GLOO_RENDEZVOUS_ADDR = 10.0.0.1:4711/<secret>
    HOROVOD_GLOO_RENDEZVOUS_PORT = 4711          http://10.0.0.1:4711/<secret>:4711/<scope>/<key>
"""

import errno
import http.client
import itertools
import os
import socket
import sys
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from epl.communicators.horovod import variables
from epl.communicators.horovod.store import Server
from epl.errors import ConfigError

LOOPBACK = "127.0.0.1"
_ANSWER_S = 5.0


class Meeting(NamedTuple):
    """Where workers meet.

    Attributes:
      host: at which all of them reach it.
      port: of TCP.
      secret: what they have to know; "" before it is drawn (`--dry_run`).
    """

    host: str
    port: int
    secret: str


class _Slot(NamedTuple):
    """A worker as Horovod sees it; see `variables` for the names."""

    hostname: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int


NOWHERE = Meeting(LOOPBACK, 0, "")  # one worker meets nobody


def serve_rendezvous(port: Optional[int], hosts: Sequence[str], host: str, secret: str) -> Server:
    """Start the rendezvous of a job in a thread of this process.

    Args:
      port: TCP port to listen on; None: any free one.
      hosts: the host of every worker, in the order of worker indices; the workers of one host next
        to each other. If all are loopback addresses, nobody outside this machine can connect.
      host: the address, or name, at which the workers reach this machine; it listens there alone.
      secret: what they have to know.

    Returns:
      The server, which answers until its `stop()` or the end of the process.

    Raises:
      ConfigError: the port is taken, or `hosts` is out of order.
    """
    sizes = _scopes(_slots(hosts))
    local = all(_is_loopback(name) for name in hosts)
    try:
        try:
            server = Server((LOOPBACK if local else host, port or 0), secret, sizes)
        except OSError as error:
            if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
                raise
            sys.stderr.write("epl: {} is no address of this machine ({}), so the rendezvous "
                             "listens on all\n".format(host, error.strerror))
            server = Server(("", port or 0), secret, sizes)
    except OSError as error:
        raise ConfigError("the rendezvous cannot listen on port {} ({}); use another port or end "
                          "the program that has it".format(port, error.strerror)) from error
    server.start()
    return server


def worker_environment(index: int, hosts: Sequence[str], meeting: Meeting) -> Dict[str, str]:
    """The variables with which worker `index` finds the others through Horovod.

    Args:
      index: which worker, 0-based.
      hosts: as for `serve_rendezvous`.
      meeting: where they meet.

    Returns:
      Names and values of environment variables.

    Raises:
      ConfigError: `hosts` is out of order.
    """
    slot = _slots(hosts)[index]
    address = meeting.host
    if meeting.secret:
        address = "{}:{}/{}".format(*meeting)
    interface = interface_towards(meeting.host)
    return {
        variables.RANK: str(slot.rank),
        variables.SIZE: str(slot.size),
        variables.LOCAL_RANK: str(slot.local_rank),
        variables.LOCAL_SIZE: str(slot.local_size),
        variables.CROSS_RANK: str(slot.cross_rank),
        variables.CROSS_SIZE: str(slot.cross_size),
        variables.HOSTNAME: slot.hostname,
        variables.RENDEZVOUS_ADDR: address,
        variables.RENDEZVOUS_PORT: str(meeting.port),
        variables.CONTROLLER: "gloo",
        variables.CPU_OPERATIONS: "gloo",
        **({variables.INTERFACE: interface} if interface else {}),
    }


def meeting_of(environment: Mapping[str, str]) -> Optional[Meeting]:
    """Where the worker with these variables meets the others; None if it meets nobody."""
    if variables.RENDEZVOUS_ADDR not in environment:
        return None
    address, _, secret = environment[variables.RENDEZVOUS_ADDR].partition("/")
    return Meeting(address.split(":")[0], int(environment[variables.RENDEZVOUS_PORT]), secret)


def answer(meeting: Meeting) -> Optional[int]:
    """The HTTP status with which the rendezvous answers; None: nobody does, or in another way.

    404: it answers, and the secret is right. 403: it is not.
    """
    connection = http.client.HTTPConnection(meeting.host, meeting.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/{}/answer/0".format(meeting.secret))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _slots(hosts: Sequence[str]) -> List[_Slot]:
    """Every worker's place: its rank overall, on its host, and across hosts."""
    blocks = [(host, len(list(same))) for host, same in itertools.groupby(hosts)]
    names = [host for host, _ in blocks]
    scattered = sorted({host for host in names if names.count(host) > 1})
    if scattered:
        raise ConfigError("workers of host {} are not next to each other in {}; list the workers "
                          "host by host".format(scattered[0], ",".join(hosts)))
    slots: List[_Slot] = []
    for number, (host, count) in enumerate(blocks):
        for local in range(count):
            # Across hosts meet the workers that have the same place on theirs.
            before = sum(size > local for _, size in blocks[:number])
            across = sum(size > local for _, size in blocks)
            slots.append(_Slot(host, len(slots), len(hosts), local, count, before, across))
    return slots


def _scopes(slots: Sequence[_Slot]) -> Dict[str, int]:
    """The scopes in which all workers, those of a host, and those across hosts meet; how many."""
    sizes = {}
    for slot in slots:
        sizes["global"] = slot.size
        sizes["local_" + slot.hostname] = slot.local_size
        sizes["cross_{}".format(slot.local_rank)] = slot.cross_size
    return sizes


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def interface_towards(addr: str) -> str:
    """Name of this machine's network interface on the way to `addr`.

    Across machines a value that the user has set wins: only they know which of two networks is
    the fast one. Without `psutil`, which comes with Horovod, nobody needs it: "".
    """
    if not _is_loopback(addr) and os.environ.get(variables.INTERFACE):
        return os.environ[variables.INTERFACE]
    try:
        import psutil
    except ImportError:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((addr, 9))  # chooses a route; a datagram socket sends nothing yet
        except OSError as error:
            raise ConfigError("there is no way from this machine to the rendezvous at {} ({})"
                              .format(addr, error)) from error
        own = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(a.family == socket.AF_INET and a.address == own for a in addresses):
            return str(name)
    raise ConfigError("no network interface has the address {}, by which {} would be reached; "
                      "set HOROVOD_GLOO_IFACE".format(own, addr))


def address_of(interface: str) -> Optional[str]:
    """The address of this machine's network interface of that name; None if it has none."""
    import psutil

    for address in psutil.net_if_addrs().get(interface, ()):
        if address.family == socket.AF_INET:
            return str(address.address)
    return None
