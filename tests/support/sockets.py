# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who listens where, as /proc has it."""

import os
import re
import socket
import struct

_LISTEN = "0A"


def of_processes(pids):
    """[(address, port)] of the TCP sockets on which these processes listen."""
    found = []
    for pid in pids:
        listening = _listening(pid)
        for name in os.listdir("/proc/{}/fd".format(pid)):
            try:
                target = os.readlink("/proc/{}/fd/{}".format(pid, name))
            except OSError:
                continue
            match = re.match(r"socket:\[(\d+)\]$", target)
            if match and match.group(1) in listening:
                found.append(listening[match.group(1)])
    return sorted(set(found))


def _listening(pid):
    """inode -> (address, port) of all listening sockets that the process can see."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/{}/net/{}".format(pid, name)) as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, port = fields[1].split(":")
                found[fields[9]] = (_address(address), int(port, 16))
    return found


def _address(text):
    words = [int(text[start:start + 8], 16) for start in range(0, len(text), 8)]
    raw = b"".join(struct.pack("=I", word) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def family(pid):
    """A process and all that it has started."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/{}/stat".format(name)) as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found
