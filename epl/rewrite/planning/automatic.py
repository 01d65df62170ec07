# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Automatic stages: which stage each operation of a model is in that nobody annotated.

    graph --chain--> units and their costs --plan.division--> stages --> provenance.assigned

From then on the graph is what it would be with annotations: `Provenance.stage_of` says what was
chosen. That depends on the graph and the configuration alone, so all workers come to the same.
"""

import bisect
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from epl import compat
from epl.ir.assigned import AssignedStages
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.plan.costs import Chain
from epl.plan.division import Division, Limits, divide
from epl.plan.parallel_plan import ParallelPlan
from epl.plan.speeds import Weights, weights_of
from epl.rewrite import loops, op_traits
from epl.rewrite.groups import groups_of
from epl.rewrite.planning.chain import Line
from epl.rewrite.planning.clock import Clock, clock_of
from epl.rewrite.planning.costs import Costs, Step
from epl.rewrite.recompute.planned import most_in_flight
from epl.rewrite.rewriting import raw_of, script_of

_SLACK = 2  # percent of the slowest stage's time: no cost is known better than that


class Automatic(NamedTuple):
    """What was chosen for a graph.

    Attributes:
      division: where the units are cut.
      chain: the units.
      first: the first operation of each stage.
      clock: what times are known by.
      weights: how slow the device of each stage is.
    """

    division: Division
    chain: Chain
    first: Tuple[Any, ...]
    clock: Clock
    weights: Weights

    def describe(self) -> List[str]:
        """Lines for people: where each stage begins, and what it has to do."""
        units, starts = self.chain.units, list(self.division.starts)
        parts = [units[first:end] for first, end in zip(starts, starts[1:] + [len(units)])]
        times = [weight * sum(unit.work for unit in own)
                 for weight, own in zip(self.weights.of_stage, parts)]
        flops, widths = sum(unit.flops for unit in units), self.chain.widths()
        lines = ["automatic stages: {} part(s) cut into {} (time: {})".format(
            len(units), len(starts), self.clock.described)]
        for stage, own in enumerate(parts):
            end = starts[stage] + len(own)
            lines.append("  stage {} from '{}': {} % of the FLOPs, {} % of the time{}".format(
                stage, self.first[stage].name, _percent(sum(u.flops for u in own), flops),
                _percent(times[stage], sum(times)), "" if end == len(units) else
                "; {:,} bytes cross behind it, each way".format(widths[end - 1])))
        return lines


def _percent(part: int, whole: int) -> str:
    return "{:.1f}".format(100.0 * part / whole if whole else 0.0)


def is_wanted(graph: Any, plan: ParallelPlan) -> bool:
    """True if the stages of a graph are to be chosen, and nothing has been built on a choice."""
    groups = groups_of(state_of(graph))
    return bool(context_of(graph).config.auto.auto_parallel) and plan.num_stages > 1 \
        and bool(groups) and not any(group.rewritten for group in groups)


def describe(graph: Any, plan: ParallelPlan) -> List[str]:
    """Lines for people about the stages that were chosen for a graph, or will be."""
    if is_wanted(graph, plan):
        assign(graph, state_of(graph), plan)
    found = state_of(graph).find(Automatic)
    return [] if found is None else found.describe()


class Model(NamedTuple):
    """A model as what is cut.

    Attributes:
      line: its units.
      chain: what they cost.
      clock: what their times are known by.
    """

    line: Line
    chain: Chain
    clock: Clock


def model_of(graph: Any, costs: Optional[Costs] = None) -> Model:
    """The model of a graph that is trained.

    Args:
      graph: the script's.
      costs: of its operations, if they are known already.

    Raises:
      ConfigError: sizes that a budget needs and that are not known, nothing to cut.
    """
    costs = costs or costs_of(graph)
    line = Line(costs.step)
    return Model(line, costs.chain(line.groups), costs.clock)


def costs_of(graph: Any) -> Costs:
    """What the operations behind the gradients of a graph cost.

    Raises:
      ConfigError: measured times that are not this model's (see `clock`).
    """
    step = _step(state_of(graph))
    return Costs(step, clock_of(graph, step.forward | step.backward),
                 exact=bool(context_of(graph).config.auto.memory_budget_mb))


def assign(graph: Any, state: GraphState, plan: ParallelPlan,
           model: Optional[Model] = None) -> Division:
    """Choose the stage of every operation of a graph that is trained.

    Args:
      graph: the script's.
      state: its record.
      plan: for so many stages, with so many micro-batches in flight.
      model: that of the graph, if it is known already.

    Raises:
      ConfigError: more stages than parts, a budget that is too small, and as `model_of`.
    """
    line, chain, clock = model or model_of(graph)
    budget = context_of(graph).config.auto.memory_budget_mb << 20
    most = [most_in_flight(plan.actions_of(stage)) for stage in range(plan.num_stages)]
    limits = Limits(budget, most) if budget else None
    weights = weights_of(context_of(graph).config.auto.device_speeds, plan)
    division = divide(chain, plan.num_stages, clock.sent * weights.one, limits, _SLACK,
                      weights.of_stage)
    starts = list(division.starts)
    chosen = {op: bisect.bisect_right(starts, unit) - 1 for op, unit in line.unit.items()}
    state.provenance.assigned = AssignedStages(_all(graph, state, chosen))
    state.keep(Automatic(division, chain, tuple(line.starts[n] for n in starts), clock,
                         weights))
    return division


def _step(state: GraphState) -> Step:
    """The operations behind the gradients of a graph."""
    groups, script = groups_of(state), script_of(state)
    losses = [t for group in groups for t in group.ys + group.through]
    needed = script.ancestors(losses + raw_of(groups)) - script.added
    forward = script.ancestors(losses) - script.added
    loop = loops.outermost_loops(loops.successors(needed))
    members = loops.members(loop)
    in_loops = [t for name in sorted({loop[op] for op in forward if op in loop})
                for op in members[name] if not state.provenance.is_gradient(op)
                for t in op.outputs]
    forward |= script.ancestors(in_loops) - script.added
    return Step(forward, needed - forward, state.provenance,
                [gradient.variable for group in groups for gradient in group.gradients])


def _all(graph: Any, state: GraphState, chosen: Dict[Any, int]) -> Dict[Any, int]:
    """The stages of what is not behind a loss as well, as far as something says it.

    What works on values is where the last of them is (an update of a moving average); what gives
    such things is where it is first used (the average); what works on a variable is with it (its
    first assignment), and so are its initial values.
    """
    ops = [op for op in compat.operations_from(graph, 0)
           if not state.provenance.is_gradient(op) and not state.provenance.is_made(op)]
    found = dict(chosen)

    def fill(some: List[Any], neighbours: Callable[[Any], List[Any]],
             choose: Callable[[List[int]], int]) -> None:
        for op in some:
            known = [found[other] for other in neighbours(op) if other in found]
            if op not in found and known:
                found[op] = choose(known)

    def values(op: Any) -> List[Any]:
        return list(op.control_inputs) + [t.op for t in op.inputs if not op_traits.is_handle(t)]

    def inputs(op: Any) -> List[Any]:
        return list(op.control_inputs) + [t.op for t in op.inputs]

    for before in (values, inputs):
        fill(ops, before, max)
        fill(ops[::-1], lambda op: [user for t in op.outputs for user in t.consumers()], min)
    return found
