# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the passes work on: one graph, what is pending in it, and the plan to carry out."""

from typing import Any, Dict, Iterable, List, NamedTuple, Set

from epl import compat
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState
from epl.ir.ownership import Ownership, ownership_of
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import registered, written
from epl.rewrite.aggregate import ReduceOptions
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import GradientGroup, groups_of, parts
from epl.rewrite.halves import in_halves
from epl.rewrite.loss_record import WholeLosses, asked
from epl.rewrite.partition import Script, StepPartition, partition_step
from epl.rewrite.place import Devices
from epl.rewrite.sources import Sources

Family = List[GradientGroup]  # of one loss: they share their clones


class LocalGradient(NamedTuple):
    """A gradient of this worker, in pieces.

    Attributes:
      pieces: what TensorFlow built (see `sparse.pieces`).
      local: their values over this worker's clones.
    """

    pieces: List[Any]
    local: List[Any]


class Rewriting:
    """A graph while it is rewritten.

    Attributes:
      graph: the script's graph.
      state: its record.
      plan: the plan to carry out.
      cluster: the workers and devices.
      options: how gradients are reduced over workers; None with one worker.
      devices: who sits where.
      sources: where the clones' data comes from.
      clones: those of this worker, in order.
      first_seed: number of the first clone among those of all workers.
      new: groups that are not rewritten yet.
      local: name of a group -> its gradients of this worker, once they are accumulated.
    """

    def __init__(self, graph: Any, state: GraphState, plan: ParallelPlan):
        context = context_of(graph)
        self.graph, self.state, self.plan = graph, state, plan
        self.cluster = context.cluster
        worker, communication = context.cluster.worker_index, context.config.communication
        self.options = None if context.communicator is None else ReduceOptions(
            context.communicator, context.workers, average=plan.reduce_method == "mean",
            max_splits=communication.max_splits,
            fp16_scale=communication.fp16_scale if communication.fp16 else None)
        before = state.plan
        if before is not None and before != plan:
            raise RuntimeError(
                "the stages of this graph have changed since a session first ran it: it was a "
                "model of {} stage(s) ({}), and is one of {} ({}); annotate all stages before the "
                "first session.run, or build the other model in a graph of its own".format(
                    before.num_stages, ", ".join(before.stage_names),
                    plan.num_stages, ", ".join(plan.stage_names)))
        state.plan = plan
        if state.find(Devices) is None:
            state.keep(Devices(plan, worker, context.cluster.device_type, ownership_of(graph),
                               bool(context.config.offload.level)))
            state.keep(Sources(graph, [
                CloneId(r, m, s) for r in plan.replicas_of(worker)
                for m in range(plan.num_micro_batch) for s in range(plan.num_slices)]))
        self.devices, self.sources = state.known(Devices), state.known(Sources)
        self.clones: List[CloneId] = self.sources.clones
        self.first_seed = worker * len(self.clones)
        self.new = [group for group in groups_of(state) if not group.rewritten]
        self.local: Dict[str, List[LocalGradient]] = {}

    @property
    def num_workers(self) -> int:
        return int(self.cluster.worker_num)

    @property
    def divides(self) -> bool:
        """True if a step's batch is divided at all."""
        return self.num_workers * len(self.clones) > 1

    def partition(self, family: Family, more: Iterable[Any] = ()) -> StepPartition:
        """What the steps of `family` consist of, if they compute the tensors `more` as well."""
        ys, raw, others = losses_of(family), raw_of(family), self.others(family) + list(more)
        partition = partition_step(ys, raw, others, self.script())
        if self.sources.cut(partition.sources):
            partition = partition_step(ys, raw, others, self.script())
        return in_halves(partition, self.plan, self.state.provenance)

    def others(self, family: Family) -> List[Any]:
        """Tensors whose value every clone of `family` has to give, beside the gradients."""
        said = [tensor for group in family for tensor in registered.wanted(group, self.state)
                + registered.other_losses(group, self.state)]
        others = [t for group in family for t in registered.other_losses(group, self.state)]
        return said + asked(family[0].ys, others, self.state) + (
            written.asked(family, self.state) if self.divides else [])

    def script(self) -> Script:
        """What is known of how the script built its graph."""
        return script_of(self.state)

    def device_of(self, variable: Any) -> str:
        """The device of a variable; "" for TensorFlow's choice."""
        if not self.devices.several:
            return ""
        return self.devices.state_device(compat.variable_key(variable)) or ""

    def copy(self, family: Family, partition: StepPartition) -> None:
        """Copy what the clones of a family need and do not have yet."""
        self.sources.add(partition.sources)
        family[0].known_clones.add(
            partition.batch_dependent, self.clones, lambda op, clone: self.devices.choose(
                op, partition.stage[op], clone, partition.goes_back(op)),
            dropped=partition.deferred)


def script_of(state: GraphState) -> Script:
    """What is known of how the script built a graph."""
    added: Set[Any] = {op for group in groups_of(state) for op in group.returned_ops}
    added.update(edge.barrier for group in groups_of(state) for edge in group.edges)
    added.update(s.read.op for s in state.record(WholeLosses).statistics)
    ownership, sources = state.find(Ownership), state.find(Sources)
    added.update(ownership.whole if ownership is not None else ())
    slices = set(sources.slices) if sources is not None else set()
    return Script(state.provenance, slices, added - slices)


def families(groups: Iterable[GradientGroup]) -> List[Family]:
    """Groups of gradients of the same tensors, in the order of the calls.

    A group that has clones of its own already stays alone with those that share them.
    """
    found: Dict[Any, Family] = {}
    for group in groups:
        key = tuple(y.name for y in group.ys), id(group.clones)
        found.setdefault(key, []).append(group)
    return list(found.values())


def losses_of(family: Family) -> List[Any]:
    """What a family differentiates, and the tensors that it does so through."""
    return family[0].ys + [t for group in family for t in group.through]


def raw_of(family: Family) -> List[Any]:
    """The tensors of the raw gradients."""
    return [part for group in family for g in group.gradients for part in parts(g.raw)]
