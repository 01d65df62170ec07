# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The schedule of a pipeline, where the script leaves it to EPL: `pipeline.strategy = "auto"`.

    every schedule --a plan, its stages--> costs by stage and kind of action --simulated--> time
                                                                              --kept------> memory

Of those that keep to the budget the fastest; of all that are slower by 2 % or less the one that
keeps least. That depends on the graph and the configuration alone, so all workers come to
the same.
"""

import operator
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from epl.errors import ConfigError
from epl.ir.environment import check_teams, context_of, intended_plan
from epl.ir.graph_state import state_of
from epl.plan.action import KINDS
from epl.plan.memory import most_kept
from epl.plan.parallel_plan import ParallelPlan
from epl.plan.schedules import AUTO, NAMES
from epl.plan.simulator import simulate
from epl.plan.speeds import weights_of
from epl.rewrite.groups import groups_of
from epl.rewrite.halves import in_halves
from epl.rewrite.partition import StepPartition, partition_step
from epl.rewrite.planning import automatic
from epl.rewrite.planning.clock import Clock
from epl.rewrite.planning.costs import Costs, Groups, comes_in
from epl.rewrite.rewriting import families, losses_of, raw_of, script_of

_SLACK = 2  # percent: no cost is known better than that


class Candidate(NamedTuple):
    """A schedule, and what a step of a replica takes with it.

    Attributes:
      plan: with this schedule.
      time: of the step, in units of the clock.
      kept: bytes that each of its devices keeps.
    """

    plan: ParallelPlan
    time: int
    kept: Tuple[int, ...]

    @property
    def memory(self) -> int:
        """Bytes that the device which keeps most keeps."""
        return max(self.kept)


class Chosen(NamedTuple):
    """What was chosen for a graph.

    Attributes:
      best: the one that is taken.
      others: all that could have been, it included.
      clock: what times are known by.
    """

    best: Candidate
    others: Tuple[Candidate, ...]
    clock: Clock

    def describe(self) -> List[str]:
        """Lines for people."""
        return ["schedule chosen: {} (time: {})".format(
            self.best.plan.schedule, self.clock.described)] + [
            "  {}: {}, keeps {:.1f} MiB".format(
                each.plan.schedule, self._time(each), each.memory / 2 ** 20)
            for each in self.others]

    def _time(self, candidate: Candidate) -> str:
        if self.clock.seconds is not None:
            return "{:.3f} ms".format(1000 * candidate.time * self.clock.seconds)
        return "{:.1f} % of the time".format(
            100.0 * candidate.time / self.best.time if self.best.time else 100.0)


def is_open(schedule: str) -> bool:
    """True if this name leaves the schedule to EPL."""
    return schedule == AUTO


def settled(graph: Any, plan: Optional[ParallelPlan]) -> Optional[ParallelPlan]:
    """The plan that is carried out: `plan`, or with the schedule that is chosen now, for good.

    Raises:
      ConfigError: as `choose`.
    """
    if plan is None or not is_open(plan.schedule):
        return plan
    found, state = choose(graph, plan), state_of(graph)
    state.schedule = found.best.plan.schedule
    state.keep(found)
    return found.best.plan


def choose(graph: Any, plan: ParallelPlan) -> Chosen:
    """The best schedule for a graph that is trained.

    Args:
      graph: the script's.
      plan: whose schedule is open.

    Raises:
      ConfigError: whatever the schedule, a device needs more than the budget; and as
        `automatic.assign`.
    """
    budget = context_of(graph).config.auto.memory_budget_mb << 20
    model = _Model(graph)
    found, error = [], None
    for each in _plans(graph):
        try:
            found.append(Candidate(each, *model.costs_of(each)))
        except ConfigError as impossible:  # its stages keep to no budget
            error = error or impossible
    fitting = [each for each in found if not budget or each.memory <= budget]
    if not fitting:
        raise error or ConfigError(
            "auto.memory_budget_mb = {}, but whatever the schedule, a device keeps {} MiB: use "
            "that or more, more stages, or a smaller batch".format(
                budget >> 20, -(-min(each.memory for each in found) // 2 ** 20)))
    limit = min(each.time for each in fitting) * (100 + _SLACK) // 100
    best = min((each for each in fitting if each.time <= limit),
               key=lambda each: (each.memory, sum(each.kept), each.time))
    return Chosen(best, tuple(sorted(fitting, key=lambda each: each.time)), model.clock)


def known(graph: Any, plan: ParallelPlan) -> Optional[Chosen]:
    """What was chosen for a graph, or would be if it were rewritten now; None: nothing is open."""
    found = state_of(graph).find(Chosen)
    if found is None and is_open(plan.schedule) and groups_of(state_of(graph)):
        found = choose(graph, plan)
    return found


def describe(graph: Any, plan: ParallelPlan) -> List[str]:
    """Lines for people where nothing was chosen: how long a step takes, if times were measured.

    Args:
      graph: the script's.
      plan: its schedule is not open, or there are no gradients yet.
    """
    if is_open(plan.schedule):
        return ["the schedule is chosen behind the optimizer's minimize; another one stands for it"]
    groups = groups_of(state_of(graph))
    if not context_of(graph).config.auto.costs or not groups \
            or any(group.rewritten for group in groups):  # it is another graph since
        return []
    model = _Model(graph)
    time, _ = model.costs_of(plan)
    return ["a step of a replica on paper: {:.3f} ms, without exchanges ({})".format(
        1000 * time * (model.clock.seconds or 0), model.clock.described)]


def _plans(graph: Any) -> List[ParallelPlan]:
    """Those with every schedule that can run here; the default first."""
    found = []
    for name in sorted(set(NAMES.values()) - {AUTO}, key=lambda name: name != NAMES["1f1b"]):
        try:
            plan = intended_plan(graph, name)
            assert plan is not None  # there are gradients
            if plan.teams is not None:
                check_teams(context_of(graph).of_process, plan)
            found.append(plan)
        except (ConfigError, NotImplementedError):
            continue
    return found


class _Model:
    """A graph, and what its steps cost in one plan or another."""

    def __init__(self, graph: Any):
        self._graph, self._state = graph, state_of(graph)
        self._costs: Costs = automatic.costs_of(graph)
        self._cut: Optional[automatic.Model] = None
        self._stages: Any = None
        self._partitions: List[StepPartition] = []
        self.clock = self._costs.clock

    def costs_of(self, plan: ParallelPlan) -> Tuple[int, Tuple[int, ...]]:
        """(time of a step, bytes that each device of a replica keeps)."""
        partitions = [in_halves(each, plan, self._state.provenance)
                      for each in self._partitioned(plan)]
        stages = self._costs.chain(_by_stage(self._costs.step.forward, partitions, plan))
        shares = plan.device_counts
        weights = weights_of(context_of(self._graph).config.auto.device_speeds, plan)
        simulation = simulate(plan.actions, self._times(partitions, plan, weights.of_stage),
                              self.clock.sent * weights.one * max(stages.widths(), default=0))
        kept = [(unit.state // share, unit.activations // share)
                for unit, share in zip(stages.units, shares)]
        updates = [0] * plan.num_stages
        for op, time in self.clock.others.items():
            updates[self._state.provenance.stage_of(op)] += time
        last = max(map(operator.mul, updates, weights.of_stage))
        return (int(simulation.makespan + last) // weights.one,
                tuple(most_kept(own, kept) for own in plan.actions))

    def _partitioned(self, plan: ParallelPlan) -> List[StepPartition]:
        """What the operations are in the stages of a plan, one answer for each loss."""
        graph, state = self._graph, self._state
        chosen = None
        if automatic.is_wanted(graph, plan):
            self._cut = self._cut or automatic.model_of(graph, self._costs)
            chosen = automatic.assign(graph, state, plan, self._cut)
        if not self._partitions or chosen != self._stages:
            self._stages = chosen
            self._partitions = [
                partition_step(losses_of(family), raw_of(family), [], script_of(state))
                for family in families(groups_of(state))]
        return self._partitions

    def _times(self, partitions: Sequence[StepPartition], plan: ParallelPlan,
               weights: Sequence[int]) -> Dict[str, List[int]]:
        """Kind of action -> time of one, by stage; `weights`: as `speeds.Weights.of_stage`."""
        found = {kind: [0] * plan.num_stages for kind in KINDS}
        for partition in partitions:
            for op, kind in partition.phase.items():
                found[kind][partition.stage[op]] += self._costs.work(op)
        return {kind: [weight * time // share for weight, time, share in zip(
            weights, times, plan.device_counts)] for kind, times in found.items()}


def _by_stage(forward: Any, partitions: Sequence[StepPartition], plan: ParallelPlan) -> Groups:
    """The stages as what costs are counted for."""
    stage, loop = {}, {}
    for partition in partitions:
        stage.update({op: number for op, number in partition.stage.items() if op in forward})
        loop.update(partition.loop)
    return Groups(plan.num_stages, stage, {
        op for op in stage if op not in loop and comes_in(op)})
