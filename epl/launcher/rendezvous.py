# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the workers of a job find each other: Horovod's rendezvous for Gloo.

A small HTTP key-value store, Horovod's own, in which every worker leaves the address of its
sockets. It runs in the launcher, or in the chief when there is no launcher.
"""

import importlib
import itertools
import os
import selectors
import socket
import socketserver
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

from epl.errors import ConfigError

LOOPBACK = "127.0.0.1"

# What `worker_environment` sets. A job of one worker must not inherit them from an outer job.
VARIABLES = ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE",
             "HOROVOD_CROSS_RANK", "HOROVOD_CROSS_SIZE", "HOROVOD_HOSTNAME",
             "HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT",
             "HOROVOD_GLOO_IFACE", "HOROVOD_CONTROLLER", "HOROVOD_CPU_OPERATIONS")


def serve_rendezvous(port: Optional[int], hosts: Sequence[str]) -> Tuple[Any, int]:
    """Start the rendezvous of a job in a thread of this process.

    Args:
      port: TCP port to listen on; None: any free one.
      hosts: the host of every worker, in the order of worker indices; the workers of one host next
        to each other. If all are loopback addresses, nobody outside this machine can connect.

    Returns:
      The server, which answers until its `stop()` or the end of the process, and its port.

    Raises:
      ConfigError: Horovod is missing, the port is taken, or `hosts` is out of order.
    """
    slots = _slots(hosts)
    local = all(_is_loopback(host) for host in hosts)
    try:
        server = _server_class()((LOOPBACK if local else "", port or 0))
    except OSError as error:
        raise ConfigError("the rendezvous cannot listen on port {} ({}); use another port or end "
                          "the program that has it".format(port, error.strerror)) from error
    server.init(slots)
    server.start()
    return server, int(server.server_address[1])


def worker_environment(index: int, hosts: Sequence[str], addr: str, port: int) -> Dict[str, str]:
    """The variables with which worker `index` finds the others through Horovod.

    Args:
      index: which worker, 0-based.
      hosts: as for `serve_rendezvous`.
      addr: host of the rendezvous.
      port: port of the rendezvous.

    Returns:
      Names and values of environment variables.

    Raises:
      ConfigError: Horovod is missing, or `hosts` is out of order.
    """
    slot = _slots(hosts)[index]
    return {
        "HOROVOD_RANK": str(slot.rank),
        "HOROVOD_SIZE": str(slot.size),
        "HOROVOD_LOCAL_RANK": str(slot.local_rank),
        "HOROVOD_LOCAL_SIZE": str(slot.local_size),
        "HOROVOD_CROSS_RANK": str(slot.cross_rank),
        "HOROVOD_CROSS_SIZE": str(slot.cross_size),
        "HOROVOD_HOSTNAME": slot.hostname,
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": addr,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_GLOO_IFACE": interface_towards(addr),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }


def _slots(hosts: Sequence[str]) -> List[Any]:
    """Horovod's view of every worker: its rank overall, on its host, and across hosts."""
    runner = _horovod_runner("common.util.hosts")
    blocks = [(host, len(list(same))) for host, same in itertools.groupby(hosts)]
    names = [host for host, _ in blocks]
    scattered = sorted({host for host in names if names.count(host) > 1})
    if scattered:
        raise ConfigError("workers of host {} are not next to each other in {}; list the workers "
                          "host by host".format(scattered[0], ",".join(hosts)))
    infos = [runner.HostInfo(host, count) for host, count in blocks]
    return list(runner.get_host_assignments(infos, len(hosts)))


def _horovod_runner(module: str) -> Any:
    """A module of `horovod.runner`; it loads in a tenth of a second, without TensorFlow."""
    try:
        return importlib.import_module("horovod.runner." + module)
    except ImportError as error:
        raise ConfigError("more than one worker needs Horovod, which cannot be imported ({}); "
                          "install it with: bash scripts/setup.sh".format(error)) from error


def _server_class() -> Any:
    http_server = _horovod_runner("http.http_server")

    base: Any = http_server.RendezvousHTTPServer

    class RendezvousServer(base):
        """Horovod's store on a chosen address; its own starter takes a random port everywhere."""

        daemon_threads = True  # a client that hangs must not keep the launcher alive
        request_queue_size = 128  # all workers connect at once; the default of 5 drops some

        def __init__(self, address: Tuple[str, int]):
            super().__init__(address, http_server.RendezvousHandler, 0)
            self.timeout = 0  # of `handle_request`, which is called when there is one
            self._end, self._until = socket.socketpair()
            self._thread = threading.Thread(target=self._serve, daemon=True)

        def server_bind(self) -> None:
            # HTTPServer would also look up the name of this machine, which takes seconds where
            # name resolution does not work.
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = self.server_address[:2]

        def start(self) -> None:
            self._thread.start()

        def stop(self) -> None:
            self._end.close()
            self._thread.join()
            self._until.close()
            self.server_close()

        def _serve(self) -> None:
            """Until `stop`, which `serve_forever` would notice only at its next look."""
            with selectors.DefaultSelector() as selector:
                selector.register(self, selectors.EVENT_READ)
                selector.register(self._until, selectors.EVENT_READ)
                while self._until not in [key.fileobj for key, _ in selector.select()]:
                    self.handle_request()

    return RendezvousServer


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def interface_towards(addr: str) -> str:
    """Name of this machine's network interface on the way to `addr`.

    Across machines a value that the user has set wins: only they know which of two networks is
    the fast one.
    """
    if not _is_loopback(addr) and os.environ.get("HOROVOD_GLOO_IFACE"):
        return os.environ["HOROVOD_GLOO_IFACE"]
    import psutil  # comes with Horovod

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
