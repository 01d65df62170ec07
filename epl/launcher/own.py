# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The names and addresses of this machine."""

import contextlib
import socket


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


def _is_own(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.bind((address, 0))
            return True
    return False
