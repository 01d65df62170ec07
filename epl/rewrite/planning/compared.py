# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which layout of a job's devices would be fastest for a graph, on paper: `plan.estimate`."""

import math
from typing import Any, List

from epl import compat
from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.plan.costs import LINKS, PER_SECOND
from epl.plan.estimate import Estimate, Hardware, Layouts
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite.groups import groups_of
from epl.rewrite.planning import automatic
from epl.rewrite.planning.clock import Clock
from epl.rewrite.planning.costs import Costs
from epl.rewrite.recompute.planned import ROWS

_SHOWN = 8  # layouts
_UNLIMITED = 1 << 62


def describe(graph: Any, plan: ParallelPlan) -> List[str]:
    """Lines for people: layouts of as many devices, for as many micro-batches in a step.

    Args:
      graph: the script's, with its gradients.
      plan: what the script asks for; its layout is marked.
    """
    context = context_of(graph).of_process
    if any(group.rewritten for group in groups_of(state_of(graph))):
        return ["layouts are not compared: a session has run the graph, which is another one "
                "since: ask before the first session.run"]
    own = context.cluster.gpu_num_per_worker
    devices = context.cluster.worker_num * own
    total = plan.num_micro_batch * plan.num_replicas
    try:
        costs = automatic.costs_of(graph)
        layouts = Layouts(automatic.model_of(graph, costs).chain,
                          _hardware(context, costs.clock, plan.teams is not None),
                          _state_per_gradient(costs))
        found = layouts.by_time(devices, total, _schedules(plan),
                                own if plan.teams is None else devices)
    except (ConfigError, NotImplementedError) as error:
        return ["layouts are not compared: {}".format(error)]
    return [
        "layouts of {} device(s) for the same {} micro-batch(es) in a step, the fastest on paper "
        "first".format(devices, total),
        "(times: {}{}; {:.4g} GB/s from stage to stage and {:.4g} to a replica; {} rows in a "
        "micro-batch where the graph leaves them open):".format(
            costs.clock.described, ", all devices as fast as the fastest of auto.device_speeds"
            if context.config.auto.device_speeds else "", layouts.hardware.to_next_stage / 1e9,
            layouts.hardware.to_replica / 1e9, ROWS),
        "  replicas x stages  micro-batches  schedule                  step, ms  bubble  "
        "memory, MiB"] + [_row(each, plan) for each in found[:_SHOWN]
                          + [each for each in found[_SHOWN:] if _is_asked(each, plan)]]


def _hardware(context: Any, clock: Clock, spans: bool) -> Hardware:
    """The devices of a job; `spans`: stages of a replica lie on several workers."""
    cluster, budget = context.cluster, context.config.auto.memory_budget_mb << 20
    near, far = LINKS[cluster.device_type]
    per_second = 1 / clock.seconds if clock.seconds else PER_SECOND[cluster.device_type]
    return Hardware(per_second, clock.sent, far if spans else per_second / max(1, clock.sent),
                    near if cluster.worker_num == 1 else far, budget or _UNLIMITED)


def _state_per_gradient(costs: Costs) -> int:
    """Bytes of variables, gradients, and what the optimizer keeps, for each byte of gradients."""
    graph = next(iter(costs.step.forward)).graph
    trained = {compat.variable_key(variable) for variable in costs.step.trained}
    sizes = [[int((variable.shape.num_elements() or 1) * variable.dtype.base_dtype.size)
              for variable in compat.global_variables(graph)
              if (compat.variable_key(variable) in trained) == wanted] for wanted in (True, False)]
    gradients, others = sum(sizes[0]), sum(sizes[1])
    return max(2, int(math.ceil((2 * gradients + others) / max(1, gradients) - 0.5)))


def _schedules(plan: ParallelPlan) -> List[str]:
    own = [plan.schedule] if len(plan.actions) == plan.num_stages else []
    return list(dict.fromkeys(["preferbackward", "zb-h1"] + own))


def _is_asked(layout: Estimate, plan: ParallelPlan) -> bool:
    return (layout.num_replicas, layout.num_stages, layout.schedule) == (
        plan.num_replicas, plan.num_stages, plan.schedule)


def _row(layout: Estimate, plan: ParallelPlan) -> str:
    return "{} {:>8} x {:<6} {:>14}  {:<24} {:>9.3f} {:>6.1f} % {:>12.1f}".format(
        "*" if _is_asked(layout, plan) else " ", layout.num_replicas, layout.num_stages,
        layout.num_micro_batch, layout.schedule, 1000 * layout.seconds, 100 * layout.bubble_share,
        layout.memory / 2 ** 20)
