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

import select
import selectors
import time
from typing import Any, Callable, Dict, Sequence

from epl.launcher import events
from epl.launcher.channel import Channel, ChannelClosed, Message
from epl.launcher.host import Callback, Host, HostEvent, Output, Stacks, Started
from epl.launcher.plan import WorkerPlan
from epl.runtime.progress import Status

CLOSE_WAIT_S = 5.0

_PLAIN: Dict[str, Any] = {cls.__name__: cls for cls in (
    Started, events.WorkerExited, events.GroupGone, Stacks)}


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
        if message.kind == "Output":
            return Output(data=message.payload, **message.fields)
        if message.kind == "Progress":
            return events.Progress(message.fields["worker"], Status(*message.fields["status"]))
        event: HostEvent = _PLAIN[message.kind](**message.fields)
        return event
    except (KeyError, TypeError):
        raise ChannelClosed("it sent a message '{}' that was not expected".format(
            message.kind)) from None


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
        self._lost = self._closed = self._registered = False

    def start(self, plans: Sequence[WorkerPlan], selector: selectors.BaseSelector,
              callback: Callback) -> None:
        self._selector, self._callback = selector, callback
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
            self._lose(message.fields["reason"])
        elif message.kind == "asked":
            self._callback(events.SignalReceived(message.fields["signum"]))
        elif message.kind == "closed":
            self._closed = True
        elif not self._lost:
            self._callback(read_event(message))

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
