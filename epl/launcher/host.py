# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where workers run: the interface between a job's supervisor and a machine.

The supervisor is one thread around one selector. A host registers what it has to wait for there,
with a function without arguments as `data`, and hands everything that happens to one callback,
always from that thread:

    Started(worker, pid)            the script's process runs
    Output(worker, stream, data)    bytes of "stdout" or "stderr"; empty data: the stream has ended
    Progress(worker, status)        the worker's progress file has changed
    WorkerExited(worker, code)      the script's process has ended; its last Progress came before
    GroupGone(worker)               nothing that the script started is left; after WorkerExited
    Stacks(worker, text)            the answer to `dump`
    SignalReceived(signum)          somebody at that machine asked for the job's end
    HostLost(host, reason)          the machine cannot be reached any more, or could not start its
                                    workers; nothing else comes from it afterwards

`LocalHost` (local.py) is this machine. A remote implementation runs an agent there, which uses
`LocalHost` itself and passes calls and events on; it has to

* send each `WorkerPlan` as JSON (`plan_to_json`, `plan_from_json`). `plan.environment` is what is
  set on top of the environment in which the agent runs;
* keep order: events of one worker arrive in the order in which they happened;
* never block in `signal`, `dump` and `poll`: what cannot be sent yet is queued. `start` may take
  the time that a connection takes, and raise ConfigError;
* notice silence: `poll` is called after every wake-up of the loop and at least every `TICK_S`; it
  is the place to compare clocks, and to report `HostLost` once;
* end its workers by itself when it loses the launcher;
* in `close` leave nothing behind: connections, processes, selector registrations.
"""

import abc
import selectors
from typing import Callable, NamedTuple, Sequence, Union

from epl.launcher.devices import DevicePlan
from epl.launcher.events import GroupGone, HostLost, Progress, SignalReceived, WorkerExited
from epl.launcher.plan import WorkerPlan

TICK_S = 0.25  # the loop never sleeps longer

STREAMS = ("stdout", "stderr")


class Started(NamedTuple):
    """The process `pid` of a worker's script runs."""

    worker: int
    pid: int


class Output(NamedTuple):
    """Bytes that a worker wrote.

    Attributes:
      worker: index of the worker.
      stream: "stdout" or "stderr".
      data: the bytes; empty when no more can come.
    """

    worker: int
    stream: str
    data: bytes


class Stacks(NamedTuple):
    """What a worker is doing when it is asked.

    Attributes:
      worker: its index.
      text: where its Python threads are, in the words of `faulthandler`; "" if unknown.
      stopped: a process of it is stopped.
    """

    worker: int
    text: str
    stopped: bool = False


HostEvent = Union[Started, Output, Progress, WorkerExited, GroupGone, Stacks, HostLost,
                  SignalReceived]
Callback = Callable[[HostEvent], None]


class Host(abc.ABC):
    """One machine, for one attempt of one job.

    Attributes:
      name: as the user knows it; workers' plans carry it in `host`.
    """

    name: str

    @abc.abstractmethod
    def start(self, plans: Sequence[WorkerPlan], selector: selectors.BaseSelector,
              callback: Callback) -> None:
        """Start the workers of `plans`, all of this host; called once.

        Their directories are made first, and no worker is started unless all of them can be.

        Raises:
          ConfigError: a worker cannot be started. `close` is called then as well.
        """

    @abc.abstractmethod
    def signal(self, worker: int, signum: int) -> None:
        """Send `signum` to every process of the worker's group; nothing if it is gone.

        SIGUSR1, SIGUSR2 and SIGHUP go only to those processes that handle them, and so does a
        SIGTERM that the worker takes as the wish to stop (see `progress`): others, like the bash
        around a training, would die of it. After SIGTERM and SIGINT a stopped process is
        continued, so that it can obey.
        """

    @abc.abstractmethod
    def dump(self, worker: int) -> None:
        """Ask for the worker's Python stacks; one `Stacks` event answers within seconds.

        A process that has not called `epl.init` yet cannot answer and go on: it gets SIGABRT, after
        which `faulthandler` writes its stacks to stderr.
        """

    @abc.abstractmethod
    def poll(self) -> None:
        """Look at what no file descriptor tells; called after every wake-up of the loop."""

    @abc.abstractmethod
    def close(self) -> None:
        """Report the output that is still to be had, and let go of everything.

        Workers that are still running are ended at once. Called once, also after `HostLost`.
        """


class Allocation(NamedTuple):
    """The machines of one attempt, before anything is started on them.

    Attributes:
      hosts: the machines.
      placement: for every worker, in the order of indices, the name of its host; the workers of one
        host are next to each other.
      devices: what each worker computes on, in the same order.
      address: at which all workers reach the rendezvous, which runs in this process.
    """

    hosts: Sequence[Host]
    placement: Sequence[str]
    devices: DevicePlan
    address: str
