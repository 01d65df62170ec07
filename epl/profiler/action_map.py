# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which operation belongs to which action of the pipeline.

The rewrite knows for each operation of the script its stage and phase, and for each clone the name
of the operation's copy.
"""

from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from epl.ir.environment import is_remembered, plan_for
from epl.ir.graph_state import GraphState, state_of
from epl.plan.action import BACKWARD, FORWARD, Action
from epl.plan.parallel_plan import ParallelPlan
from epl.profiler.events import device_key
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import GradientGroup, groups_of, parts
from epl.rewrite.place import Devices
from epl.rewrite.sources import Sources
from epl.rewrite.walk import ancestors


class ActionMap(NamedTuple):
    """The actions of one training step on one worker.

    Attributes:
      group: name of the gradients that the step computes.
      actions: name of an operation -> its action.
      in_graph: names of all operations of the graph.
      devices: (replica, stage) -> its devices, as in `Event.device`; none where TensorFlow chose.
    """

    group: str
    actions: Dict[str, Action]
    in_graph: FrozenSet[str]
    devices: Dict[Tuple[int, int], Tuple[str, ...]]

    def find(self, name: str) -> Optional[Action]:
        """The action of an operation that was executed under this name.

        What TensorFlow makes of one operation at run time, such as the body of a loop, stands below
        the name of that operation.
        """
        action = self.actions.get(name)
        if action is None and name not in self.in_graph:
            while "/" in name and action is None:
                name = name.rpartition("/")[0]
                action = self.actions.get(name)
        return action


def map_all(graph: Any) -> List[ActionMap]:
    """The actions of every training step of `graph` that has been rewritten.

    Raises:
      NotImplementedError: a replica lies on several workers.
    """
    state, plan = state_of(graph), plan_for(graph) if is_remembered(graph) else None
    if plan is not None and plan.teams is not None:
        raise NotImplementedError(
            "the timeline of model replicas that lie on several workers is not available yet in "
            "this version of EPL: leave the profiler out, or use as many devices in one worker")
    return [] if plan is None else [map_actions(graph, state, group, plan)
                                    for group in groups_of(state) if group.rewritten]


def map_actions(graph: Any, state: GraphState, group: GradientGroup,
                plan: ParallelPlan) -> ActionMap:
    """The actions of the step that computes `group`, which has been rewritten.

    Args:
      graph: the script's graph.
      state: what EPL knows of it.
      group: the gradients.
      plan: what was carried out.
    """
    clones = state.known(Sources).clones
    phase, stage = _phases(group)
    actions: Dict[str, Action] = {}
    for op, kind in phase.items():
        for clone in clones:
            copy = op if group.clones is None else group.clones.op(op, clone)
            # One for all clones counts as the first one's, which uses it first.
            actions.setdefault(
                copy.name, Action(kind, stage[op], clone.micro_batch, clone.replica))
    names = frozenset(op.name for op in graph.get_operations())
    return ActionMap(group.name, actions, names, _devices(state, plan, clones))


def _phases(group: GradientGroup) -> Tuple[Dict[Any, str], Dict[Any, int]]:
    """(phase, stage) of the script's operations."""
    if group.partition is not None:
        return group.partition.phase, group.partition.stage
    # One clone on one device: nothing was partitioned. What has no input is no work.
    forward = ancestors(y.op for y in group.ys)
    backward = ancestors(part.op for g in group.gradients for part in parts(g.raw))
    phase = {op: FORWARD if op in forward else BACKWARD
             for op in forward | backward if op.inputs}
    return phase, dict.fromkeys(phase, 0)


def _devices(state: GraphState, plan: ParallelPlan,
             clones: List[CloneId]) -> Dict[Tuple[int, int], Tuple[str, ...]]:
    found: Dict[Tuple[int, int], Tuple[str, ...]] = {}
    for clone in clones:
        for stage in range(plan.num_stages):
            key = device_key(state.known(Devices).of_stage(stage, clone))
            known = found.setdefault((clone.replica, stage), ())
            if key is not None and key[0] not in known:
                found[clone.replica, stage] = known + (key[0],)
    return found
