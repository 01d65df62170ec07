# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Automatic stages: which stage each operation of a model is in that nobody annotated.

    graph --chain--> units and their costs --plan.division--> stages --> provenance.assigned

From then on the graph is what it would be with annotations: `Provenance.stage_of` says what was
chosen. That depends on the graph and the configuration alone, so all workers come to the same.
"""

import bisect
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from epl import compat
from epl.ir.assigned import AssignedStages
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.plan.costs import RATES, Chain
from epl.plan.division import Division, Limits, divide
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import loops, op_traits
from epl.rewrite.chain import Costs, Line, Step
from epl.rewrite.groups import groups_of
from epl.rewrite.recompute.planned import most_in_flight
from epl.rewrite.rewriting import raw_of, script_of

_SLACK = 2  # percent of the slowest stage's time: no cost is known better than that


class Automatic(NamedTuple):
    """What was chosen for a graph.

    Attributes:
      division: where the units are cut.
      chain: the units.
      first: the first operation of each stage.
      device_type: "cpu" or "gpu".
    """

    division: Division
    chain: Chain
    first: Tuple[Any, ...]
    device_type: str

    def describe(self) -> List[str]:
        """Lines for people: where each stage begins, and what it has to do."""
        units, starts = self.chain.units, list(self.division.starts)
        flops, work = sum(u.flops for u in units), sum(u.work for u in units)
        widths = self.chain.widths()
        lines = ["automatic stages: {} part(s) cut into {} (time: with the assumed rates of a {})"
                 .format(len(units), len(starts), self.device_type.upper())]
        for stage, (first, end) in enumerate(zip(starts, starts[1:] + [len(units)])):
            own = units[first:end]
            lines.append("  stage {} from '{}': {} % of the FLOPs, {} % of the time{}".format(
                stage, self.first[stage].name, _percent(sum(u.flops for u in own), flops),
                _percent(sum(u.work for u in own), work), "" if end == len(units) else
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


def assign(graph: Any, state: GraphState, plan: ParallelPlan) -> None:
    """Choose the stage of every operation of a graph that is trained.

    Raises:
      ConfigError: more stages than parts, a budget that is too small, sizes that it needs and that
        are not known.
    """
    context = context_of(graph)
    budget, kind = context.config.auto.memory_budget_mb << 20, context.cluster.device_type
    step = _step(state)
    line = Line(step)
    chain = Costs(line, step, exact=bool(budget)).chain(RATES[kind])
    most = [most_in_flight(plan.actions_of(stage)) for stage in range(plan.num_stages)]
    limits = Limits(budget, most) if budget else None
    division = divide(chain, plan.num_stages, RATES[kind].sent, limits, _SLACK)
    starts = list(division.starts)
    chosen = {op: bisect.bisect_right(starts, unit) - 1 for op, unit in line.unit.items()}
    state.provenance.assigned = AssignedStages(_all(graph, state, chosen))
    state.keep(Automatic(division, chain, tuple(line.starts[n] for n in starts), kind))


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
