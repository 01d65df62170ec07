# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The process's `tf.train.Server`: its sessions run on it, and its collectives meet others there.

TensorFlow wants the addresses of all servers before it makes one, and takes no port from us that is
open already. So each worker looks for a free port, all tell each other, make their servers, and
look again together if one of them lost its port meanwhile.
"""

import ctypes
import os
import socket
from typing import Any, Callable, List

import tensorflow.compat.v1 as tf

from epl.errors import ConfigError

JOB = "worker"
_LEADER = "/job:{}/replica:0/task:0".format(JOB)
_ATTEMPTS = 5
_PROXIES = ("grpc_proxy", "http_proxy", "https_proxy")
_OWN_EXCEPTIONS, _EXCEPTIONS = "no_grpc_proxy", "no_proxy"

_Gather = Callable[[bytes], List[bytes]]


def filters(rank: int) -> List[str]:
    """What a session of this worker may see: its own server's devices."""
    return ["/job:{}/task:{}".format(JOB, rank)]


def start(rank: int, address: str, config: Any, gather: _Gather) -> Any:
    """Make this worker's server when all workers do.

    Args:
      rank: this worker's.
      address: of this machine, as the others reach it.
      config: a `tf.ConfigProto`: the devices and threads that all sessions will have.
      gather: gives bytes to all workers, and returns those of all.

    Returns:
      The server; all others have been made too.

    Raises:
      ConfigError: a server cannot be made.
    """
    own = tf.ConfigProto()
    own.CopyFrom(config)
    own.experimental.collective_group_leader = _LEADER
    own.device_filters[:] = filters(rank)
    for _ in range(_ATTEMPTS):
        addresses = [each.decode() for each in gather(
            "{}:{}".format(address, _free_port(address)).encode())]
        _pass_proxies_by(addresses)
        why, server = "", None
        try:
            server = tf.train.Server(tf.train.ClusterSpec({JOB: addresses}), job_name=JOB,
                                     task_index=rank, config=own)
        except tf.errors.OpError as error:
            why = "worker {} at {}: {}".format(rank, addresses[rank], error)
        failed = [each.decode() for each in gather(why.encode()) if each]
        if not failed:
            _end_without_destructors()
            return server
    raise ConfigError("TensorFlow's server cannot be started ({})".format("; ".join(failed)))


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _pass_proxies_by(addresses: List[str]) -> None:
    """Workers reach each other directly, even if the environment names a proxy for HTTP."""
    if any(os.environ.get(name) for name in _PROXIES):
        own = os.environ.get(_OWN_EXCEPTIONS) or os.environ.get(_EXCEPTIONS) or ""
        hosts = sorted({address.rsplit(":", 1)[0] for address in addresses})
        os.environ[_OWN_EXCEPTIONS] = ",".join([part for part in own.split(",") if part] + hosts)


def _end_without_destructors() -> None:
    """When Python has come to its end, the process ends.

    A server cannot be stopped, and its threads hold up what C++ destroys behind Python's end: for a
    minute, or for ever, if another worker has ended before (1.15.5, 2.15.1). The C library hands
    the exit status to what is registered with `on_exit`; the last comes first.
    """
    library = ctypes.CDLL(None)
    for function in (library._exit, library._IO_flush_all):
        library.on_exit(ctypes.cast(function, ctypes.c_void_p), None)
