# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A machine at the other end of a channel, as the supervisor sees it.

    launcher                                  the other side (`agent.Agent`)
    start{...}                       ->       starts workers
                                     <-       failed{reason}, instead of the following
                                     <-       Started, Output, Progress, WorkerExited, GroupGone
    signal{worker, signum}           ->
    dump{worker}                     ->
                                     <-       Stacks
                                     <-       asked{signum}: the user there pressed Ctrl-C
    close{}                          ->       ends what still runs
                                     <-       the last events, closed{}
"""

import contextlib
import select
import selectors
import signal
import time
from typing import Any, Callable, Dict, FrozenSet, Sequence

from epl.launcher import events
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.host import Callback, Host, HostEvent, Output, Stacks, Started
from epl.launcher.plan import WorkerPlan
from epl.typed import made, taken

CLOSE_WAIT_S = 5.0

_EVENTS: Dict[str, Any] = {cls.__name__: cls for cls in (
    Started, Output, events.Progress, events.WorkerExited, events.GroupGone, Stacks)}


def send_event(channel: Channel, event: HostEvent) -> None:
    """Send what has happened to a worker. Raises ChannelClosed."""
    if isinstance(event, Output):
        channel.send("Output", event.data, worker=event.worker, stream=event.stream)
    elif isinstance(event, events.Progress):
        channel.send("Progress", worker=event.worker, status=list(event.status))
    else:
        channel.send(type(event).__name__, **event._asdict())


def read_event(message: Message) -> HostEvent:
    """The inverse of `send_event`. Raises ChannelClosed for anything else."""
    try:
        fields = message.fields
        if message.kind == "Output":
            fields = dict(fields, data=message.payload)
        event: HostEvent = made(_EVENTS[message.kind], fields)
        return event
    except (KeyError, ValueError):
        raise unexpected(message) from None


def unexpected(message: Message) -> ChannelClosed:
    """The error for a message that is not understood here."""
    return ChannelClosed("it sent a message '{:.20}' that was not expected".format(message.kind))


def _asked(message: Message) -> events.SignalReceived:
    with contextlib.suppress(ValueError):
        return events.SignalReceived(signal.Signals(taken(message.fields, "signum", int)).value)
    raise unexpected(message)


class RemoteHost(Host):
    """Another machine; see `Host`.

    Args:
      name: by which plans call it.
      channel: to the other side, which waits for `start`. It stays open after `close`.
      order: from the plans to the fields of the message `start`.
    """

    def __init__(self, name: str, channel: Channel,
                 order: Callable[[Sequence[WorkerPlan]], Dict[str, Any]]):
        self.name = name
        self._channel = channel
        self._order = order
        self._workers: FrozenSet[int] = frozenset()
        self._lost = self._closed = self._registered = False

    def start(self, plans: Sequence[WorkerPlan], selector: selectors.BaseSelector,
              callback: Callback) -> None:
        self._selector, self._callback = selector, callback
        self._workers = frozenset(plan.worker for plan in plans)
        selector.register(self._channel, selectors.EVENT_READ, self._read)
        self._registered = True
        self._send("start", **self._order(plans))

    def signal(self, worker: int, signum: int) -> None:
        self._send("signal", worker=worker, signum=signum)

    def dump(self, worker: int) -> None:
        self._send("dump", worker=worker)

    def poll(self) -> None:
        if not self._lost:
            try:
                self._channel.tick()
            except ChannelClosed as error:
                self._lose(str(error))

    def close(self) -> None:
        if self._registered:
            self._send("close")
            deadline = time.monotonic() + CLOSE_WAIT_S
            while not (self._lost or self._closed) and time.monotonic() < deadline:
                select.select([self._channel], [], [], 0.1)
                self._read()
                self.poll()
            self._unregister()

    def _read(self) -> None:
        if self._lost:
            return
        try:
            for message in self._channel.receive():
                self._handle(message)
        except ChannelClosed as error:
            self._lose(str(error))

    def _handle(self, message: Message) -> None:
        if message.kind == "failed":
            self._lose(str(message.fields.get("reason", "")))
        elif message.kind == "asked":
            self._callback(_asked(message))
        elif message.kind == "closed":
            self._closed = True
        elif not self._lost:
            event: Any = read_event(message)
            if event.worker not in self._workers:
                raise unexpected(message)
            self._callback(event)

    def _send(self, kind: str, **fields: Any) -> None:
        if not self._lost:
            try:
                self._channel.send(kind, **fields)
            except ChannelClosed as error:
                self._lose(str(error))

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._unregister()
            self._callback(events.HostLost(self.name, reason))

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._selector.unregister(self._channel)
