# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which machines: the texts of `--hosts`, `--hostfile` and `--machine_list`."""

import re
from typing import Dict, Iterable, List, NamedTuple, NoReturn, Optional, Sequence

from epl.errors import ConfigError, quoted
from epl.limits import MAX_WORKERS

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LONGEST_NAME = 253  # of DNS
_NUMBER = re.compile(r"[0-9]{1,9}")  # not what else counts as a digit
_MAX_FILE_CHARACTERS = 1 << 24


class HostSlots(NamedTuple):
    """A machine and how many workers it takes."""

    name: str
    slots: int


class Address(NamedTuple):
    """Where a machine of `--machine_list` is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return "{}:{}".format(self.host, self.port)


def parse_hosts(text: str) -> List[HostSlots]:
    """`h1:2,h2:2`; a host without a number takes one worker. Raises ConfigError."""
    hosts = []
    where = "--hosts {}".format(quoted(text))
    for part in text.split(","):
        name, colon, slots = part.strip().partition(":")
        hosts.append(HostSlots(_name(name, where), _number(slots, where) if colon else 1))
    _refuse_duplicates((host.name for host in hosts), where)
    return hosts


def read_hostfile(path: str) -> List[HostSlots]:
    """One host a line, `name slots=2`; `#` begins a comment. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(_MAX_FILE_CHARACTERS).splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError("--hostfile {} cannot be read ({})".format(
            quoted(path), quoted(str(error)))) from error
    hosts: List[HostSlots] = []
    lines_of: Dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        where = "{}:{}".format(path, number)
        host = _hostfile_entry(words, where)
        if host.name in lines_of:
            raise ConfigError("{}: host {} is in line {} already; give it all its slots there"
                              .format(where, host.name, lines_of[host.name]))
        lines_of[host.name] = number
        hosts.append(host)
    if not hosts:
        raise ConfigError("--hostfile {} names no host; write one a line: name slots=2".format(
            path))
    return hosts


def _hostfile_entry(words: Sequence[str], where: str) -> HostSlots:
    name = _name(words[0], where)
    slots = 1
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if key != "slots" or not equals or len(words) > 2:
            raise ConfigError("{}: '{}' is not understood behind the host's name; write: {} "
                              "slots=2".format(where, quoted(" ".join(words[1:])), name))
        slots = _number(value, where)
    return HostSlots(name, slots)


def parse_machine_list(text: str) -> List[Address]:
    """`ip:port,ip:port`, every machine once. Raises ConfigError."""
    where = "--machine_list {}".format(quoted(text))
    addresses = []
    for part in text.split(","):
        host, colon, port = part.strip().rpartition(":")
        if not colon:
            raise ConfigError("{}: '{}' has no port; write ip:port,ip:port".format(
                where, quoted(part.strip())))
        number = int(port) if _NUMBER.fullmatch(port) else 0
        if not 1 <= number <= 65535:
            raise ConfigError("{}: there is no port {}; use 1 to 65535".format(
                where, quoted(port)))
        addresses.append(Address(_name(host, where), number))
    _refuse_duplicates((address.host for address in addresses), where)
    return addresses


def chosen_hosts(hosts: str, hostfile: str) -> List[HostSlots]:
    """What `--hosts` or `--hostfile` says; "": not given. Raises ConfigError."""
    if hosts and hostfile:
        refuse_both("--hosts", "--hostfile")
    return parse_hosts(hosts) if hosts else read_hostfile(hostfile)


def place_on_slots(hosts: Sequence[HostSlots], num_workers: Optional[int]) -> List[str]:
    """The host of every worker: the first hosts are filled first.

    Args:
      hosts: the machines.
      num_workers: how many workers; None: one for every slot.

    Raises:
      ConfigError: there are fewer slots than workers.
    """
    slots = sum(host.slots for host in hosts)
    wanted = slots if num_workers is None else num_workers
    if wanted > slots:
        raise ConfigError("--num_workers {} is more than the {} slot(s) of the hosts: {}".format(
            wanted, slots, quoted(",".join("{}:{}".format(*host) for host in hosts))))
    if wanted > MAX_WORKERS:
        raise ConfigError("the hosts have {} slots; use {} workers at most".format(
            wanted, MAX_WORKERS))
    return [host.name for host in hosts for _ in range(host.slots)][:wanted]


def place_on_machines(machines: Sequence[Address], num_workers: Optional[int]) -> List[str]:
    """The machine of every worker: the same number on each.

    Args:
      machines: those of `--machine_list`.
      num_workers: how many workers on all of them together; None: one on each.

    Raises:
      ConfigError: they cannot be divided equally.
    """
    wanted = len(machines) if num_workers is None else num_workers
    each, rest = divmod(wanted, len(machines))
    if rest or not each:
        raise ConfigError("--num_workers {} workers cannot be divided equally between the {} "
                          "machines of --machine_list; use a multiple".format(
                              wanted, len(machines)))
    return [machine.host for machine in machines for _ in range(each)]


def check_machine_rank(rank: Optional[int], machines: Sequence[Address]) -> int:
    """Which of `machines` this one is. Raises ConfigError."""
    if not machines:
        raise ConfigError("--machine_rank {} needs --machine_list: ip:port of every machine".format(
            rank))
    if rank is None:
        raise ConfigError("--machine_list needs --machine_rank: which of the {} machines this one "
                          "is, from 0".format(len(machines)))
    if not 0 <= rank < len(machines):
        raise ConfigError("--machine_rank {} is not in --machine_list, which has {} machine(s): "
                          "use 0 to {}".format(rank, len(machines), len(machines) - 1))
    return rank


def refuse_both(first: str, second: str) -> NoReturn:
    """Raises ConfigError: two flags say which machines to use."""
    raise ConfigError("{} and {} are both given; use one of them".format(first, second))


def refuse_two_names_of_one_machine(names: Sequence[str]) -> None:
    """Raises ConfigError if `names`, all of this machine, are more than one."""
    if len(names) > 1:
        raise ConfigError("hosts {} are all this machine; give it one name and all its slots"
                          .format(", ".join(names)))


def _name(text: str, where: str) -> str:
    if not text:
        raise ConfigError("{}: a host has no name".format(where))
    if not _NAME.fullmatch(text) or len(text) > _LONGEST_NAME:
        # A leading dash would be an option of ssh; brackets and colons are IPv6, which Horovod's
        # rendezvous does not speak.
        raise ConfigError("{}: '{}' is no host name or IPv4 address".format(where, quoted(text)))
    return text


def _number(text: str, where: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_WORKERS:
        raise ConfigError("{}: '{}' is not a number of 1 to {}".format(
            where, quoted(text), MAX_WORKERS))
    return int(text)


def _refuse_duplicates(names: Iterable[str], where: str) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise ConfigError("{}: host {} is there twice".format(where, name))
        seen.add(name)
