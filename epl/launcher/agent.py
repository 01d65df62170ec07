# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs workers for a launcher on another machine: `python -m epl.launcher.agent`, started by ssh.

Standard input and output are the channel. What the workers get comes over it, never on a command
line. The workers end with the channel: at once when the launcher is gone, after some seconds when
it is silent.
"""

import contextlib
import functools
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from epl.communicators.horovod.rendezvous import meeting_of
from epl.errors import ConfigError
from epl.launcher import preflight, remote
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.devices import DevicePlan, find_gpus, plan_devices
from epl.launcher.host import TICK_S, Host, HostEvent, Output
from epl.launcher.local import LocalHost
from epl.launcher.options import USAGE_CODE, Options
from epl.launcher.plan import WorkerPlan, plan_from_json
from epl.launcher.program import check_program
from epl.launcher.signals import exit_on_signal, signal_news
from epl.typed import made, taken

_WELCOME_S = 60.0
_REACH_S = 10.0
# So much output may wait for the network; then the workers wait, as for any full pipe.
_MAX_UNSENT_BYTES = 1 << 20
# The part of `Options` that says what is run; it goes to an agent.
_JOB_FIELDS = ("num_workers", "gpu_per_worker", "script", "script_args", "module")


class Agent:
    """Carries out what a launcher says over a channel, and tells it what happens.

    Args:
      channel: to the launcher.
      host: where the workers run.
      plans_for: the workers to start, from the fields of the message `start`.
      observe: is told of every event of a worker, too.
    """

    def __init__(self, channel: Channel, host: Host,
                 plans_for: Callable[[Mapping], Sequence[WorkerPlan]],
                 observe: Optional[Callable[[HostEvent], None]] = None):
        self._channel = channel
        self._host = host
        self._plans_for = plans_for
        self._observe = observe
        self._selector = selectors.DefaultSelector()
        self._started = self._done = False
        self._mute = False

    def run(self, messages: Sequence[Message] = (),
            listen: Sequence[socket.socket] = ()) -> None:
        """Until the launcher says `close`; nothing of the workers is left then.

        Args:
          messages: that have been received already.
          listen: sockets that bring the numbers of signals to this process, for the launcher.

        Raises:
          ChannelClosed: the launcher was lost.
        """
        self._selector.register(self._channel, selectors.EVENT_READ, self._receive)
        for news in listen:
            self._selector.register(news, selectors.EVENT_READ,
                                    functools.partial(self._ask, news))
        try:
            for message in messages:
                self._handle(message)
            while not self._done:
                for key, _ in self._selector.select(TICK_S):
                    key.data()
                if self._started:
                    self._host.poll()
                self._channel.tick()
        except ChannelClosed:
            self._mute = True
            raise
        finally:
            if self._started:
                self._host.close()
            self._selector.close()
        self._channel.send("closed")
        self._channel.drain()

    def _receive(self) -> None:
        for message in self._channel.receive():
            self._handle(message)

    def _handle(self, message: Message) -> None:
        fields = message.fields
        if message.kind == "start":
            self._start(fields)
        elif message.kind in ("signal", "dump") and self._started:
            self._pass_to_worker(message)
        elif message.kind == "close":
            self._done = True

    def _pass_to_worker(self, message: Message) -> None:
        try:
            worker = taken(message.fields, "worker", int)
            signum = taken(message.fields, "signum", int) if message.kind == "signal" else None
        except ValueError:
            raise remote.unexpected(message) from None
        if signum is None:
            self._host.dump(worker)
        else:
            self._host.signal(worker, signum)

    def _start(self, fields: Mapping) -> None:
        try:
            plans = self._plans_for(fields)
            _reach_rendezvous(plans)
            self._started = True
            self._host.start(plans, self._selector, self._pass_on)
        except ConfigError as error:
            self._channel.send("failed", reason=str(error))

    def _ask(self, news: socket.socket) -> None:
        for signum in news.recv(64):
            if signum != signal.SIGCHLD:
                self._channel.send("asked", signum=signum)

    def _pass_on(self, event: HostEvent) -> None:
        if self._observe is not None:
            self._observe(event)
        if self._mute:
            return
        try:
            remote.send_event(self._channel, event)
            if isinstance(event, Output):
                self._channel.drain(below=_MAX_UNSENT_BYTES)
        except ChannelClosed:
            self._mute = True
            raise


def _reach_rendezvous(plans: Sequence[WorkerPlan]) -> None:
    """Raises ConfigError if a worker could not connect to the others' meeting point."""
    for plan in plans[:1]:
        meeting = meeting_of(plan.environment)
        if meeting is None:
            continue
        try:
            socket.create_connection((meeting.host, meeting.port), _REACH_S).close()
        except OSError as error:
            raise ConfigError("from there the rendezvous at {}:{} cannot be reached ({}); see to "
                              "it that no firewall is between the hosts".format(
                                  meeting.host, meeting.port, error)) from error


def job_fields(options: Options) -> Dict[str, Any]:
    """The part of `options` that an agent is told."""
    return {name: getattr(options, name) for name in _JOB_FIELDS}


def take_standard_streams() -> Channel:
    """Standard input and output as a channel; what is printed by mistake goes to stderr."""
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return Channel(reader, writer)


def wait_for(channel: Channel, seconds: float,
             news: Optional[socket.socket] = None) -> List[Message]:
    """The next messages. Raises ChannelClosed, also if none comes within `seconds`.

    Args:
      channel: to wait for.
      seconds: how long.
      news: brings signals, of which some end the program.
    """
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        if news is not None:
            selector.register(news, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            channel.tick()
            for key, _ in selector.select(TICK_S):
                if key.fileobj is news:
                    exit_on_signal(news)
            messages = channel.receive()
            if messages:
                return messages
    raise ChannelClosed("it said nothing for {:g} s".format(seconds))


def _enter(fields: Mapping) -> Dict[str, Any]:
    """Look at this machine; returns the fields of `hello`. Raises ConfigError."""
    try:
        os.chdir(fields["directory"])
    except OSError as error:
        raise ConfigError("the working directory {} cannot be entered there ({}); it must be on "
                          "every host".format(fields["directory"], error.strerror)) from error
    options = Options(log_dir=None, task_label="", **fields["job"])
    check_program(options, os.environ.get("PATH"))
    trouble = preflight.trouble_with_own_name()
    if trouble and fields["hosts"] > 1:
        raise ConfigError(trouble)
    devices = plan_devices(fields["workers"], options.gpu_per_worker, find_gpus(os.environ))
    return {"member": list(preflight.describe(options, devices.device_type)),
            "devices": list(devices),
            "launcher": os.environ.get("SSH_CONNECTION", "").split(" ")[0]}


class AgentHello(NamedTuple):
    """What an agent says of its machine.

    Attributes:
      member: what must be the same on all.
      devices: of its workers.
      launcher: the launcher's address, as seen from there; "" if ssh does not say.
    """

    member: preflight.Member
    devices: DevicePlan
    launcher: str


def read_hello(fields: Mapping) -> AgentHello:
    """From the fields of `hello`. Raises ChannelClosed for anything else."""
    try:
        return made(AgentHello, fields)
    except ValueError:
        raise ChannelClosed("it said something else than hello") from None


def main() -> int:
    """Serve one launcher; returns the exit code."""
    channel = take_standard_streams()
    with contextlib.closing(channel):
        try:
            welcome, *rest = wait_for(channel, _WELCOME_S)
            channel.silence = welcome.fields["silence"]
            try:
                channel.send("hello", **_enter(welcome.fields))
            except ConfigError as error:
                channel.send("refused", reason=str(error))
                channel.drain()
                return USAGE_CODE
            with signal_news() as news:
                Agent(channel, LocalHost(welcome.fields["name"]),
                      lambda fields: [plan_from_json(text) for text in fields["plans"]]).run(
                          rest, [news])
        except ChannelClosed as error:
            print("the launcher was lost: {}".format(error), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
