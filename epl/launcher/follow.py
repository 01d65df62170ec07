# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Machine i > 0 of `--machine_list`: it runs its own workers, and machine 0 decides; see `join`."""

import contextlib
import os
import select
import socket
import sys
import time
from datetime import datetime
from typing import Any, List, Mapping, NamedTuple, Optional

from epl.communicators.horovod.rendezvous import Meeting
from epl.errors import ConfigError
from epl.launcher import events, handshake, hostfile, report
from epl.launcher.agent import Agent, wait_for
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.console import Console, wants_colour
from epl.launcher.devices import DevicePlan
from epl.launcher.directories import make_directories, make_log_dir
from epl.launcher.handshake import Knock
from epl.launcher.host import HostEvent, Output
from epl.launcher.join import JOIN_S, channel_over, describe_own, hello_fields
from epl.launcher.local import LocalHost
from epl.launcher.options import Options
from epl.launcher.plan import WorkerPlan, plan_workers
from epl.launcher.program import check_program
from epl.launcher.signals import exit_on_signal, signal_news
from epl.launcher.sinks import Sinks
from epl.shared import secret
from epl.typed import made, taken

_RETRY_S = 0.5
_FIRST_NOTE_S = 1.0
_PATIENCE_S = 2.0  # machine 0 gives up first, and then says who is missing
_VERDICT_S = 60.0


def follow(options: Options) -> int:
    """Take part in the job of machine 0; returns its exit code. Raises ConfigError."""
    check_program(options, os.environ.get("PATH"))
    stdout, stderr = Console(1), Console(2)
    try:
        with signal_news() as news:
            return Follower(options, stdout, stderr, news).run()
    finally:
        stdout.flush()
        stderr.flush()


class Verdict(NamedTuple):
    """How an attempt ended, as machine 0 says; see `HostProvider.conclude`."""

    exit_code: int
    text: str
    again: bool


class Start(NamedTuple):
    """Machine 0 starts an attempt: the workers meet there."""

    host: str
    port: int
    secret: str
    attempt: int


def _start_of(fields: Mapping[str, Any]) -> Start:
    try:
        return made(Start, dict(fields))
    except ValueError:
        raise ChannelClosed("its message 'start' is none") from None


def _text(message: Message, name: str) -> str:
    try:
        return str(taken(message.fields, name, str))
    except ValueError:
        raise ChannelClosed("its message '{}' is none".format(message.kind)) from None


class Follower:
    """This machine's part of a job.

    Args:
      options: the command line.
      stdout, stderr: where lines go.
      news: brings the numbers of signals to this process.
    """

    def __init__(self, options: Options, stdout: Console, stderr: Console, news: socket.socket):
        assert options.machine_rank
        self._options = options
        self._stdout, self._stderr = stdout, stderr
        self._news = news
        self._rank = options.machine_rank
        self._machines = hostfile.parse_machine_list(options.machine_list)
        self._places = hostfile.place_on_machines(self._machines, options.num_workers)
        self._name = self._machines[self._rank].host
        self._hello = describe_own(options, self._rank)
        self._secret = secret.shared()
        self._log_dir = ""
        self._attempts = 0
        self._sinks: Optional[Sinks] = None
        self._start = time.monotonic()

    def run(self) -> int:
        """Follow machine 0 through all attempts; returns the exit code of the job.

        Raises:
          ConfigError: the machines do not come together, or do not fit.
        """
        if self._hello.devices.note:
            self._say(self._hello.devices.note)
        while True:
            verdict = self._attempt()
            self._stderr.say(self._closing(verdict))
            if not verdict.again:
                return verdict.exit_code

    def _attempt(self) -> Verdict:
        with contextlib.closing(self._connect()) as channel:
            messages = self._wait_for_start(channel)
            self._log_dir = self._log_dir or make_log_dir(self._options, datetime.now())
            try:
                Agent(channel, LocalHost(self._name), self._plans, self._observe).run(
                    messages, [self._news])
                return self._wait_for_verdict(channel)
            except ChannelClosed as error:
                return self._lost(str(error))
            finally:
                if self._sinks is not None:
                    self._sinks.close()

    def _connect(self) -> Channel:
        chief = self._machines[0]
        seconds = self._options.start_timeout or JOIN_S
        start = time.monotonic()
        noted = False
        while True:
            try:
                return channel_over(socket.create_connection(chief, timeout=5.0),
                                    self._options.host_timeout, known=False)
            except OSError as error:
                waited = time.monotonic() - start
                if waited > seconds:
                    raise ConfigError("machine 0 did not answer at {} in {:g} s ({})".format(
                        chief, seconds, error)) from error
            if not noted and waited > _FIRST_NOTE_S:
                noted = True
                self._say("waiting for machine 0 ({})".format(chief.host))
            if select.select([self._news], [], [], _RETRY_S)[0]:
                exit_on_signal(self._news)

    def _wait_for_start(self, channel: Channel) -> List[Message]:
        """Say hello; returns the messages from `start` on."""
        chief, seconds = self._machines[0].host, self._options.start_timeout or JOIN_S
        deadline = time.monotonic() + seconds + _PATIENCE_S
        knock = Knock(self._secret)
        channel.send(handshake.KNOCK, **knock.fields)
        greeted = False
        while True:
            try:
                messages = wait_for(channel, deadline - time.monotonic(), self._news)
                if not greeted:
                    self._say_hello(channel, knock, messages.pop(0))
                    greeted = True
            except ChannelClosed as error:
                if time.monotonic() >= deadline:
                    raise ConfigError("machine 0 ({}) did not start the job in {:g} s".format(
                        chief, seconds)) from error
                raise ConfigError("machine 0 ({}) went away before the start: {}".format(
                    chief, error)) from error
            while messages and messages[0].kind in ("note", "refused"):
                message = messages.pop(0)
                if message.kind == "refused":
                    raise ConfigError(_text(message, "reason"))
                self._say(_text(message, "text"))
            if messages:
                return messages

    def _say_hello(self, channel: Channel, knock: Knock, challenge: Message) -> None:
        """Raises ConfigError if machine 0 has another secret, ChannelClosed if it is none."""
        proof = knock.answer(challenge)
        if proof is None:
            channel.send(handshake.STRANGER)
            channel.drain()
            raise ConfigError("the secret of this machine, {}, is not that of machine 0 ({}); copy "
                              "the file from there".format(secret.path_of_shared(),
                                                           self._machines[0].host))
        channel.trust()
        channel.send(handshake.HELLO, proof=proof, **hello_fields(self._hello))

    def _plans(self, fields: Mapping[str, Any]) -> List[WorkerPlan]:
        """This machine's workers, made from its own command line."""
        start = _start_of(fields)
        self._attempts = start.attempt + 1
        own = list(self._hello.devices.visible)
        visible = [own.pop(0) if host == self._name else "" for host in self._places]
        plans = plan_workers(
            self._options, self._log_dir, self._places,
            DevicePlan(self._hello.devices.device_type, visible),
            Meeting(start.host, start.port, start.secret), sys.executable, start.attempt)
        mine = [plan for plan in plans if plan.host == self._name]
        self._open_sinks(mine)
        return mine

    def _open_sinks(self, plans: List[WorkerPlan]) -> None:
        """Logs of this machine's own: it may share `log_dir` with machine 0."""
        root = os.path.join(self._log_dir, "machine_{}".format(self._rank))
        moved = [plan._replace(log_directory=os.path.join(
            root, os.path.relpath(plan.log_directory, self._log_dir))) for plan in plans]
        make_directories(plan.log_directory for plan in moved)
        self._sinks = Sinks(moved, self._stdout, self._stderr, self._options.tee,
                            (wants_colour(self._stdout, os.environ),
                             wants_colour(self._stderr, os.environ)))

    def _observe(self, event: HostEvent) -> None:
        if isinstance(event, Output) and self._sinks is not None:
            self._sinks.feed(event.worker, event.stream, event.data)

    def _wait_for_verdict(self, channel: Channel) -> Verdict:
        deadline = time.monotonic() + _VERDICT_S
        while True:
            for message in wait_for(channel, deadline - time.monotonic()):
                if message.kind == "verdict":
                    try:
                        return made(Verdict, message.fields)
                    except ValueError:
                        raise ChannelClosed("its verdict is none") from None

    def _lost(self, reason: str) -> Verdict:
        """Machine 0 has lost this one, too, and starts again where there are restarts left."""
        outcome = events.LostHost(self._machines[0].host, reason)
        return Verdict(outcome.exit_code, report.cause(outcome),
                       self._attempts <= self._options.max_restarts)

    def _closing(self, verdict: Verdict) -> str:
        seconds = time.monotonic() - self._start
        if verdict.exit_code == 0:
            return "epl-launch: {} in {:.1f} s; logs in {}".format(
                verdict.text, seconds, self._log_dir)
        return "+-- epl-launch: {} after {:.1f} s\n+-- logs in {}".format(
            verdict.text, seconds, self._log_dir)

    def _say(self, text: str) -> None:
        self._stderr.say("epl-launch: " + text)
