# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.Graph`: what a script can read of the graph that it builds."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl.env import Env
from epl.ir.collections import get_all_collections, get_collection
from epl.ir.environment import context_of, plan_for, remember, stages_of
from epl.ir.graph_keys import GraphKeys
from epl.ir.graph_state import state_of
from epl.plan.layout import Placement
from epl.plan.parallel_plan import ParallelPlan
from epl.virtual_devices import VirtualDevice, device_name

__all__ = ["Graph", "GraphKeys", "TaskGraphView"]


class TaskGraphView:
    """One TaskGraph: a stage of the model.

    Attributes:
      index: 0-based position.
      name: what the script called it, or "".
      num_device_per_replica: devices that one copy of the model uses for it.
    """

    def __init__(self, graph: Any, index: int, name: str, num_device_per_replica: int):
        self._graph = graph
        self.index = index
        self.name = name
        self.num_device_per_replica = num_device_per_replica

    @property
    def operations(self) -> List[Any]:
        """The script's own `tf.Operation`s of this stage, gradients too; no copies."""
        provenance = state_of(self._graph).provenance
        return [op for op in self._graph.get_operations()
                if not provenance.is_made(op) and provenance.stage_of(op) == self.index]

    @property
    def is_first_stage(self) -> bool:
        """The stage that the data enters."""
        return self.index == 0

    @property
    def is_last_stage(self) -> bool:
        """The stage of the loss."""
        return self.index == len(_stages(self._graph)) - 1

    @property
    def num_replicas(self) -> int:
        """Copies of the stage in the job."""
        return self._plan.num_replicas

    @property
    def local_num_replicas(self) -> int:
        """Copies of the stage in this worker, or those that it holds together with others."""
        worker, plan = context_of(self._graph).of_process.cluster.worker_index, self._plan
        return len(plan.replicas_of(
            worker if plan.teams is None else plan.teams.team_of(worker)))

    @property
    def virtual_device(self) -> VirtualDevice:
        """The devices of all copies."""
        cluster = context_of(self._graph).of_process.cluster
        return VirtualDevice(self.index, [
            [device_name(self._plan.real(device), cluster.device_type)
             for device in placement.devices]
            for placement in self._placements], cluster.worker_index)

    def format(self, max_depth: int = -1, prefix_list: Optional[Sequence[str]] = None) -> str:
        """The name scopes of the forward operations, indented, under a line about the devices.

        Args:
          max_depth: leave out scopes that lie deeper; -1: none.
          prefix_list: leave out operations whose name begins with none of these; None: none.
        """
        head = "TaskGraph {} {!r} on {}".format(self.index, self.name, " | ".join(
            " ".join(devices) for devices in self.virtual_device.slice_devices))
        provenance = state_of(self._graph).provenance
        seen: List[str] = []
        for op in self.operations:
            if not op.inputs or provenance.is_of_optimizer(op) or prefix_list is not None \
                    and not op.name.startswith(tuple(prefix_list)):
                continue
            scopes = op.name.split("/")[:max_depth if max_depth > 0 else None]
            seen.extend("/".join(scopes[:depth + 1]) for depth in range(len(scopes)))
        return "\n".join([head] + ["  " * (path.count("/") + 1) + path
                                   for path in dict.fromkeys(seen)])

    def __repr__(self) -> str:
        return self.format(max_depth=1)

    @property
    def _plan(self) -> ParallelPlan:
        plan = plan_for(self._graph)
        assert plan is not None  # there is a TaskGraph
        return plan

    @property
    def _placements(self) -> List[Placement]:
        return list(self._plan.placements[self.index::self._plan.num_stages])


class Graph:
    """What EPL knows of a `tf.Graph`; `Graph.get()` is that of the default graph.

    Attributes:
      graph: the `tf.Graph`.
    """

    def __init__(self, graph: Any):
        self.graph = graph

    @classmethod
    def get(cls, may_create: bool = False) -> "Graph":
        """That of the default graph. Raises RuntimeError before `epl.init`.

        Args:
          may_create: as in the original EPL; not used, as there is one for every graph.
        """
        del may_create  # there is one for every graph
        graph = tf.get_default_graph()
        remember(graph, Env.get()).require_init("epl.Graph.get")
        return cls(graph)

    @property
    def taskgraphs(self) -> List[TaskGraphView]:
        """The stages that are annotated so far, or that EPL chooses."""
        return [TaskGraphView(self.graph, number, name, device_count)
                for number, (name, device_count) in enumerate(_stages(self.graph))]

    @property
    def num_stages(self) -> int:
        """How many stages are annotated so far, or are for EPL to choose."""
        return len(_stages(self.graph))

    @property
    def operations(self) -> Dict[str, Any]:
        """Name -> `tf.Operation`, of all of the graph, those that EPL added too."""
        return {op.name: op for op in self.graph.get_operations()}

    @property
    def gradients(self) -> List[Any]:
        """The tensors that the script got as gradients of variables."""
        return list(state_of(self.graph).gradients)

    @property
    def gc_tensors(self) -> List[Any]:
        """The tensors of the script that are kept for what is computed again to begin at.

        They are known once a session ran something; none where nothing is computed again.
        """
        return list(state_of(self.graph).checkpoints.values())

    def get_collection(self, key: str) -> List[Any]:
        """As `epl.get_collection`, of this graph.

        Args:
          key: one of `epl.GraphKeys`.
        """
        with self.graph.as_default():
            return get_collection(key)

    def get_all_collections(self) -> List[List[Any]]:
        """As `epl.get_all_collections`, of this graph."""
        with self.graph.as_default():
            return get_all_collections()

    def format(self, max_depth: int = -1, prefix_list: Optional[Sequence[str]] = None) -> str:
        """The name scopes of all stages, as text.

        Args:
          max_depth: leave out scopes that lie deeper; -1: none.
          prefix_list: leave out operations whose name begins with none of these; None: none.

        Returns:
          A block of lines for each stage, an empty line between two.
        """
        return "\n\n".join(each.format(max_depth, prefix_list) for each in self.taskgraphs)

    def __repr__(self) -> str:
        return "epl.Graph with {} TaskGraph(s) and {} operations".format(
            self.num_stages, len(self.operations))


def _stages(graph: Any) -> List[Tuple[str, int]]:
    """(name, devices) of each; a strategy that `graph` does not begin with yet does not count."""
    chosen = context_of(graph).config.auto.auto_parallel
    return stages_of(graph) if chosen or state_of(graph).annotations.task_graphs else []
