# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What one `epl.init` put in force, and what a worker knows of itself in its job.

Modules are handed a `Context`, or find that of a graph (`epl.ir.environment`); none of them asks
for one of the process. So two workers can live in one process, each with a context of its own.
"""

import enum
import threading
from typing import Any, Dict, List, NamedTuple, Optional

from epl.cluster import Cluster
from epl.communicators.base import Communicator, Group, all_workers
from epl.config import Config
from epl.plan.teams import Fold


class Wish(enum.IntEnum):
    """Why to stop training; of several the highest counts."""

    NONE = 0
    SCRIPT = 1
    SIGTERM = 2


class Worker:
    """One worker in its job: what changes while it runs, and outlives a second `epl.init`.

    Attributes:
      wish: the stop that its script asks for (see `runtime.stop`).
      agreed: the stop that all workers carry out.
      ended_together: the last meeting was that of the end of a training (see
        `runtime.coordination`).
      check: the check that is on (see `checking`), or None.
      steps: held during a step: a worker is in one at a time, whatever its threads do.
      graphs: those that have come to be trained (see `runtime.graphs`).
      graphs_numbered: how many have got a number.
      spans: it holds model replicas together with others.
      sessions: weak references to the sessions of graphs that lie on several workers, in the same
        order on all workers (see `runtime.requests`).
      held: weak references to the sessions that hold what other workers do not (see
        `runtime.held_state`), in the same order on all workers; None: it is closed.
    """

    def __init__(self) -> None:
        self.wish = Wish.NONE
        self.agreed = Wish.NONE
        self.ended_together = False
        self.check: Any = None
        self.steps = threading.RLock()
        self.graphs: List[Any] = []
        self.graphs_numbered = 0
        self.spans = False
        self.sessions: List[Any] = []
        self.held: List[Any] = []


class Context(NamedTuple):
    """What one `epl.init` put in force.

    Attributes:
      config: the `epl.Config`.
      cluster: the `epl.Cluster`.
      worker: this worker in its job.
      communicator: what connects it to the others; one worker has none.
      teams: the teams of workers that hold replicas together; None: there are none. A team counts
        as one worker: what is said above is said of teams then.
      job: what `epl.init` put in force, of which `teams` made this; None: it is this.
    """

    config: Config
    cluster: Cluster
    worker: Worker
    communicator: Optional[Communicator] = None
    teams: Optional[Fold] = None
    job: Any = None

    @property
    def of_process(self) -> "Context":
        """What `epl.init` put in force, where each worker is a process."""
        return self.job or self

    def in_teams(self, teams: Optional[Fold]) -> "Context":
        """This context of a process, with each of `teams` as one worker; None: as it is."""
        if teams is None:
            return self
        several = len(teams.seats) > 1 and self.communicator is not None
        return self._replace(
            cluster=self.cluster.of_teams(teams), teams=teams, job=self,
            communicator=self.connection.of_teams(teams) if several else None)

    @property
    def connection(self) -> Communicator:
        """The communicator of a job with several workers."""
        assert self.communicator is not None
        return self.communicator

    @property
    def workers(self) -> Group:
        """All workers of the job."""
        return all_workers(self.cluster.worker_num)

    def differences(self, other: "Context") -> List[str]:
        """What `other` says otherwise, as text."""
        own, others = self.of_process._facts(), other.of_process._facts()
        return ["{} = {!r} instead of {!r}".format(name, others[name], own[name])
                for name in own if own[name] != others[name]]

    def _facts(self) -> Dict[str, Any]:
        return dict(self.config.as_dict(), workers=self.cluster.worker_num,
                    worker_index=self.cluster.worker_index,
                    devices_per_worker=self.cluster.gpu_num_per_worker,
                    device_type=self.cluster.device_type, layout=self.cluster.slices)
