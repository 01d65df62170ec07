# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers on this machine."""

import contextlib
import functools
import os
import selectors
import signal
import time
from typing import IO, Dict, Iterable, Optional, Sequence, Tuple

from epl import private
from epl.errors import ConfigError
from epl.launcher import cores, directories, events
from epl.launcher.host import Callback, Host, Output, Stacks, Started
from epl.launcher.plan import LOCAL, WorkerPlan, process_environment
from epl.launcher.process import WorkerProcess, become_subreaper, give_terminal_to
from epl.launcher.watchdog import Watchdog
from epl.shared import progress

# The epl runtime has `faulthandler` write all stacks to EPL_STACKS_FILE on this signal.
DUMP_SIGNAL = signal.SIGRTMIN + 5

_CHUNK_BYTES = 64 * 1024
# What a pipe still holds after its last writer is bounded; what a process that left the worker's
# group goes on writing is not.
_MAX_DRAIN_CHUNKS = 64
_PROGRESS_PERIOD_S = 0.2
_STACKS_WAIT_S = 2.0
_STACKS_QUIET_S = 0.2
_MAX_STACKS = 4 << 20  # characters; beyond it nobody reads


class LocalHost(Host):
    """This machine; see `Host`.

    Args:
      name: by which the plans call it: `LOCAL`, or that of the agent that runs this.
    """

    def __init__(self, name: str = LOCAL):
        self.name = name
        self._running: Dict[int, WorkerProcess] = {}
        self._groups: Dict[int, WorkerProcess] = {}
        self._open: Dict[Tuple[int, str], IO[bytes]] = {}
        self._watchdog: Optional[Watchdog] = None
        self._progress: Dict[int, Optional[progress.Status]] = {}
        self._next_look = 0.0
        self._dumps: Dict[int, Tuple[float, _StacksFile]] = {}
        self._stopped: Dict[int, bool] = {}

    def start(self, plans: Sequence[WorkerPlan], selector: selectors.BaseSelector,
              callback: Callback) -> None:
        self._selector, self._callback = selector, callback
        become_subreaper()
        directories.make_worker_directories(plans)
        available = os.sched_getaffinity(0)
        self._watchdog = Watchdog()
        for plan in plans:
            own = (cores.share(available, plan.local_index, plan.local_size) if plan.bind
                   else None)
            _remove(plan.progress_file)
            _remove(plan.stacks_file)
            self._progress[plan.worker] = progress.read(plan.progress_file)
            environment = process_environment(plan, os.environ, available)
            try:
                worker = WorkerProcess(plan, environment, own, self._watchdog)
            except OSError as error:
                raise ConfigError("worker {} cannot be started: {}".format(
                    plan.worker, error)) from error
            self._running[plan.worker] = self._groups[plan.worker] = worker
            for stream, pipe in worker.pipes.items():
                self._open[plan.worker, stream] = pipe
                selector.register(pipe, selectors.EVENT_READ,
                                  functools.partial(self._read, plan.worker, stream))
            callback(Started(plan.worker, worker.group))

    def signal(self, worker: int, signum: int) -> None:
        process = self._groups.get(worker)
        if process is None:
            return
        if signum == signal.SIGTERM and self._stops_by_itself(process) \
                and process.signal_handlers(signum):
            # The script around it, a bash that would die of the signal, is to go on.
            process.resume()
        else:
            process.signal_group(signum)

    def dump(self, worker: int) -> None:
        process = self._groups.get(worker)
        self._stopped[worker] = process is not None and process.is_stopped()
        # A process that aborts has time to write, too.
        if process is not None and (process.signal_handlers(DUMP_SIGNAL)
                                    or process.signal_handlers(signal.SIGABRT)):
            self._dumps[worker] = (time.monotonic() + _STACKS_WAIT_S,
                                   _StacksFile(process.plan.stacks_file))
        else:
            self._answer(worker, "")

    def poll(self) -> None:
        now = time.monotonic()
        exits = [(index, code) for index, code in
                 ((index, self._running[index].poll()) for index in sorted(self._running))
                 if code is not None]
        if now >= self._next_look:
            self._look_at_progress(self._running)
            self._next_look = now + _PROGRESS_PERIOD_S
        # When one worker dies the others fail within milliseconds because it is gone. Of exits seen
        # together, one by a signal is the likelier cause.
        exits.sort(key=lambda item: events.deadly_signal(item[1]) is None)
        if exits:  # the last words before the exit, and what the others make of it
            self._look_at_progress(self._running)
        for index, code in exits:
            if self._running.pop(index).plan.terminal:
                give_terminal_to(os.getpgrp())
            self._callback(events.WorkerExited(index, code))
        for index in sorted(set(self._groups) - set(self._running)):
            if self._groups[index].reap_group():
                assert self._watchdog is not None
                self._watchdog.forget(self._groups.pop(index).group)
                self._callback(events.GroupGone(index))
        self._look_at_dumps(now)

    def close(self) -> None:
        """Workers that an error left behind are the watchdog's task."""
        for worker, stream in list(self._open):
            for _ in range(_MAX_DRAIN_CHUNKS):
                if not self._read(worker, stream):
                    break
            else:
                self._end_of_stream(worker, stream)
        for worker, stream in list(self._open):
            self._end_of_stream(worker, stream)
        if self._watchdog is not None:
            self._watchdog.close()

    def _read(self, worker: int, stream: str) -> bool:
        """Pass on one chunk of what the pipe holds; False when there was none."""
        pipe = self._open.get((worker, stream))
        data = pipe.read(_CHUNK_BYTES) if pipe is not None else None
        if data:
            self._callback(Output(worker, stream, data))
        elif data is not None:
            self._end_of_stream(worker, stream)
        return bool(data)

    def _end_of_stream(self, worker: int, stream: str) -> None:
        pipe = self._open.pop((worker, stream), None)
        if pipe is not None:
            self._selector.unregister(pipe)
            pipe.close()
            self._callback(Output(worker, stream, b""))

    def _look_at_progress(self, workers: Iterable[int]) -> None:
        for worker in list(workers):
            status = progress.read(self._groups[worker].plan.progress_file)
            if status is not None and status != self._progress.get(worker):
                self._progress[worker] = status
                self._callback(events.Progress(worker, status))

    def _stops_by_itself(self, process: WorkerProcess) -> bool:
        """True if the worker takes SIGTERM as the wish to stop after the next step."""
        status = progress.read(process.plan.progress_file)
        return status is not None and status.stops_at_sigterm

    def _look_at_dumps(self, now: float) -> None:
        for worker, (deadline, file) in list(self._dumps.items()):
            if file.is_quiet(now) or now >= deadline or worker not in self._groups:
                del self._dumps[worker]
                self._answer(worker, file.text())

    def _answer(self, worker: int, stacks: str) -> None:
        self._callback(Stacks(worker, stacks, self._stopped[worker]))


class _StacksFile:
    """A file that `faulthandler` is writing to."""

    def __init__(self, path: str):
        self._path = path
        self._size = 0
        self._since = 0.0

    def is_quiet(self, now: float) -> bool:
        """Something is there, and nothing came for a while."""
        with contextlib.suppress(OSError):
            size = os.path.getsize(self._path)
            if size != self._size:
                self._size, self._since = size, now
        return self._size > 0 and now - self._since >= _STACKS_QUIET_S

    def text(self) -> str:
        try:
            with open(private.open_to_read(self._path), encoding="utf-8",
                      errors="replace") as file:
                return file.read(_MAX_STACKS)
        except OSError:
            return ""


def _remove(path: str) -> None:
    """What cannot be removed stays; a record in it is that of an earlier attempt."""
    with contextlib.suppress(OSError):
        os.remove(path)
