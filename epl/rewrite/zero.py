# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `zero`: what an optimizer keeps of a variable is held by one worker, or by each some rows.

    worker 0   g --> update of a, of rows of c --+            +--> a, b, c
                                                 | all_gather |
    worker 1   g --> update of b, of rows of c --+            +--> a, b, c --> train

A worker runs the updates of what it holds, and gets the values of the other variables. State that a
worker does not hold takes no memory there: it has no rows. Variables with much state are divided by
rows, if their update works row by row (`row_slices`), so that no worker holds much more than
another; the others are held by one worker each.

With `v1` a gradient that only some workers need is reduced for these alone (`gradient_parts`). With
`v2` nobody holds more of a parameter than what it updates (`gathered`): there is nothing to send
behind the updates, as the next step begins with that.

What waits for an update waits for the exchange. All of a unit is updated in a run, or nothing. An
update in a `tf.cond` (a step that is skipped) is not divided; the exchange is behind the branch,
and brings what was not updated as well.
(Rajbhandari et al. 2020, ZeRO, https://arxiv.org/abs/1910.02054.)
"""

import collections
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.errors import RewriteError
from epl.ir import editor
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.ir.ownership import Rows, ownership_of
from epl.rewrite import gathered, op_traits, restored
from epl.rewrite.gathered import Parameters, all_rows, can_be_held
from epl.rewrite.gradient_parts import Part, part_of, put_together, slice_others
from epl.rewrite.groups import Gradient, groups_of
from epl.rewrite.place import balance_by_size
from epl.rewrite.row_slices import Sliceable, aligned_rows, cut, rows_of, slice_inputs, sliceable
from epl.rewrite.updates import Unit, Update, Updates
from epl.rewrite.walk import ancestors, descendants

_SCOPE = "epl/zero"
_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])
# A variable is divided if its state is more than this share of what a worker is to hold.
_LARGE = 0.04
_BUCKET_BYTES = 16 << 20


class Shared(NamedTuple):
    """A unit of updates that is shared out.

    Attributes:
      received: runs when every variable of it has its new value.
      updates: what stands for a variable -> its update.
      writes: operation -> the variable that it updates, of those that no run may ask for alone.
      ends: the first operations behind the branches that updates are in.
      asked: what waits for updates -> the variables that these are of.
      assigned: the operations that give variables the values of others.
      after: what stands for a variable of which all hold all -> its new value.
      collectives: in which values are exchanged.
    """

    received: Any
    updates: Unit
    writes: Dict[Any, Any]
    ends: Set[Any]
    asked: Dict[Any, Set[Any]]
    assigned: Set[Any]
    after: Dict[Any, Any]
    collectives: List[Collective]


class Zero:
    """What is shared out in one graph.

    Attributes:
      units: its updates.
      reads: what stands for a variable whose rows are shared out -> this worker's rows.
      given: an assignment of such a variable -> the value that the script gives it.
      restored: such an assignment -> the value in a checkpoint that it gives.
      sources: name of what such assignments read -> (the value that the script gives, what stands
        for the variables that get it).
      inside: the operations that work on this worker's rows in a step.
      planned: what stands for a variable that is trained -> the rows of its state that each worker
        holds.
      parts: what the script got as a gradient -> of which each worker has these rows.
      numbers: what makes numbers of such rows -> the numbers of all rows.
      exchanges: in which these are put together.
      parameters: the variables that are shared out themselves.
    """

    def __init__(self) -> None:
        self.parameters = Parameters()
        self.units: List[Shared] = []
        self.reads: Dict[Any, Any] = {}
        self.given: Dict[Any, Any] = {}
        self.restored: Dict[Any, restored.Source] = {}
        self.sources: Dict[str, Tuple[Any, List[Any]]] = {}
        self.inside: Set[Any] = set()
        self.planned: Dict[Any, List[Rows]] = {}
        self.parts: Dict[Any, Part] = {}
        self.numbers: Dict[Any, Any] = {}
        self.exchanges: List[Collective] = []

    @property
    def collectives(self) -> List[Collective]:
        """All exchanges of values, and of numbers."""
        return [c for unit in self.units for c in unit.collectives] + self.exchanges + [
            each.collective for each in self.parameters.exchanges]

    def rows_of(self, gradient: Gradient) -> Optional[List[Rows]]:
        """The rows of a gradient that each worker has; None if all have all."""
        part = None if isinstance(gradient.returned, tf.IndexedSlices) \
            else self.parts.get(gradient.returned.op)
        return None if part is None else list(part.rows)

    @property
    def borders(self) -> Set[Any]:
        """What stands between a step's own operations and the updates that are shared out."""
        return {op for unit in self.units for op in unit.ends | {unit.received}}


class _Found(NamedTuple):
    """What there is to share out.

    Attributes:
      updates: all updates.
      fresh: the units that are not shared out yet.
      cuts: what stands for a variable -> its updates, if they can work on some rows.
      rows: what stands for a variable -> the rows of its state that each worker holds.
      parameters: the variables of which each worker is to hold these rows as well.
    """

    updates: Updates
    fresh: List[Unit]
    cuts: Dict[Any, List[Sliceable]]
    rows: Dict[Any, List[Rows]]
    parameters: Set[Any]

    def inside(self, key: Any) -> Set[Any]:
        """The operations of a variable's updates that work on the rows held."""
        if _divided(self.rows[key]):
            return {op for each in self.cuts[key] for op in each.ops}
        return {op for unit in self.fresh if key in unit for op in unit[key].inside}


def _find(graph: Any, state: GraphState, level: str) -> _Found:
    zero = state.record(Zero)
    done = {op for unit in zero.units for update in unit.updates.values() for op in update.writes}
    updates = Updates(graph, state, {op for unit in zero.units for op in unit.assigned})
    fresh = [unit for unit in updates.units if not any(u.writes & done for u in unit.values())]
    parameters = _to_hold(updates) if level == "v2" else set()
    held = {key for key, states in updates.states.items() if states} | parameters
    cuts: Dict[Any, List[Sliceable]] = {}
    for key in sorted(held, key=lambda op: str(op.name)):
        parts = [sliceable(key, unit[key], updates.states[key]) for unit in fresh if key in unit]
        if all(part is not None for part in parts):
            cuts[key] = [part for part in parts if part is not None]
    rows = _balanced(graph, updates, cuts, parameters)
    return _Found(updates, fresh, cuts, rows, parameters)


def _to_hold(updates: Updates) -> Set[Any]:
    """What stands for the variables that can be shared out themselves."""
    units = _units(updates.units)
    return {key for key in updates.closed if can_be_held(key, units)}


def _units(units: Iterable[Unit]) -> List[gathered.Unit]:
    return [gathered.Unit(unit, descendants(
        op for update in unit.values() for op in update.all_writes)) for unit in units]


def plan(graph: Any, state: GraphState, level: str) -> None:
    """Choose who holds what, before gradients are reduced.

    Args:
      graph: the graph.
      state: its record.
      level: "v1": gradients that only some workers need are to be reduced for these alone; "v2":
        and parameters are to be held by these alone.
    """
    zero, found = state.record(Zero), _find(graph, state, level)
    zero.planned.update(found.rows)
    if level == "v0":
        return
    gathered.plain_gathers(graph, zero.parameters, sorted(found.parameters, key=compat.op_id))
    parts: List[Part] = []
    for group in groups_of(state):
        for gradient in group.gradients if not group.rewritten else ():
            key = compat.variable_key(gradient.variable)
            if key in found.rows:
                part = part_of(group.name, gradient, found.rows[key], found.inside(key))
                parts += [part] if part is not None else []
    mixed = {op for op, number in collections.Counter(
        op for part in parts for op in part.ops).items() if number > 1}
    zero.parts.update((part.gradient.returned.op, part) for part in parts if not part.ops & mixed)


def _divided(rows: Iterable[Rows]) -> bool:
    return sum(1 for each in rows if each.number) > 1


def share_out(graph: Any, state: GraphState, level: str) -> None:
    """Share out the state of what is trained, and with "v2" that itself, as far as not done yet."""
    zero, found = state.record(Zero), _find(graph, state, level)
    units = _hold_parameters(graph, zero, found, level)
    parts = [part for part in zero.parts.values() if not zero.numbers.keys() & set(part.numbers)]
    made: List[Shared] = []
    for unit in found.fresh:
        mine = {key: update for key, update in unit.items() if key in found.rows}
        if mine:
            made.append(_Exchange(graph, state, mine, found).build())
            zero.units.append(made[-1])
    for key, rows in found.rows.items():
        held = [key] if key in zero.parameters.rows else []
        for each in found.updates.states[key] + held:
            _hold(graph, zero, each, rows)
    if units:
        gathered.order(zero.parameters, units, _received(zero))
    if parts and made:
        _put_together(graph, zero, parts, made)


def _received(zero: Zero) -> Dict[int, Any]:
    return {gathered.number_of(unit.updates): unit.received for unit in zero.units}


def _hold_parameters(graph: Any, zero: Zero, found: _Found, level: str) -> List[gathered.Unit]:
    """Let what reads parameters that are to be shared out read whole values of them.

    Returns:
      The units of updates, if there are any such parameters.
    """
    fresh = {key for unit in found.fresh for key in unit}
    held = sorted(found.parameters & fresh - set(zero.parameters.rows), key=compat.op_id)
    whole = sorted(key.name for key in fresh - found.parameters)
    if whole and level == "v2":
        tf.logging.warning(
            "zero.level = 'v2': %d of the %d variables that are trained stay on all workers as "
            "wholes, '%s' first: it is updated or read in a branch or a loop, or by an operation "
            "that may need more than its value", len(whole), len(fresh), whole[0])
    if not held:
        return []
    units = _units(found.updates.units)
    for key in held:
        zero.parameters.rows[key] = found.rows[key]
        for unit in units:
            if key in unit.updates:
                zero.parameters.own |= gathered.own_readers(key, unit.updates[key])
    gathered.redirect(graph, zero.parameters, units)
    return units


def _put_together(graph: Any, zero: Zero, parts: List[Part], units: List[Shared]) -> None:
    """Numbers of gradients are those of all rows; all workers exchange them in every step."""
    variable = parts[0].gradient.variable
    with compat.inserted(graph, _SCOPE + "/numbers"):
        pad = tf.reshape(compat.read_variable(variable), [-1])[0]
    made = put_together(graph, parts, pad)
    zero.numbers.update(made.values)
    zero.exchanges.extend(made.collectives)
    for unit in units:
        needed = ancestors(op for update in unit.updates.values() for op in update.all_writes)
        editor.wait_for(unit.received, sorted(
            {made.values[op].op for part in parts if part.gradient.returned.op in needed
             for op in part.numbers}, key=compat.op_id))


def keep_to_rows(graph: Any, state: GraphState) -> None:
    """What assigns state from outside of steps (initializers, restores) assigns the rows held."""
    zero, ownership = state.record(Zero), ownership_of(graph)
    if zero.parameters.rows:  # what was built since reads whole values as well
        gathered.redirect(graph, zero.parameters, [
            gathered.Unit(unit.updates, descendants([unit.received])) for unit in zero.units])
        gathered.begin_behind(zero.parameters, _received(zero))
    parts: Dict[restored.Source, Any] = {}
    first = compat.initializers(graph)
    for key in zero.reads:
        rows = ownership.own_rows(key)
        whole = ownership.rows(key)
        assert whole is not None
        number = sum(each.number for each in whole)
        for op in [user for t in key.outputs for user in t.consumers()]:
            if op.type in _ASSIGNMENTS and op not in zero.inside and op not in zero.given:
                value = op.inputs[1]
                zero.given[op] = value
                source = restored.source_of(op) if op not in first else None
                if source is not None:
                    zero.restored[op] = source
                    if rows.number < number:
                        parts[source] = compat.variable_of(graph, key).shape.as_list(), rows
                if rows.number < number and (source is None or not rows.number):
                    editor.replace_input(op, value, _part_of(graph, key, value, rows))
                for tensor in {value.name: value, op.inputs[1].name: op.inputs[1]}.values():
                    zero.sources.setdefault(tensor.name, (value, []))[1].append(key)
    restored.read_rows(parts)


def _part_of(graph: Any, key: Any, value: Any, rows: Rows) -> Any:
    if rows.number:
        return rows_of(value, rows, compat.variable_of(graph, key).shape.ndims)
    with compat.inserted(graph, _SCOPE + "/nothing"), tf.device(value.device or None):
        nothing = np.zeros([0], value.dtype.base_dtype.as_numpy_dtype)
        return tf.placeholder_with_default(nothing, None, "any_rows")


def _balanced(graph: Any, updates: Updates, cuts: Dict[Any, List[Sliceable]],
              parameters: Set[Any]) -> Dict[Any, List[Rows]]:
    """What stands for a variable -> the rows of its state that each worker holds.

    What is held already stays where it is.
    """
    ownership, planned = ownership_of(graph), state_of(graph).record(Zero).planned
    size = context_of(graph).workers.size
    held = {key: states + ([key] if key in parameters else [])
            for key, states in updates.states.items()}
    sizes = {key: sum(_bytes(graph, each) for each in some) for key, some in held.items() if some}
    share = sum(sizes.values()) / float(size)
    result: Dict[Any, List[Rows]] = {}
    rest: List[Any] = []
    for key in sorted(sizes, key=lambda op: str(op.name)):
        known = [found for found in map(ownership.rows, held[key]) if found is not None]
        divided = aligned_rows(updates.trained[key].shape, size) if key in cuts else []
        if key in planned:
            result[key] = planned[key]
        elif known:
            result[key] = list(known[0])
        elif sizes[key] > _LARGE * share and divided and all(r.number for r in divided):
            result[key] = divided
        else:
            rest.append(key)
    for key, owner in zip(rest, balance_by_size([sizes[key] for key in rest], size)):
        number = int(updates.trained[key].shape[0])
        result[key] = [Rows(0, number if rank == owner else 0) for rank in range(size)]
    return result


def _bytes(graph: Any, key: Any) -> int:
    variable = compat.variable_of(graph, key)
    return int(variable.shape.num_elements() * variable.dtype.base_dtype.size)


def _hold(graph: Any, zero: Zero, key: Any, rows: Sequence[Rows]) -> None:
    """Let this worker hold only its own rows of a variable that is state."""
    ownership = ownership_of(graph)
    if ownership.rows(key) is not None:
        return
    ownership.share_out(key, rows)
    variable = compat.variable_of(graph, key)
    own, whole = ownership.own_rows(key), sum(each.number for each in rows)
    if own.number == 0:
        editor.set_shape(key, [0])
    elif own.number < whole:
        editor.set_shape(key, [own.number] + variable.shape.as_list()[1:])
    with compat.inserted(graph, "{}/held/{}".format(_SCOPE, key.name)):
        zero.reads[key] = compat.read_variable(variable)
    zero.parameters.own.add(zero.reads[key].op)


class _Exchange:
    """One unit, while it is shared out."""

    def __init__(self, graph: Any, state: GraphState, updates: Unit, found: _Found):
        context = context_of(graph)
        self._graph, self._zero = graph, state.record(Zero)
        self._communicator, self._group = context.connection, context.workers
        self._rank = context.cluster.worker_index
        self._max_splits = context.config.communication.max_splits
        self._updates, self._rows, self._cuts = updates, found.rows, found.cuts
        self._states = found.updates.states
        self._parameters = self._zero.parameters
        self._keys = sorted(updates, key=lambda op: str(op.name))
        self._scope = "{}/unit_{}".format(_SCOPE, len(self._zero.units))
        self._collectives: List[Collective] = []
        self._freed: List[Any] = []

    def build(self) -> Shared:
        """Let each worker update what it holds, and exchange the values."""
        writes = {op: key for key, update in self._updates.items() for op in update.all_writes}
        self._zero.inside.update(
            op for update in self._updates.values() for op in update.inside)
        waits = {key: _waits(update) for key, update in self._updates.items()}
        users = {key: self._users(update) for key, update in self._updates.items()}
        ends = {key: _ends(found) for key, found in users.items()}
        own = {key: self._own(key, waits[key], ends[key]) for key in self._keys}
        with compat.inserted(self._graph, self._scope):
            received = tf.no_op("received")
        assigned = [op for number, bucket in enumerate(self._buckets([
            key for key in self._keys if key not in self._parameters.rows]))
                    for op in self._exchanged(bucket, number, own, waits)]
        held = [op for key in self._keys if self._number(key) for op in
                self._updates[key].all_writes if compat.control_flow_context(op) is None]
        # The exchanges as well: who holds all of what one brings assigns nothing from it. And what
        # others update by: all exchange gradients.
        exchanges = [collective.op for collective in self._collectives] + [
            op for key in self._keys if key in self._parameters.rows for op in waits[key]]
        editor.wait_for(received, sorted(set(assigned + held + self._freed + exchanges).union(
            *ends.values()), key=compat.op_id))
        after = {}
        for key in self._keys:
            if key in self._parameters.rows:
                continue
            with compat.inserted(self._graph, self._scope + "/after"), \
                    tf.control_dependencies([received]):
                after[key] = compat.read_variable(self._updates[key].variable)
        asked = self._let_wait(received, users, ends, after)
        return Shared(received, self._updates, writes, set().union(*ends.values()), asked,
                      set(assigned), after, self._collectives)

    def _number(self, key: Any) -> int:
        return self._rows[key][self._rank].number

    def _is_divided(self, key: Any) -> bool:
        return _divided(self._rows[key])

    def _users(self, update: Update) -> List[Any]:
        """What waits for or reads what an update writes, and is no part of it."""
        found = {user for op in update.all_writes | update.of_state
                 for user in compat.control_outputs(op)}
        found.update(user for op in update.writes for t in op.outputs for user in t.consumers())
        return sorted(found - update.inside - update.of_state, key=compat.op_id)

    def _own(self, key: Any, waits: List[Any], ends: Iterable[Any]) -> Any:
        """The rows of a variable that this worker has updated, to be sent; None if it has none."""
        update = self._updates[key]
        rows = self._rows[key][self._rank]
        if not rows.number:
            return None
        if not self._is_divided(key) and key in self._parameters.rows:
            return None
        if not self._is_divided(key):
            done = [op for op in update.all_writes if compat.control_flow_context(op) is None]
            with compat.inserted(self._graph, self._scope + "/own"), tf.control_dependencies(
                    sorted(set(done).union(ends), key=compat.op_id)):
                return compat.read_variable(update.variable)
        found = next(each for each in self._cuts[key] if each.update is update)
        if key in self._parameters.rows:
            self._slice(key, found, key.outputs[0])
            return None
        with compat.inserted(self._graph, self._scope + "/part"), \
                tf.device(key.device or None), tf.control_dependencies(waits):
            value = compat.read_variable(update.variable)
            part = compat.PartOfVariable(
                value.op.inputs[0], cut(value, rows, update.variable.shape.ndims),
                [rows.number] + update.variable.shape.as_list()[1:],
                "{}/part_of/{}".format(self._scope, key.name))
        self._slice(key, found, part.reference)
        for op in sorted(update.writes | found.readers, key=compat.op_id):
            editor.wait_for(op, [part.begun])
        with compat.inserted(self._graph, self._scope + "/part"):
            value, freed = part.taken(sorted(update.all_writes | found.readers, key=compat.op_id))
        self._freed.extend(freed)
        return value

    def _slice(self, key: Any, found: Sliceable, part: Any) -> None:
        """Let an update work on this worker's rows, which `part` refers to."""
        rows = self._rows[key][self._rank]
        gradients = [each for each in self._zero.parts.values()
                     if compat.variable_key(each.gradient.variable) is key]
        slice_inputs(found, key, self._states[key], rows, part,
                     set().union(*[each.ops for each in gradients]))
        for each in gradients:
            slice_others(each, rows, found.ops)

    def _buckets(self, exchanged: List[Any]) -> List[List[Any]]:
        """The variables that travel together: of one type, of about equal size."""
        found: List[List[Any]] = []
        kinds = sorted({self._dtype(key).name for key in exchanged})
        for kind in kinds:
            keys = [key for key in exchanged if self._dtype(key).name == kind]
            sizes = [self._updates[key].variable.shape.num_elements() * self._dtype(key).size
                     for key in keys]
            number = max(1, min(self._max_splits, sum(sizes) // _BUCKET_BYTES, len(keys)))
            buckets: List[List[Any]] = [[] for _ in range(number)]
            for key, chosen in zip(keys, balance_by_size(sizes, number)):
                buckets[chosen].append(key)
            found.extend(buckets)
        return found

    def _dtype(self, key: Any) -> Any:
        return self._updates[key].variable.dtype.base_dtype

    def _exchanged(self, keys: List[Any], number: int, own: Dict[Any, Any],
                   waits: Dict[Any, List[Any]]) -> List[Any]:
        """Send this worker's new values, and assign those of the others."""
        name = "{}/values_{}".format(self._scope, number)
        with compat.inserted(self._graph, name):
            # An element more, so that no worker gives a constant, which would be folded.
            pad = tf.reshape(compat.read_variable(self._updates[keys[0]].variable), [-1])[:1]
        values, collective = all_rows(
            self._graph, name, {key: self._updates[key].variable for key in keys},
            {key: own[key] for key in keys if own[key] is not None}, self._rows, pad)
        self._collectives.append(collective)
        assigned = []
        for key in keys:
            if self._is_divided(key) or not self._number(key):
                with compat.inserted(self._graph, name), tf.control_dependencies(waits[key]):
                    assigned.append(compat.assign_op(self._updates[key].variable, values[key]))
        return assigned

    def _let_wait(self, received: Any, users: Dict[Any, List[Any]], ends: Dict[Any, Set[Any]],
                  after: Dict[Any, Any]) -> Dict[Any, Set[Any]]:
        """Let what waited for the updates wait for the exchange.

        Returns:
          What waits -> the variables whose updates it had asked for.
        """
        asked: Dict[Any, Set[Any]] = {}
        for key in self._keys:
            update = self._updates[key]
            for user in users[key]:
                if compat.control_flow_context(user) is None:
                    self._wait(user, update, received, after.get(key))
                    asked.setdefault(user, set()).add(key)
                elif not self._number(key):
                    editor.wait_no_longer(user, update.all_writes | update.of_state)
            for end in ends[key]:
                for user in {u for t in end.outputs for u in t.consumers()}.union(
                        compat.control_outputs(end)):
                    if user is not received and not self._is_own(user):
                        editor.wait_for(user, [received])
                        asked.setdefault(user, set()).add(key)
        return asked

    def _is_own(self, op: Any) -> bool:
        return bool(op.name.startswith(self._scope + "/"))

    def _wait(self, user: Any, update: Update, received: Any, value: Any) -> None:
        if self._is_own(user):
            return
        editor.wait_no_longer(user, update.all_writes | update.of_state)
        for tensor in list(user.inputs):
            if tensor.op in update.writes:
                if value is None:
                    raise NotImplementedError(
                        "operation '{}' ({}){} reads '{}' from the operation that updates it: with "
                        "zero.level = 'v2' a worker updates some rows of it only. Let it wait for "
                        "the update (tf.control_dependencies) and read the variable, or use "
                        "zero.level = 'v1'".format(user.name, user.type, compat.made_at(user),
                                                   update.variable.name))
                editor.replace_input(user, tensor, value)
        editor.wait_for(user, [received])


def _waits(update: Update) -> List[Any]:
    """What the updates of a variable wait for, outside of all branches."""
    found = {source for op in update.inside
             for source in [t.op for t in op.inputs if not op_traits.is_handle(t)]
             + list(op.control_inputs)} - update.inside
    return sorted((op for op in found if compat.control_flow_context(op) is None),
                  key=compat.op_id)


def _ends(users: Iterable[Any]) -> Set[Any]:
    """The first operations behind the branches that `users` are in."""
    found: Set[Any] = set()
    pending = [op for op in users if compat.control_flow_context(op) is not None]
    seen = set(pending)
    while pending:
        op = pending.pop()
        if compat.control_flow_context(op) is None:
            found.add(op)
            continue
        for user in {u for t in op.outputs for u in t.consumers()}.union(
                compat.control_outputs(op)) - seen:
            seen.add(user)
            pending.append(user)
    return found


def asked_for(state: GraphState, fetches: Sequence[Any], targets: Sequence[Any]
              ) -> Tuple[List[Any], List[Any]]:
    """What a step fetches and runs instead, so that what it updates is exchanged.

    Raises:
      ValueError: it asks for a part of what is updated together.
    """
    zero = state.find(Zero)
    fetches, targets = list(fetches), list(targets)
    if zero is not None and zero.parts:
        fetches = [zero.numbers.get(t.op, t) for t in fetches]
        _check_parts(zero, fetches, targets)
    if zero is not None and zero.parameters.rows:
        targets += [each.collective.op for each in zero.parameters.exchanges if not each.behind]
    for unit in zero.units if zero is not None else ():
        reached = ancestors([t.op for t in fetches] + targets, {unit.received})
        direct = {unit.writes[op] for op in reached if op in unit.writes}
        asked = direct.union(*[unit.asked[op] for op in reached if op in unit.asked])
        if not asked:
            continue
        missing = set(unit.updates) - asked
        if missing:
            raise ValueError(
                "the run updates '{}', but not '{}', which is updated in the same step: with "
                "zero.level they are exchanged between workers together; run the whole training "
                "step, or leave the key out".format(*[min(str(key.name) for key in some)
                                                      for some in (asked, missing)]))
        fetches = [_after(unit, t) if t.op in unit.writes else t for t in fetches]
        targets = [op for op in targets if op not in unit.writes] + [unit.received]
    return fetches, targets + _read_behind(zero, targets)


def _after(unit: Shared, tensor: Any) -> Any:
    """What a step fetches for what an update returns."""
    key = unit.writes[tensor.op]
    if key not in unit.after:
        raise NotImplementedError(
            "a training step is to return what operation '{}'{} makes of '{}': with zero.level = "
            "'v2' a worker updates some rows of it only. Fetch the variable in a run of its own, "
            "after the step, or use zero.level = 'v1'".format(
                tensor.op.name, compat.made_at(tensor.op), key.name))
    return unit.after[key]


def _read_behind(zero: Optional[Zero], targets: Sequence[Any]) -> List[Any]:
    """What all workers run in a step that updates these, as some may read values behind it."""
    if zero is None:
        return []
    done = {gathered.number_of(unit.updates) for unit in zero.units if unit.received in targets}
    return [each.collective.op for each in zero.parameters.exchanges
            if each.behind and each.behind <= done]


def _check_parts(zero: Zero, fetches: Sequence[Any], targets: List[Any]) -> None:
    """Raises NotImplementedError for a run that reads gradients of which a worker has rows."""
    numbers = {op for part in zero.parts.values() for op in part.numbers}
    borders = zero.borders | {value.op for value in zero.numbers.values()}
    of_rows = {op: part for part in zero.parts.values() for op in part.ops}
    reached = ancestors([t.op for t in fetches] + targets, borders) - borders
    read = [t.op for t in fetches] + [
        tensor.op for op in sorted(reached, key=compat.op_id)
        if op not in of_rows and op not in numbers and op not in zero.inside
        for tensor in op.inputs]
    for op in read:
        if op in of_rows:
            raise NotImplementedError(
                "the run asks for what is computed from '{}'{}, a part of the gradient of '{}': "
                "with zero.level = 'v1' each worker has some rows of it only; numbers that are "
                "made of it (a norm) can be fetched. Leave it out, or use zero.level = 'v0'".format(
                    op.name, compat.made_at(op), of_rows[op].gradient.variable.name))


def verify(graph: Any, state: GraphState) -> None:
    """A worker runs no update of what it does not hold, and waits for all that others hold."""
    zero, ownership = state.find(Zero), ownership_of(graph)
    if zero is None:
        return
    for unit in zero.units:
        reached = ancestors([unit.received])
        for key, update in unit.updates.items():
            if key in zero.parameters.rows and not ownership.own_rows(key).number:
                if update.all_writes & reached:
                    raise RewriteError("'{}', of which this worker holds nothing, would be updated"
                                       .format(key.name))
                continue
            for op in update.state_writes & reached:
                for name in op_traits.written_variables(op):
                    if ownership.rows(name) is not None and not ownership.own_rows(name).number:
                        raise RewriteError("{} would update '{}', of which this worker holds "
                                           "nothing".format(op.name, name.name))
            if not any(op_traits.written_variable(op) is key for op in reached):
                raise RewriteError("'{}' would not be updated".format(key.name))
