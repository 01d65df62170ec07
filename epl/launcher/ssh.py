# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Machines that are reached by ssh: an agent on each, started from here."""

import contextlib
import functools
import os
import selectors
import shlex
import socket
import subprocess
import sys
import time
from typing import IO, Any, Callable, Dict, List, Optional, Sequence

from epl.errors import ConfigError
from epl.launcher import agent, preflight
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.devices import DevicePlan, find_gpus, plan_devices
from epl.launcher.host import TICK_S, Allocation, Callback, Host
from epl.launcher.local import LocalHost
from epl.launcher.options import Options
from epl.launcher.own import own_address_towards
from epl.launcher.plan import LOCAL, WorkerPlan, plan_to_json
from epl.launcher.provider import HostProvider, Say, join_devices
from epl.launcher.remote import RemoteHost
from epl.launcher.signals import exit_on_signal

CONNECT_S = 60.0
_END_S = 1.0
_STDERR_LINES = 5


class SshProvider(HostProvider):
    """This machine and others by ssh; see `HostProvider`.

    Args:
      options: the command line.
      placement: the host of every worker.
      say: prints a line of the launcher's own.
    """

    def __init__(self, options: Options, placement: Sequence[str], say: Say):
        self._options = options
        self._placement = list(placement)
        self._say = say
        self._connections: List[Connection] = []

    def allocate(self, attempt: int, news: Optional[socket.socket] = None) -> Allocation:
        self.close()
        names = [n for n in dict.fromkeys(self._placement) if n != LOCAL]
        self._connections = [Connection(name, self._options, self._say) for name in names]
        for connection in self._connections:
            connection.welcome(self._placement)
        seconds = min(CONNECT_S, self._options.start_timeout or CONNECT_S)
        _wait_for_hellos(self._connections, seconds, news)
        devices = self._devices()
        self._compare(devices[LOCAL].device_type if LOCAL in devices else None)
        hosts: List[Host] = [LocalHost()] if LOCAL in self._placement else []
        hosts.extend(SshHost(connection) for connection in self._connections)
        return Allocation(hosts, self._placement, join_devices(self._placement, devices),
                    self._address())

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections = []

    def _devices(self) -> Dict[str, DevicePlan]:
        found = {c.name: c.hello.devices for c in self._connections if c.hello}
        if LOCAL in self._placement:
            found[LOCAL] = plan_devices(self._placement.count(LOCAL),
                                        self._options.gpu_per_worker, find_gpus(os.environ))
        return found

    def _compare(self, local_device_type: Optional[str]) -> None:
        names = [c.name for c in self._connections]
        found = [c.hello.member for c in self._connections if c.hello]
        if local_device_type is not None:
            trouble = preflight.trouble_with_own_name()
            if trouble:
                raise ConfigError("this machine: " + trouble)
            names.insert(0, LOCAL)
            found.insert(0, preflight.describe(
                self._options._replace(hosts="", hostfile=""), local_device_type))
        odd = preflight.differences(names, found)
        if odd:
            raise ConfigError("the hosts do not fit together: {}".format("; ".join(odd)))

    def _address(self) -> str:
        """Where the hosts see this machine: ssh's server knows, else the routing table."""
        first = self._connections[0]
        seen = first.hello.launcher if first.hello else ""
        if seen and ":" not in seen:
            return seen
        try:
            return own_address_towards(first.name)
        except OSError as error:
            raise ConfigError("how host {} reaches this machine is not known ({}); name the hosts "
                              "by IPv4 addresses".format(first.name, error)) from error


class Connection:
    """An ssh that runs the agent of one host.

    Args:
      name: the host.
      options: the command line.
      say: prints a line of the launcher's own.

    Attributes:
      channel: to the agent.
      hello: what the agent said of its machine; None until then.
    """

    def __init__(self, name: str, options: Options, say: Say):
        self.name = name
        self.hello: Optional[agent.AgentHello] = None
        self._options, self._say = options, say
        self._last: List[str] = []
        try:
            self._process = subprocess.Popen(
                ssh_command(name, options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, bufsize=0, start_new_session=True)
        except OSError as error:
            raise ConfigError("'{}' cannot be started ({}); install an ssh client, or choose "
                              "another with --ssh_command".format(
                                  options.ssh_command, error.strerror)) from error
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        self.stderr: IO[bytes] = stderr
        os.set_blocking(stderr.fileno(), False)
        self.channel = Channel(os.dup(stdout.fileno()), os.dup(stdin.fileno()),
                               options.host_timeout)
        stdin.close()
        stdout.close()

    def welcome(self, placement: Sequence[str]) -> None:
        """Tell the agent what it needs to look at its machine."""
        workers, hosts = placement.count(self.name), len(set(placement))
        with contextlib.suppress(ChannelClosed):  # the reader finds out why
            self.channel.send("welcome", name=self.name, directory=os.getcwd(), workers=workers,
                              hosts=hosts, silence=self.channel.silence,
                              job=agent.job_fields(self._options))

    def receive_hello(self) -> None:
        """Raises ConfigError if the agent refuses, or is not there."""
        try:
            for message in self.channel.receive():
                self._take(message)
        except ChannelClosed as error:
            raise ConfigError(self._why(str(error))) from error

    def keep_alive(self) -> None:
        """To be called often while other hosts are waited for. Raises ConfigError if it is lost."""
        try:
            self.channel.tick()
        except ChannelClosed as error:
            raise ConfigError(self._why(str(error))) from error

    def read_stderr(self) -> bool:
        """Pass on what ssh and the agent complain about; False when no more can come."""
        data = self.stderr.read(65536)
        lines = (data or b"").decode("utf-8", "replace").splitlines()
        self._last = (self._last + lines)[-_STDERR_LINES:]
        if self.hello:
            for line in lines:
                self._say("epl-launch: {}: {}".format(self.name, line))
        return data != b""

    def last_words(self) -> str:
        """What ssh, or the agent, last wrote to stderr."""
        self.read_stderr()
        return " / ".join(line.strip() for line in self._last if line.strip())

    def order(self, plans: Sequence[WorkerPlan]) -> Dict[str, Any]:
        """What the agent is to start, as the fields of a message."""
        python = self._options.remote_python
        if python:
            plans = [plan._replace(interpreter=python, command=[
                python if word == plan.interpreter and place == 0 else word
                for place, word in enumerate(plan.command)]) for plan in plans]
        return {"plans": [plan_to_json(plan) for plan in plans]}

    def close(self) -> None:
        """End ssh; the agent ends with the channel."""
        self.channel.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:  # it waits for a host that does not answer
            self._process.kill()
            self._process.wait()
        self.stderr.close()

    def _take(self, message: Message) -> None:
        if message.kind == "refused":
            raise ConfigError("host {}: {}".format(self.name, message.fields.get("reason", "")))
        if message.kind == "hello":
            self.hello = agent.read_hello(message.fields)

    def _why(self, reason: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)  # then its last words are there
        words = self.last_words() or self.channel.noise or reason
        if "No module named" in words:
            words += "; install EPL there, or forward where it is with --env PYTHONPATH"
        return "host {} cannot be used by {}: {}".format(
            self.name, self._options.ssh_command, words)


class SshHost(RemoteHost):
    """The host of a connection that has said hello; see `Host`."""

    def __init__(self, connection: Connection):
        super().__init__(connection.name, connection.channel, connection.order)
        self._connection = connection
        self._listening = False

    def start(self, plans: Sequence[WorkerPlan], selector: selectors.BaseSelector,
              callback: Callback) -> None:
        selector.register(self._connection.stderr, selectors.EVENT_READ, self._read_stderr)
        self._listening = True
        super().start(plans, selector, callback)

    def close(self) -> None:
        super().close()
        self._stop_listening()
        self._connection.close()

    def _read_stderr(self) -> None:
        if not self._connection.read_stderr():
            self._stop_listening()

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening = False
            self._selector.unregister(self._connection.stderr)

    def _lose(self, reason: str) -> None:
        words = self._connection.last_words()
        super()._lose(reason + (" ({})".format(words) if words else ""))


def ssh_command(host: str, options: Options) -> List[str]:
    """The program that starts the agent on `host`, and its arguments.

    The user's own come first: of an option that is given twice, ssh takes the first.
    """
    command = shlex.split(options.ssh_command) + shlex.split(options.ssh_args)
    if options.ssh_port is not None:
        command += ["-p", str(options.ssh_port)]
    command += ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout={:.0f}".format(CONNECT_S / 2)]
    words = [options.remote_python or sys.executable, "-m", "epl.launcher.agent"]
    if "PYTHONPATH" in options.environment:
        words = ["env", "PYTHONPATH=" + options.environment["PYTHONPATH"]] + words
    return command + [host, "exec " + " ".join(map(shlex.quote, words))]


def _wait_for_hellos(connections: Sequence[Connection], seconds: float,
                     news: Optional[socket.socket]) -> None:
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        if news is not None:
            selector.register(news, selectors.EVENT_READ, functools.partial(exit_on_signal, news))
        for connection in connections:
            selector.register(connection.channel, selectors.EVENT_READ, connection.receive_hello)
        while True:
            silent = [c.name for c in connections if not c.hello]
            if not silent:
                return
            if time.monotonic() > deadline:
                raise ConfigError("host {} did not answer in {:g} s".format(
                    ", ".join(silent), seconds))
            for key, _ in selector.select(TICK_S):
                receive: Callable[[], None] = key.data
                receive()
            for connection in connections:
                connection.keep_alive()
