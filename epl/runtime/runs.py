# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a session run does: is it a training step, does it write variables?

Found by walking the graph once per set of fetches, then remembered.
"""

import hashlib
from typing import Any, Dict, FrozenSet, List, NamedTuple, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import RewriteError
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.ir.ownership import ownership_of
from epl.rewrite import drawn, op_traits
from epl.rewrite.deferred import Deferred
from epl.rewrite.fetched import stand_ins
from epl.rewrite.groups import GradientGroup, Merged, groups_of
from epl.rewrite.leaving import Leaving
from epl.rewrite.restored import Source
from epl.rewrite.sources import Sources
from epl.rewrite.update_groups import check_run
from epl.rewrite.walk import ancestors
from epl.rewrite.whole import WholeBatch
from epl.rewrite.zero import Zero, asked_for
from epl.runtime import shared_feeds, unseen

_SHOWN = 3  # variables that are named


class Touched(NamedTuple):
    """What a run that is no step does to variables of which workers hold some rows (`zero`).

    Attributes:
      read: what stands for such a variable -> what the run reads it by.
      given: what stands for one -> the value that the run gives it; None: its initial one, which
        all workers know.
      first: what stands for those that get their initial value.
      restored: what stands for those that are given what a checkpoint holds -> what that is.
    """

    read: Dict[Any, List[Any]] = {}
    given: Dict[Any, Any] = {}
    first: FrozenSet[Any] = frozenset()
    restored: Dict[Any, Source] = {}


class Run(NamedTuple):
    """What running a set of fetches does.

    Attributes:
      step: names the training step that it is, and what it writes; "" if it is none.
      writes: it writes global variables.
      groups: the gradients that it computes.
      fetches: what is fetched instead, in the order of what was asked for.
      targets: what is run instead, and what this run has to run beside it.
      collectives: under which names the workers meet.
      copies: name of a tensor -> what stands for it in each clone, as far as it was asked for.
      to_agree: operations; what the step is fed of their outputs is the same on all workers.
      counted: the groups that train in it, and whose parts may have different numbers of rows.
      levels: a step that writes what each worker draws for itself: then all take the chief's.
      touched: what it does, outside of a step, to variables that are shared out.
    """

    step: str
    writes: bool
    groups: Sequence[GradientGroup]
    fetches: Sequence[Any]
    targets: Sequence[Any]
    collectives: Sequence[str]
    copies: Dict[str, List[List[Any]]]
    to_agree: FrozenSet[Any] = frozenset()
    counted: Sequence[GradientGroup] = ()
    levels: bool = False
    touched: Touched = Touched()


class _Memory:
    """The runs known of a graph, as it is in its present version."""

    def __init__(self) -> None:
        self._version = -1
        self._known: Dict[Tuple[Tuple[str, ...], ...], Run] = {}

    def of(self, version: int) -> Dict[Tuple[Tuple[str, ...], ...], Run]:
        """Names of what is fetched, and of what is run -> the run, in this version of the graph."""
        if version != self._version:
            self._version, self._known = version, {}
        return self._known


def describe(graph: Any, fetches: Sequence[Any], targets: Sequence[Any]) -> Run:
    """What a run of `graph` does that fetches tensors and runs operations.

    Raises:
      NotImplementedError: a step is to return something of which EPL cannot tell what it is for the
        whole batch.
    """
    state = state_of(graph)
    key = tuple(t.name for t in fetches), tuple(op.name for op in targets)
    with state.lock:
        memory = state.record(_Memory).of(graph.version)
        if key not in memory:
            run = _walked(graph, state, fetches, targets)
            memory = state.record(_Memory).of(graph.version)  # what was fetched had to be made
            memory[key] = run
        return memory[key]


def as_whole(graph: Any, fetches: Sequence[Any]) -> List[Any]:
    """What is fetched instead, where a tensor depends on how a worker holds a variable."""
    zero = state_of(graph).find(Zero)
    instead = zero.parameters.instead if zero is not None else {}
    return [instead.get(t.name, t) for t in fetches]


def is_step(graph: Any, ops: Sequence[Any]) -> bool:
    """True if running `ops` is a training step."""
    state = state_of(graph)
    return bool(_groups(state, ancestors(ops)))


def _walked(graph: Any, state: GraphState, fetches: Sequence[Any], targets: Sequence[Any]) -> Run:
    reached = ancestors([t.op for t in fetches] + list(targets))
    groups, several = _groups(state, reached), context_of(graph).cluster.worker_num > 1
    if not groups:
        unseen.check(graph, reached)
        if state.trains and several:
            unseen.warn_of_own_rows(graph, reached)
        waited = state.record(Deferred).waited
        beside = [update for op in reached for update in waited.get(op, ())]
        return Run("", bool(_written_variables(graph, reached | ancestors(beside))), [], fetches,
                   list(targets) + sorted(set(beside), key=compat.op_id), [], {},
                   touched=_touched(graph, state, reached, fetches))
    check_run(state, [t.op for t in fetches] + list(targets))
    names = [group.name for group in groups]
    fetches, targets = asked_for(
        state, *stand_ins(graph, state, groups, fetches, targets))
    # A run that merely writes from its batch exchanges what it needs; it may be fed no more.
    merged = [m for group in groups if _computes(group, reached)
              for m in _exchanged(group.merged)]
    reached = ancestors([t.op for t in fetches] + targets)
    _check_held(state, [t.op for t in fetches] + targets)
    if state.find(WholeBatch) is not None:
        _check_writes(state, groups, reached)
    asked = [m for group in groups_of(state) for every in (group.merged, group.on_demand)
             for m in _exchanged(every)
             if m not in merged and any(c.op in reached for c in m.collectives)]
    collectives = [c.name for group in groups for c in group.collectives] + [
        c.name for m in merged + asked for c in m.collectives] + [
        c.name for c in state.record(Zero).collectives if c.op in reached]
    names += ["{} for all workers".format(c.name) for m in asked for c in m.collectives]
    held = {key.name for key in state.record(Zero).reads}
    step = "run the step of {}, writing {}".format(
        ", ".join(names), _listed([
            name for name in _written_variables(graph, reached) if name not in held]))
    return Run(step, True, groups, fetches,
               targets + [m.value.op for m in merged], collectives, {},
               shared_feeds.to_agree(graph, state, reached, groups) if several else frozenset(),
               [group for group in groups if group.counts is not None
                and not reached.isdisjoint(group.returned_ops)],
               several and bool(drawn.left_apart(
                   graph, state, shared_feeds.writes(graph, reached))))


def _touched(graph: Any, state: GraphState, reached: Set[Any], fetches: Sequence[Any]) -> Touched:
    """What a run that is no step does to variables that are shared out."""
    zero = state.find(Zero)
    if zero is None:
        return Touched()
    first = compat.initializers(graph)
    parameters = zero.parameters
    read: Dict[Any, List[Any]] = {
        t.op: [t] for t in fetches if t.op in zero.reads and t.dtype != tf.resource}
    given: Dict[Any, Any] = {}
    begun: Set[Any] = set()
    restored: Dict[Any, Source] = {}
    for key, op in _users(zero, reached):
        if op in zero.given:
            begun.update([key] if op in first else [])
            restored.update([(key, zero.restored[op])] if op in zero.restored else [])
            # Parameters begin with what the chief draws, state with what all know.
            given[key] = None if op in first and key not in parameters.rows else zero.given[op]
        elif not op_traits.takes_state(op) and key.outputs[0].dtype != tf.resource:
            read[key] = [key.outputs[0]]
        elif op.type == "ReadVariableOp":
            read.setdefault(key, []).append(op.outputs[0])
        else:
            raise NotImplementedError(
                "operation '{}' ({}){} works on '{}', which is {} (zero.level): outside of a "
                "training step such a variable can be read as a whole and assigned as a whole; do "
                "that, or leave the key out".format(
                    op.name, op.type, compat.made_at(op), key.name,
                    ownership_of(graph).describe(key)))
    for (key, _), value in parameters.values.items():
        if value.op in reached:
            read.setdefault(key, []).append(value)
    return Touched(read, given, frozenset(begun), restored)


def _check_held(state: GraphState, ops: Sequence[Any]) -> None:
    """What a step does with variables that are shared out are their own updates."""
    zero = state.find(Zero)
    if zero is None:
        return
    for key, op in _users(zero, ancestors(ops, zero.borders)):
        if key in zero.parameters.rows and op.type == "ReadVariableOp" and op not in ops:
            continue  # nothing takes its value
        raise NotImplementedError(
            "a training step reads or writes '{}' by operation '{}' ({}){} beside its update: with "
            "zero.level a worker holds some rows of it only. Fetch it in a run of its own, after "
            "the step, or leave the key out".format(
                key.name, op.name, op.type, compat.made_at(op)))


def _users(zero: Zero, reached: Set[Any]) -> List[Tuple[Any, Any]]:
    """(variable that is shared out, what reads or writes it) among `reached`."""
    own = zero.parameters.own
    return [(origin, op) for op in sorted(reached - own, key=compat.op_id)
            if not op_traits.asks_if_initialized(op)
            for origin in {op_traits.handle_origin(t) for t in op.inputs
                           if op_traits.is_handle(t)} if origin in zero.reads]


def _check_writes(state: GraphState, groups: Sequence[GradientGroup], reached: Set[Any]) -> None:
    """What a step writes from its batch is made of the whole batch."""
    writes = state.known(Leaving).writes
    for op in sorted(reached.intersection(writes), key=compat.op_id):
        if writes[op] is not None:
            raise RewriteError("a step would write '{}' from a part of its batch".format(op.name))
        behind = ancestors([tensor.op for tensor in op.inputs])
        if len(state.known(Sources).clones) > 1 and any(behind & group.sources for group in groups):
            raise NotImplementedError(
                "operation '{}' ({}){} writes from the batch of a training step and from data that "
                "the step's loss does not read: with several micro-batches or replicas EPL does "
                "not know which of that belongs to which part. Take both from one dataset, or run "
                "the write apart from the step".format(op.name, op.type, compat.made_at(op)))


def _groups(state: GraphState, reached: Set[Any]) -> List[GradientGroup]:
    """The groups whose gradients or merged values are reached, then those that merely write."""
    leaving = state.find(Leaving)
    writing = [] if leaving is None else [group for op, group in leaving.writes.items()
                                          if op in reached and op in leaving.writes_global]
    found = [group for group in groups_of(state) if group in writing or _computes(group, reached)]
    return sorted(found, key=lambda group: not _computes(group, reached))


def _computes(group: GradientGroup, reached: Set[Any]) -> bool:
    """True if gradients of the group are reached, or what its steps merge."""
    return not reached.isdisjoint(
        group.returned_ops + [merged.value.op for merged in group.merged.values()])


def _exchanged(merged: Dict[str, Merged]) -> List[Merged]:
    """The values among `merged` that workers exchange."""
    return [merged[name] for name in sorted(merged) if merged[name].collectives]


def _written_variables(graph: Any, reached: Any) -> List[str]:
    """Names of the global variables that a run writes: workers that write others run another step.
    """
    variables = {compat.variable_key(v) for v in compat.global_variables(graph)}
    origins = {op_traits.handle_origin(tensor) for op in reached if op_traits.takes_state(op)
               for tensor in op.inputs if op_traits.is_handle(tensor)}
    return sorted(op.name for op in origins & variables)


def _listed(names: List[str]) -> str:
    """All of `names`, in few words that no other names have."""
    if not names:
        return "no variable"
    if len(names) <= _SHOWN:
        return ", ".join(names)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    return "{} and {} more variables ({})".format(
        ", ".join(names[:_SHOWN]), len(names) - _SHOWN, digest)
