# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every machine must have in common, found out before anything is started.

Nothing is imported for it: versions are read from the names of installed packages' metadata.
"""

import contextlib
import hashlib
import ipaddress
import os
import re
import shutil
import socket
import sys
from typing import List, NamedTuple, Optional, Sequence

from epl.launcher.options import Options
from epl.version import __version__

_TENSORFLOW = ("tensorflow", "tensorflow_cpu", "tensorflow_gpu", "tf_nightly")
_HOROVOD = ("horovod",)
_MISSING = "none"


class Member(NamedTuple):
    """What is compared between the machines of a job.

    Attributes:
      epl, python, tensorflow, horovod: versions; "none" where it is not installed.
      program: digest of the script's file; "" where there is no single file.
      arguments: digest of the script's arguments.
      shape: number of workers and of their devices, and the machines, as on the command line.
      device_type: "gpu" or "cpu".
    """

    epl: str
    python: str
    tensorflow: str
    horovod: str
    program: str
    arguments: str
    shape: str
    device_type: str


_WORDS = {
    "epl": "the version of EPL", "python": "the version of Python",
    "tensorflow": "the version of TensorFlow", "horovod": "the version of Horovod",
    "program": "the script (SHA-256)", "arguments": "the script's arguments (SHA-256)",
    "shape": "the command line", "device_type": "the kind of device",
}
_DIGEST_CHARACTERS = 16  # against mistakes, not against attackers


def describe(options: Options, device_type: str) -> Member:
    """This machine, for the job of `options`."""
    shape = "--num_workers {} --gpu_per_worker {}".format(
        options.num_workers, options.gpu_per_worker)
    if options.machine_list:
        shape += " --machine_list " + options.machine_list
    return Member(
        epl=__version__, python=".".join(map(str, sys.version_info[:3])),
        tensorflow=installed_version(_TENSORFLOW), horovod=installed_version(_HOROVOD),
        program=digest_of_program(options), shape=shape, device_type=device_type,
        arguments=_digest("\0".join(options.script_args).encode("utf-8", "surrogateescape")))


def differences(names: Sequence[str], members: Sequence[Member]) -> List[str]:
    """In words, what is not the same on all machines.

    Args:
      names: of the machines.
      members: what each says of itself.
    """
    found = []
    for field in Member._fields:
        values = [getattr(member, field) for member in members]
        if len(set(values)) > 1:
            found.append("{} differs: {}".format(_WORDS[field], ", ".join(
                "{} on {}".format(value or "no file", name)
                for name, value in zip(names, values))))
    return found


def trouble_with_own_name() -> str:
    """Why other machines could not reach workers of this one; "" if they can.

    Horovod 0.28 lets Gloo listen at the address that the machine's own name stands for, whatever
    HOROVOD_GLOO_IFACE says (it reaches the first contexts, not those of process sets). Many systems
    write 127.0.1.1 there.
    """
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except OSError as error:
        return "its own name '{}' is not known there ({}); write its address and name into " \
               "/etc/hosts".format(name, error.strerror)
    for family, kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
            if ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback:
                return "its own name '{}' stands for {}, where Horovod would listen in vain for " \
                       "other machines; write the address by which they reach it into " \
                       "/etc/hosts".format(name, address[0])
            return ""
    return "its own name '{}' stands for none of its addresses; correct /etc/hosts".format(name)


def installed_version(names: Sequence[str], search: Optional[Sequence[str]] = None) -> str:
    """The version of the first package in the search path that has one of `names`."""
    pattern = re.compile(r"(?:{})-([^-]+)(?:-.*)?\.(?:dist-info|egg-info)".format("|".join(names)))
    for directory in sys.path if search is None else search:
        try:
            entries = sorted(os.listdir(directory or "."))
        except OSError:
            continue
        for entry in entries:
            match = pattern.fullmatch(entry)
            if match:
                return match.group(1)
    return _MISSING


def digest_of_program(options: Options) -> str:
    """Digest of the file that the workers run; "" if it is not here or cannot be read."""
    path = _file_of_module(options.script) if options.module else options.script
    if path is not None and os.sep not in path and not os.path.isfile(path):
        path = shutil.which(path)
    try:
        with open(path or "", "rb") as file:
            return _digest(file.read())
    except OSError:
        return ""


def _file_of_module(name: str) -> Optional[str]:
    """Where `python -m name` finds its code; importlib would import the packages around it."""
    relative = os.path.join(*name.split("."))
    for directory in [os.getcwd()] + sys.path:
        for candidate in (relative + ".py", os.path.join(relative, "__main__.py")):
            path = os.path.join(directory, candidate)
            if os.path.isfile(path):
                return path
    return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGEST_CHARACTERS]
