# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loop of a running job: the system's news become events, the actions that follow are done.

One thread waits for the workers' pipes, for signals (by a socket that Python writes to in its
signal handler, SIGCHLD included) and for the end of the grace time.
"""

import contextlib
import functools
import selectors
import signal
import socket
import time
from typing import Dict, Iterator, Optional, Sequence

from epl.errors import ConfigError
from epl.launcher import events, report
from epl.launcher.guard import Guard
from epl.launcher.job import GRACE_S, Job, Phase
from epl.launcher.output import Console, WorkerStream
from epl.launcher.plan import WorkerPlan
from epl.launcher.process import WorkerProcess, become_subreaper

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs the workers of one job to the end; `run` is called once, in the main thread.

    Args:
      plans: the workers.
      stdout, stderr: where their lines go; the launcher's own go to `stderr`.
      grace_s: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, plans: Sequence[WorkerPlan], stdout: Console, stderr: Console,
                 grace_s: float = GRACE_S):
        self._plans = plans
        self._stdout, self._stderr = stdout, stderr
        self._grace_s = grace_s
        self._job = Job(len(plans), grace_s)
        self._workers: Dict[int, WorkerProcess] = {}
        self._left: Dict[int, WorkerProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._deadline: Optional[float] = None
        self._finished = False

    def run(self) -> events.Outcome:
        """Start the workers and wait until nothing of them is left.

        Raises:
          ConfigError: a worker cannot be started; those already started have been ended.
        """
        become_subreaper()
        with contextlib.closing(Guard()) as guard, _signal_news() as news:
            self._selector.register(news, selectors.EVENT_READ,
                                    functools.partial(self._receive_signals, news))
            try:
                self._start(guard)
                while not self._finished:
                    self._look_at_processes(guard)
                    if not self._finished:
                        self._wait_for_news()
            finally:
                self._clean_up()
        assert self._job.outcome is not None
        return self._job.outcome

    def stderr_tail(self, worker: int) -> Sequence[bytes]:
        """The last lines that `worker` wrote to its stderr."""
        return self._workers[worker].stderr.tail

    def _start(self, guard: Guard) -> None:
        for plan in self._plans:
            try:
                worker = WorkerProcess(plan, self._stdout, self._stderr, guard)
            except OSError as error:
                raise ConfigError("worker {} cannot be started: {}".format(
                    plan.worker, error)) from error
            self._workers[plan.worker] = self._left[plan.worker] = worker
            for stream in (worker.stdout, worker.stderr):
                self._selector.register(stream.pipe, selectors.EVENT_READ,
                                        functools.partial(self._read, stream))

    def _look_at_processes(self, guard: Guard) -> None:
        """Which scripts have ended; once the job is ending, also which groups are empty."""
        polled = ((index, self._workers[index].poll()) for index in sorted(self._job.running))
        exits = [(index, code) for index, code in polled if code is not None]
        # When one worker dies the others fail within milliseconds because it is gone. Of exits seen
        # together, one by a signal is the likelier cause.
        exits.sort(key=lambda item: events.deadly_signal(item[1]) is None)
        for index, code in exits:
            self._feed(events.WorkerExited(index, code))
        if self._job.phase is Phase.RUNNING:
            return
        for index in sorted(set(self._left) - self._job.running):
            if self._left[index].reap_group():
                guard.forget(self._left.pop(index).group)
                self._feed(events.GroupGone(index))

    def _wait_for_news(self) -> None:
        timeout = None
        if self._deadline is not None:
            timeout = max(0.0, self._deadline - time.monotonic())
        for key, _ in self._selector.select(timeout):
            key.data()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            self._feed(events.GraceOver())

    def _read(self, stream: WorkerStream) -> None:
        try:
            stream.read()
        except EOFError:
            self._close(stream)

    def _receive_signals(self, news: socket.socket) -> None:
        for signum in news.recv(4096):
            if signum != signal.SIGCHLD:
                self._feed(events.SignalReceived(signum))

    def _feed(self, event: events.Event) -> None:
        for action in self._job.handle(event):
            self._carry_out(action)

    def _carry_out(self, action: events.Action) -> None:
        if isinstance(action, events.SignalGroup):
            self._left[action.worker].signal_group(action.signum)
        elif isinstance(action, events.StartGrace):
            self._deadline = time.monotonic() + action.seconds
            self._announce_ending()
        elif isinstance(action, events.Finish):
            self._finished = True

    def _announce_ending(self) -> None:
        outcome = self._job.outcome
        if outcome is None or isinstance(outcome, events.Succeeded):
            return
        if self._job.phase is Phase.ENDING:
            self._stderr.say(report.ending(outcome, self._job.running, self._grace_s))

    def _close(self, stream: WorkerStream) -> None:
        self._selector.unregister(stream.pipe)
        stream.close()

    def _clean_up(self) -> None:
        """Pass on the last output. Workers that an error left behind are the guard's task."""
        for worker in self._workers.values():
            for stream in (worker.stdout, worker.stderr):
                if not stream.pipe.closed:
                    self._close(stream)
        self._selector.close()


@contextlib.contextmanager
def _signal_news() -> Iterator[socket.socket]:
    """A socket with one byte, its number, for every signal that the launcher listens to.

    A signal that was ignored when the launcher started (`nohup`) stays ignored.
    """
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    heard = [s for s in _ENDING_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, _note) for s in heard + [signal.SIGCHLD]}
    wakeup_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        reader.close()
        writer.close()


def _note(signum: int, frame: object) -> None:
    """Python needs a handler to write to the socket; the loop does the rest."""
