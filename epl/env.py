# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The environment in which a script builds: configuration, cluster and strategies in force.

Only the entrances (`docs/architecture.md` lists them) ask for it with `Env.get()`. A graph
remembers the one in which an entrance first saw it (`epl.ir.environment`); all else goes by that.
"""

import contextlib
import threading
import weakref
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.communicators.base import Communicator
from epl.config import Config
from epl.context import Context, Worker
from epl.errors import ConfigError


class _Thread(threading.local):
    """What is in force for this thread alone."""

    env: "Optional[Env]" = None


class Seat(NamedTuple):
    """The place of a worker that is started within a process, by a thread: it is connected already.

    Attributes:
      cluster: the workers, and which it is.
      communicator: what connects it to the others; None: there are none.
    """

    cluster: Cluster
    communicator: Optional[Communicator]


class Env:
    """What `epl.init` set up. `Env.get()` is the one in force.

    Args:
      seat: where the worker sits if it is not the process.

    Attributes:
      seat: the same.
      worker: this worker in its job.
      default_strategy: what `epl.set_default_strategy` was last given.
      opening_strategy: what new graphs begin with: the strategy that was last set before its graph
        had weights.
      strategy_stack: the strategies whose `with` blocks are open.
      replicas_counted_on: copies of the model in a worker for which the script divides its rows.
      shared_among_workers: it has divided rows among all workers.

    Examples:
      >>> epl.init()
      >>> cluster = epl.Env.get().cluster
      >>> cluster.worker_index, cluster.worker_num, cluster.is_chief
      (0, 1, True)
    """

    _instance: "Optional[Env]" = None
    _thread = _Thread()

    def __init__(self, seat: Optional[Seat] = None) -> None:
        self.seat = seat
        self._context: Optional[Context] = None
        self._entered: Optional[Cluster] = None
        self._information: Any = weakref.WeakKeyDictionary()
        self.worker = Worker()
        self._forget_strategies()

    @classmethod
    def get(cls) -> "Env":
        """That of this thread if one was put in force for it, else that of the process."""
        if cls._thread.env is not None:
            return cls._thread.env
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """What this thread does is done in this environment: a worker in a thread."""
        before = self._thread.env
        self._thread.env = self
        try:
            yield
        finally:
            self._thread.env = before

    @property
    def context(self) -> Context:
        """What the last `epl.init` put in force. Raises RuntimeError before it."""
        return self._required("epl.Env.get().context")

    @property
    def config(self) -> Optional[Config]:
        """The `epl.Config` in force; None before `epl.init`."""
        return None if self._context is None else self._context.config

    @property
    def cluster(self) -> Optional[Cluster]:
        """The `epl.Cluster` in force; before `epl.init` what a script entered, or None."""
        return self._entered if self._context is None else self._context.cluster

    @property
    def initialized(self) -> bool:
        """True after `epl.init()`."""
        return self._context is not None

    is_ready = initialized

    @property
    def parallel_information(self) -> Dict[str, Any]:
        """What features of EPL tell scripts about the default graph, by name."""
        return self._information.setdefault(tf.get_default_graph(), {})

    def enter(self, cluster: Cluster) -> None:
        """Put `cluster` in force for graphs that are built from here on.

        Raises:
          ConfigError: it describes other workers than those that `epl.init` found.
        """
        if self._context is None:
            self._entered = cluster
            return
        _check_workers(cluster, self._context.cluster)
        self._context = self._context._replace(cluster=cluster)

    def require_init(self, caller: str) -> None:
        """Raises RuntimeError unless `epl.init()` has been called.

        Args:
          caller: what needs it, for the message.
        """
        self._required(caller)

    def reset(self, config: Config, cluster: Cluster,
              communicator: Optional[Communicator] = None) -> None:
        """Put a new configuration and cluster in force; forget strategies.

        Args:
          config: the new configuration.
          cluster: the new cluster.
          communicator: what connects this worker to the others; None: there are none.

        Raises:
          ConfigError: a script has entered a cluster of other workers.
        """
        if self._entered is not None:
            _check_workers(self._entered, cluster)
            self._entered = None
        self._context = Context(config, cluster, self.worker, communicator)
        self._forget_strategies()

    def _required(self, caller: str) -> Context:
        if self._context is None:
            raise RuntimeError("{} needs epl.init() first: call it once at the start of the script"
                               .format(caller))
        return self._context

    def _forget_strategies(self) -> None:
        self.default_strategy: Any = None
        self.opening_strategy: Any = None
        self.strategy_stack: List[Any] = []
        self.replicas_counted_on: Set[int] = set()
        self.shared_among_workers = False


def _check_workers(named: Cluster, started: Cluster) -> None:
    """Raises ConfigError unless a script names as many workers as there are, and itself."""
    found, wanted = [(each.worker_num, each.worker_index, each.gpu_num_per_worker)
                     for each in (started, named)]
    if found != wanted:
        raise ConfigError(
            "epl.Cluster(...) describes {!r}, but this is {!r}: workers are started by epl-launch, "
            "TF_CONFIG or another starter; leave worker_hosts and worker_index out".format(
                named, started))


Cluster.entering = lambda cluster: Env.get().enter(cluster)
