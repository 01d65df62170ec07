# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `update_groups`: variables are updated group by group, so that less is computed at a time.

    gradients --> update of group 0 --> [barrier] --> update of group 1 --> [barrier] --> ..
              (all of them)      what only group 1 is updated by waits here

An optimizer that TensorFlow has no kernel for computes tensors of each variable's size: new
moments, their roots, the step. All variables at once, that is a multiple of the model. What
belongs to one group only waits until the group before it is done; what several groups have in
common (a global norm) waits for nothing.

Updates that run together are those behind which the same operation stands first of all that follow
several (what the optimizer joins them with). A run that asks for a part of them would have to run
all, and is refused. An order that the script has already given to updates stays.
"""

from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError, RewriteError
from epl.ir import editor
from epl.ir.graph_state import GraphState
from epl.rewrite import loops, op_traits
from epl.rewrite.groups import groups_of
from epl.rewrite.place import balance_by_size
from epl.rewrite.walk import ancestors, descendants

_SCOPE = "epl/update_groups"


class Unit(NamedTuple):
    """Updates that run together.

    Attributes:
      writes: all of them.
      groups: the same, group by group; the first is done first.
      barriers: what runs between two groups -> what waits for it.
    """

    writes: FrozenSet[Any]
    groups: Tuple[FrozenSet[Any], ...]
    barriers: Dict[Any, List[Any]]


class UpdateGroups:
    """The updates of one graph that are ordered."""

    def __init__(self) -> None:
        self.units: List[Unit] = []


def order_updates(graph: Any, state: GraphState, number: int) -> None:
    """Let the variables whose gradients are aggregated be updated in `number` groups.

    Raises:
      ConfigError: there are fewer variables than groups.
    """
    behind = Behind(state)
    known = {op for unit in state.record(UpdateGroups).units for op in unit.writes}
    units = [updates for updates in behind.together()
             if known.isdisjoint(set().union(*updates.values()))]
    largest = max([len(updates) for updates in units] or [number])
    if largest < number:
        raise ConfigError(
            "optimizer.num_apply_group = {}, but a training step updates {} variable(s): use at "
            "most as many groups".format(number, largest))
    for updates in units:
        groups = _grouped(updates, behind.sizes, min(number, len(updates)))
        state.record(UpdateGroups).units.append(_order(graph, behind, groups))


def check_run(state: GraphState, ops: Iterable[Any]) -> None:
    """Raises ValueError for a run of `ops` that asks for a part of what is updated together."""
    groups = state.find(UpdateGroups)
    for unit in groups.units if groups is not None else ():
        asked = unit.writes & ancestors(ops, unit.barriers)
        if asked and asked != unit.writes:
            raise ValueError(
                "the run updates '{}', but not '{}', which is updated in the same step: with "
                "optimizer.num_apply_group they follow one another, and can only be run together; "
                "run the whole training step, or leave the key out".format(
                    *[min(op.name for op in some) for some in (asked, unit.writes - asked)]))


def verify_updates(state: GraphState) -> None:
    """What begins a group waits for the updates of the one before it."""
    groups = state.find(UpdateGroups)
    for unit in groups.units if groups is not None else ():
        for barrier, waiting in unit.barriers.items():
            for op in waiting:
                if barrier not in op.control_inputs or not barrier.control_inputs:
                    raise RewriteError("{}, which begins a group of updates, does not wait for {}"
                                       .format(op.name, barrier.name))


class Behind:
    """What happens behind the gradients.

    Attributes:
      ops: all of it.
      writes: variable -> what writes it there.
      sizes: variable that is trained -> its bytes.
    """

    def __init__(self, state: GraphState):
        returned = {op for group in groups_of(state) for op in group.returned_ops}
        self.ops = descendants(returned) - returned
        self._returned = returned
        self._successors = loops.successors(self.ops)
        self.writes: Dict[Any, Set[Any]] = {}
        for op in sorted(self.ops, key=compat.op_id):
            variable = op_traits.written_variable(op)
            if variable is not None:
                self.writes.setdefault(variable, set()).add(op)
        trained = {compat.variable_key(g.variable): g.variable for group in groups_of(state)
                   for g in group.gradients}
        self.sizes = {key: (v.shape.num_elements() or 1) * v.dtype.base_dtype.size
                      for key, v in trained.items()}

    def together(self) -> List[Dict[Any, Set[Any]]]:
        """The updates of variables that are trained, unit by unit: variable -> what writes it."""
        owners = {op: key for key in self.sizes for op in self.writes.get(key, ())}
        followed: Dict[Any, Set[Any]] = {}  # operation -> the writes right before it
        units: Dict[Any, Dict[Any, Set[Any]]] = {}
        joined: Set[Any] = set()
        for op in loops.topological(self._successors):
            before = followed.setdefault(op, set())
            if op in owners:
                before = {op}
            open_writes = before - joined
            if len({owners[write] for write in open_writes}) > 1:
                joined |= open_writes
                for write in sorted(open_writes, key=compat.op_id):
                    units.setdefault(op, {}).setdefault(owners[write], set()).add(write)
            for user in self._successors[op]:
                followed.setdefault(user, set()).update(before - joined)
        return list(units.values())

    def before(self, writes: Iterable[Any]) -> Set[Any]:
        """What `writes` are computed by, and wait for, behind the gradients; they themselves."""
        return ancestors(writes, self._returned) & self.ops

    def others(self, updates: Iterable[Set[Any]]) -> List[Any]:
        """Writes of other variables than `updates` write."""
        known = set().union(*updates)
        return sorted(set().union(*self.writes.values()) - known, key=compat.op_id)


def _grouped(updates: Dict[Any, Set[Any]], sizes: Dict[Any, int], number: int) -> List[Set[Any]]:
    """The updates of variables in groups of about the same size."""
    groups: List[Set[Any]] = [set() for _ in range(number)]
    chosen = balance_by_size([sizes[variable] for variable in updates], number)
    for writes, group in zip(updates.values(), chosen):
        groups[group] |= writes
    return groups


def _order(graph: Any, behind: Behind, groups: List[Set[Any]]) -> Unit:
    """Let each of the groups of updates wait for the one before it."""
    alone = _alone(behind, groups)
    for op in behind.others(groups):  # slots go with what their variable is updated by
        near = [n for n, own in enumerate(alone) if own & behind.before([op])]
        if len(near) == 1:
            groups[near[0]].add(op)
    barriers: Dict[Any, List[Any]] = {}
    for before, own in zip(groups, _alone(behind, groups)[1:]):
        entries = [op for op in own if not any(b in own for b in _waits_for(op))]
        for context in {_context(op) for op in before}:
            waiting = [op for op in entries if _context(op) is context]
            if waiting:
                barriers[_barrier(graph, context, before, waiting)] = waiting
    return Unit(frozenset().union(*groups), tuple(map(frozenset, groups)), barriers)


def _alone(behind: Behind, groups: List[Set[Any]]) -> List[Set[Any]]:
    """What only one of the groups needs, for each."""
    needed = [behind.before(group) for group in groups]
    return [own - set().union(*[other for m, other in enumerate(needed) if m != n])
            for n, own in enumerate(needed)]


def _barrier(graph: Any, context: Any, before: Iterable[Any], waiting: List[Any]) -> Any:
    with compat.inserted(graph, _SCOPE, context):
        barrier = tf.no_op("after")
    editor.wait_for(barrier, sorted((op for op in before if _context(op) is context),
                                    key=compat.op_id))
    for op in waiting:
        editor.wait_for(op, [barrier])
    return barrier


def _context(op: Any) -> Any:
    """The branch or loop that an operation is in; nothing waits for what is in another one."""
    return compat.control_flow_context(op)


def _waits_for(op: Any) -> List[Any]:
    return [tensor.op for tensor in op.inputs] + list(op.control_inputs)
