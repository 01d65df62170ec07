# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What optimizers do behind the gradients, variable by variable, whatever they are made of.

                    g --> [ m = .9 m + .1 g --> v = v - rate m / norm ] --> train
    global norm ----------------------------------------------^
                          `inside`: what only v is updated by

An `Update` is what one unit of updates does to one variable: what writes it, what writes the
variables that belong to it (its state: moments, averages), and what only these are computed by.

A variable is state of another one if it is not trained, and whatever is computed from it in a step
and written goes to that variable and its state alone. Updates run together, and make a unit, that
something joins (see `update_groups`). One that depends on another of its unit comes in a unit
behind it.
"""

import collections
from typing import Any, Container, Counter, Dict, FrozenSet, Iterable, List, NamedTuple, Set

from epl import compat
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.groups import groups_of
from epl.rewrite.update_groups import Behind
from epl.rewrite.walk import ancestors, data_descendants, descendants


class Update(NamedTuple):
    """What a unit does to one variable.

    Attributes:
      variable: what is trained.
      writes: the operations that write it.
      state_writes: those that write its state.
      inside: all that only these are computed by, themselves included.
      of_state: what is computed from the state, inside or beside it.
    """

    variable: Any
    writes: FrozenSet[Any]
    state_writes: FrozenSet[Any]
    inside: FrozenSet[Any]
    of_state: FrozenSet[Any] = frozenset()

    @property
    def all_writes(self) -> FrozenSet[Any]:
        """Those of the variable and of its state."""
        return self.writes | self.state_writes


Unit = Dict[Any, Update]  # what stands for a variable in the graph -> its update


class Updates:
    """The updates of a graph.

    Attributes:
      units: each behind those that it depends on.
      states: what stands for a variable that is trained -> its state, the same.
      trained: what stands for a variable that is trained -> the variable.
      closed: the variables whose updates are known as a whole, with the state that these use.
    """

    def __init__(self, graph: Any, state: GraphState, left_out: Container[Any] = ()):
        """Find them.

        Args:
          graph: the graph.
          state: its record.
          left_out: writes that are no updates.
        """
        self._returned = {op for group in groups_of(state) for op in group.returned_ops}
        self._behind = Behind(state)
        known = {compat.variable_key(v): v for v in compat.global_variables(graph)}
        self.trained = {key: known[key] for key in self._behind.sizes if key in known}
        self._known = known
        self._writes: Dict[Any, Set[Any]] = {}
        for op in sorted(self._behind.ops, key=compat.op_id):
            if op in left_out:
                continue
            for key in op_traits.written_variables(op):
                self._writes.setdefault(key, set()).add(op)
        self._taken: Set[Any] = set()
        self.units: List[Unit] = []
        for writes in self._together():
            self._add(writes)
        self.closed: Set[Any] = set()
        self.states = self._states()
        self.units = [{key: self._with_uses(key, update) for key, update in unit.items()}
                      for unit in self.units]

    def _together(self) -> List[Dict[Any, Set[Any]]]:
        """Variable -> what writes it, of what runs together; then what nothing joins."""
        units = [{key: found & self._writes[key] for key, found in unit.items()
                  if key in self.trained and found & self._writes.get(key, set())}
                 for unit in self._behind.together()]
        joined = {op for unit in units for found in unit.values() for op in found}
        alone = [{key: set(found)} for key, found in self._writes.items()
                 if key in self.trained and joined.isdisjoint(found)]
        return units + alone

    def _add(self, writes: Dict[Any, Set[Any]]) -> None:
        """Add the unit of these writes; in front of it what of it others of it depend on."""
        rest = dict(writes)
        while rest:
            before = {key: self._before(found) for key, found in rest.items()}
            first = {key: found for key, found in rest.items() if not any(
                before[key] & other for name, other in rest.items() if name != key)} or rest
            rest = {key: found for key, found in rest.items() if key not in first}
            for contexts in _by_context(first):
                self.units.append(self._unit(contexts))

    def _before(self, writes: Iterable[Any]) -> Set[Any]:
        """What `writes` need that neither the script got nor an earlier unit does; themselves."""
        ends = self._returned | self._taken
        return ancestors(writes, ends) - ends

    def _unit(self, writes: Dict[Any, Set[Any]]) -> Unit:
        before = {key: self._before(found) for key, found in writes.items()}
        common = self._common(set().union(*writes.values()))
        own = {key: before[key] - _of_others(before, key) - common for key in before}
        state_writes: Dict[Any, Set[Any]] = {key: set() for key in writes}
        for key, found in self._writes.items():
            for op in found - self._taken:
                owners = [name for name in own if op in own[name]]
                if key in writes and owners == [key]:
                    writes[key].add(op)
                elif owners and self._may_be_state(key):
                    state_writes[owners[0]].add(op)
        self._add_beside(before, own, writes, state_writes)
        unit = {key: Update(self.trained[key], frozenset(writes[key]),
                            frozenset(state_writes[key]), frozenset(own[key])) for key in writes}
        self._taken.update(op for update in unit.values() for op in update.all_writes)
        return unit

    def _add_beside(self, before: Dict[Any, Set[Any]], own: Dict[Any, Set[Any]],
                    writes: Dict[Any, Set[Any]], state_writes: Dict[Any, Set[Any]]) -> None:
        """Find writes that a variable's do not need, but are computed from what only these are."""
        known = set().union(*writes.values(), *state_writes.values())
        after = descendants(set().union(*writes.values()))
        for key, found in self._writes.items():
            for op in found - known - after - self._taken:
                if not self.trained.keys().isdisjoint(op_traits.written_variables(op)):
                    continue  # it is an update itself, of another unit
                needs = self._before([op])
                near = [name for name in own if own[name] & needs]
                if len(near) == 1 and self._may_be_state(key):
                    state_writes[near[0]].add(op)
                    own[near[0]] |= needs - _of_others(before, near[0])

    def _may_be_state(self, key: Any) -> bool:
        """False for what is trained, and for a number: counters and scales are kept by all."""
        variable = self._known.get(key)
        return key not in self.trained and variable is not None and variable.dtype.is_floating \
            and variable.shape.is_fully_defined() and bool(variable.shape.ndims)

    def _common(self, updates: Set[Any]) -> Set[Any]:
        """What other variables than state are written by, in front of `updates` or beside them."""
        after = descendants(updates) - updates
        return self._before(op for key, found in self._writes.items() for op in found - after
                            if key not in self.trained and not self._may_be_state(key))

    def _with_uses(self, key: Any, update: Update) -> Update:
        states = {name for op in update.state_writes for name in op_traits.written_variables(op)
                  if name in self.states[key]}
        found = data_descendants(states, self._writes[key])
        return update._replace(
            of_state=frozenset(found & (self._behind.ops | update.inside) - states))

    def _states(self) -> Dict[Any, List[Any]]:
        """Variable that is trained -> what belongs to it; none for one whose updates are mixed."""
        cells: Dict[Any, Set[Any]] = {key: set() for key in self.trained}
        for unit in self.units:
            for key, update in unit.items():
                cells[key] |= update.all_writes
        written: Dict[Any, Set[Any]] = {}  # operation -> what it writes
        for key, found in self._writes.items():
            for op in found:
                written.setdefault(op, set()).add(key)
        candidates = {key: set().union(*[written[op] for op in cell]) - {key}
                      for key, cell in cells.items()}
        claims: Counter[Any] = collections.Counter(
            name for found in candidates.values() for name in found)
        result: Dict[Any, List[Any]] = {}
        for key, found in candidates.items():
            cell = cells[key]
            parts = [unit[key] for unit in self.units if key in unit]
            whole = self._writes.get(key, set()) <= cell and not any(
                _unknown(op) for update in parts for op in update.inside) and all(
                    update.all_writes <= update.inside for update in parts)
            closed = all(
                claims[name] == 1 and self._may_be_state(name) and self._writes[name] <= cell
                and not (data_descendants([name], cell) - cell).intersection(written)
                for name in found)
            if whole and closed and parts:
                self.closed.add(key)
            result[key] = sorted(found, key=lambda op: str(op.name)) if whole and closed else []
        return result


def _of_others(found: Dict[Any, Set[Any]], own: Any) -> Set[Any]:
    return set().union(*[ops for key, ops in found.items() if key != own])


def _by_context(writes: Dict[Any, Set[Any]]) -> List[Dict[Any, Set[Any]]]:
    """Variables that are written in one branch, or outside of all, belong together."""
    found: Dict[Any, Dict[Any, Set[Any]]] = {}
    for key, ops in writes.items():
        contexts = sorted({id(compat.control_flow_context(op)) for op in ops})
        found.setdefault(tuple(contexts), {})[key] = ops
    return list(found.values())


def _unknown(op: Any) -> bool:
    """True for a call of a function that gets a variable: what it writes is not known."""
    return op_traits.calls_functions(op) and any(map(op_traits.is_handle, op.inputs))
