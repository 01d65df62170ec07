# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The exchange of a unit's new values, and what waits for it."""

from typing import Any, Dict, Iterable, List, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.ir import editor
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.gathered import all_rows
from epl.rewrite.gradient_parts import slice_others
from epl.rewrite.place import balance_by_size
from epl.rewrite.row_slices import Sliceable, cut, slice_inputs
from epl.rewrite.updates import Unit, Update
from epl.rewrite.zero.owners import Found, divided
from epl.rewrite.zero.record import Shared, Zero

SCOPE = "epl/zero"
_BUCKET_BYTES = 16 << 20


class Exchange:
    """One unit, while it is shared out."""

    def __init__(self, graph: Any, state: GraphState, updates: Unit, found: Found):
        context = context_of(graph)
        self._graph, self._zero = graph, state.record(Zero)
        self._communicator, self._group = context.connection, context.workers
        self._rank = context.cluster.worker_index
        self._max_splits = context.config.communication.max_splits
        self._updates, self._rows, self._cuts = updates, found.rows, found.cuts
        self._states = found.updates.states
        self._parameters = self._zero.parameters
        self._keys = sorted(updates, key=lambda op: str(op.name))
        self._scope = "{}/unit_{}".format(SCOPE, len(self._zero.units))
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
        return divided(self._rows[key])

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
