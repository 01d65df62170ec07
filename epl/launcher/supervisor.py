# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loop of a running attempt: news become events, the actions that follow are done.

One thread waits for whatever the hosts have registered, for signals, and for timers.
"""

import contextlib
import selectors
import signal
import socket
import time
from typing import Callable, Dict, List, Sequence, Set

from epl.launcher import events, host
from epl.launcher.host import Host
from epl.launcher.job import Job, Limits, Phase
from epl.launcher.plan import WorkerPlan
from epl.launcher.sinks import Sinks


class Supervisor:
    """Runs the workers of one attempt to the end; `run` is called once, in the main thread.

    Args:
      hosts: the machines; closed at the end.
      plans: the workers.
      limits: how long things may take.
      sinks: where the output goes.
      news: `signal_news()`.
      on_change: called with the job when it begins to end, and when it passes on a signal.

    Attributes:
      job: the state machine.
      stacks: what workers answered when they were asked for their stacks.
      stopped: those that were stopped then.
    """

    def __init__(self, hosts: Sequence[Host], plans: Sequence[WorkerPlan], limits: Limits,
                 sinks: Sinks, news: socket.socket,
                 on_change: Callable[[Job, List[events.Action]], None]):
        self.job = Job([plan.host for plan in plans], limits)
        self.stacks: Dict[int, str] = {}
        self.stopped: Set[int] = set()
        self._hosts = hosts
        self._plans = plans
        self._host_of = {plan.worker: h for plan in plans for h in hosts if h.name == plan.host}
        self._sinks = sinks
        self._news = news
        self._on_change = on_change
        self._selector = selectors.DefaultSelector()
        self._deadlines: Dict[events.Timer, float] = {}
        self._asked: Set[int] = set()

    def run(self) -> events.Outcome:
        """Start the workers and wait until nothing of them is left.

        Raises:
          ConfigError: a worker cannot be started; those already started have been ended.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            self._selector.register(self._news, selectors.EVENT_READ, self._receive_signals)
            for machine in self._hosts:
                stack.callback(machine.close)
            for machine in self._hosts:
                machine.start([p for p in self._plans if p.host == machine.name], self._selector,
                              self._receive)
            self._carry_out(self.job.begin())
            while self.job.phase is not Phase.FINISHED:
                for machine in self._hosts:
                    machine.poll()
                if self.job.phase is not Phase.FINISHED:
                    self._wait_for_news()
        assert self.job.outcome is not None
        return self.job.outcome

    def _wait_for_news(self) -> None:
        now = time.monotonic()
        timeout = min([host.TICK_S] + [d - now for d in self._deadlines.values()])
        for key, _ in self._selector.select(max(0.0, timeout)):
            key.data()
        now = time.monotonic()
        for timer in [t for t, deadline in self._deadlines.items() if deadline <= now]:
            # Another event may have stopped it meanwhile.
            if self._deadlines.get(timer, now + 1) <= now:
                del self._deadlines[timer]
                self._feed(events.TimeOver(timer))

    def _receive(self, event: host.HostEvent) -> None:
        """What a host has to say."""
        if isinstance(event, host.Output):
            self._sinks.feed(event.worker, event.stream, event.data)
        elif isinstance(event, host.Stacks):
            self.stacks[event.worker] = event.text
            self.stopped.update([event.worker] if event.stopped else [])
            self._asked.discard(event.worker)
            if not self._asked:
                self._feed(events.StacksKnown(tuple(sorted(self.stopped))))
        elif not isinstance(event, host.Started):
            self._feed(event)

    def _receive_signals(self) -> None:
        for signum in self._news.recv(4096):
            if signum != signal.SIGCHLD:
                self._feed(events.SignalReceived(signum))

    def _feed(self, event: events.Event) -> None:
        before = self.job.phase
        actions = self.job.handle(event)
        if self.job.phase is not before or isinstance(event, events.SignalReceived):
            self._on_change(self.job, actions)
        self._carry_out(actions)

    def _carry_out(self, actions: Sequence[events.Action]) -> None:
        for action in actions:
            if isinstance(action, events.SignalGroup):
                self._host_of[action.worker].signal(action.worker, action.signum)
            elif isinstance(action, events.StartTimer):
                self._deadlines[action.timer] = time.monotonic() + action.seconds
            elif isinstance(action, events.StopTimer):
                self._deadlines.pop(action.timer, None)
            elif isinstance(action, events.DumpStacks):
                self._asked = set(action.workers)
                for worker in action.workers:
                    self._host_of[worker].dump(worker)
