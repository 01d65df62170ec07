# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameters of which each worker holds the rows that it updates (zero.level = v2).

    worker 0   rows of v --+            +--> v --> forward, backward --> g --> update of its rows
                           | all_gather |
    worker 1   rows of v --+            +--> v --> forward, backward --> g --> update of its rows

A step begins with the whole values of its parameters, put together from the rows of all workers;
all that reads a parameter reads these. What reads one behind an update gets values that are put
together once more. Outside of steps the whole values are fed (`runtime.held_state`).

A parameter that is used in a way that is not known to need its value alone (in a function, a
branch, by reference) stays on all workers as a whole.
"""

from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.ir import editor
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.ir.ownership import Rows, ownership_of
from epl.rewrite import op_traits
from epl.rewrite.updates import Update
from epl.rewrite.walk import descendants

_SCOPE = "epl/zero/gathered"
_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])
_GATHERS = frozenset(["ResourceGather", "ResourceGatherNd"])
_SHAPE = "VariableShape"
_READ = "ReadVariableOp"
_BUCKET_BYTES = 16 << 20

Behind = FrozenSet[int]  # the numbers of the units that a value is read behind


class Unit(NamedTuple):
    """Updates that run together, as far as reads of variables are concerned.

    Attributes:
      updates: what stands for a variable -> its update.
      after: all that runs behind any of its writes.
    """

    updates: Dict[Any, Update]
    after: Set[Any]


def number_of(updates: Dict[Any, Update]) -> int:
    """What tells the updates that run together from others of their graph."""
    return min(compat.op_id(op) for update in updates.values() for op in update.writes)


class Exchange(NamedTuple):
    """Whole values that are put together.

    Attributes:
      keys: what stands for the variables.
      behind: the units that it waits for; none: it begins the step.
      begun: runs before the rows are read.
      collective: in which these are exchanged.
    """

    keys: Sequence[Any]
    behind: Behind
    begun: Any
    collective: Collective


class Parameters:
    """The parameters of a graph of which each worker holds some rows.

    Attributes:
      rows: what stands for one -> the rows of each worker.
      values: (what stands for one, units that it is read behind) -> its whole value.
      instead: name of a tensor that depends on how a variable is held -> what a run fetches for it.
      aliases: what stands for one -> tensors that stand for a ref variable itself, whenever they
        are read, and the units that they come behind.
      own: the operations that work on this worker's rows.
      exchanges: in which values are put together.
    """

    def __init__(self) -> None:
        self.rows: Dict[Any, List[Rows]] = {}
        self.values: Dict[Tuple[Any, Behind], Any] = {}
        self.instead: Dict[str, Any] = {}
        self.aliases: Dict[Any, List[Tuple[Any, Behind]]] = {}
        self.own: Set[Any] = set()
        self.exchanges: List[Exchange] = []

    def begins(self, key: Any) -> Any:
        """The value of a parameter that a step begins with."""
        return self.values[key, frozenset()]


def can_be_held(key: Any, units: Iterable[Unit]) -> bool:
    """True if all that uses a parameter can take its whole value, or is an update of some rows.

    Args:
      key: what stands for it.
      units: all updates.
    """
    updates = [unit.updates[key] for unit in units if key in unit.updates]
    written = descendants({op for update in updates for op in update.writes})
    if not updates or any(compat.control_flow_context(op) is not None
                          for update in updates for op in update.all_writes):
        return False
    inside = {op for update in updates for op in update.inside}
    for user in _users(key):
        if not _is_known(user, key, updates):
            return False
        aliased = user.type == "Identity" and key.outputs[0].dtype != tf.resource
        if aliased and any(op in inside and op in written for op in _readers(user.outputs[0])):
            return False  # the update reads what it has just written
    return True


def _is_known(op: Any, key: Any, updates: Sequence[Update]) -> bool:
    if any(op in update.all_writes or op in update.inside and _by_value(op, key)
           for update in updates):
        return True
    return op.type in _ASSIGNMENTS or op_traits.asks_if_initialized(op) or _by_value(op, key)


def _by_value(op: Any, key: Any) -> bool:
    """True for what reads a variable's value, and could take it from elsewhere."""
    if compat.control_flow_context(op) is not None:
        return False
    if key.outputs[0].dtype == tf.resource:
        return op.type in _GATHERS or op.type in (_READ, _SHAPE)
    return not op_traits.takes_state(op) and not any(map(compat.is_ref, op.outputs))


def _users(key: Any) -> List[Any]:
    return sorted({user for tensor in key.outputs for user in tensor.consumers()},
                  key=compat.op_id)


def own_readers(key: Any, update: Update) -> Set[Any]:
    """What of an update reads its variable once it is written, and stays with this worker's rows.
    """
    written = descendants(update.writes) & update.inside
    return {user for user in _users(key) if user in written} - update.writes


def plain_gathers(graph: Any, parameters: Parameters, keys: Iterable[Any]) -> None:
    """Let rows that are looked up by a variable's handle be looked up in its value.

    Args:
      graph: the graph.
      parameters: what is known of parameters in it.
      keys: what stands for the variables.
    """
    provenance = state_of(graph).provenance
    for key in keys:
        for op in _users(key):
            if op.type not in _GATHERS or not _by_value(op, key) \
                    or op.outputs[0].name in parameters.instead:
                continue
            scope = "{}/{}".format(_SCOPE, op.name)
            with editor.model(graph, scope, provenance.stage_of(op)), \
                    tf.device(op.device or None), tf.control_dependencies(op.control_inputs):
                value = tf.raw_ops.ReadVariableOp(
                    resource=key.outputs[0], dtype=op.outputs[0].dtype)
                value.set_shape(compat.variable_of(graph, key).shape)
                made = _looked_up(op, value)
            _replace(parameters, op, made)


def _looked_up(op: Any, value: Any) -> Any:
    if op.type == "ResourceGatherNd":
        return tf.raw_ops.GatherNd(params=value, indices=op.inputs[1])
    number = op.get_attr("batch_dims")
    return tf.raw_ops.GatherV2(params=value, indices=op.inputs[1], axis=number, batch_dims=number)


def _replace(parameters: Parameters, op: Any, made: Any) -> None:
    """Let all read and wait for `made` instead of `op`."""
    parameters.instead[op.outputs[0].name] = made
    for user in _readers(op.outputs[0]):
        editor.replace_input(user, op.outputs[0], made)
    for user in list(compat.control_outputs(op)):
        editor.wait_no_longer(user, [op])
        editor.wait_for(user, [made.op])


class _Use(NamedTuple):
    """What is to read a whole value.

    Attributes:
      op: it.
      tensor: the input by which it reads the variable; None: it asks for its shape.
      behind: the units that it comes after.
    """

    op: Any
    tensor: Optional[Any]
    behind: Behind


def _uses(key: Any, units: Sequence[Unit], parameters: Parameters) -> List[_Use]:
    """What reads a parameter, and is not done with yet."""
    numbers = [number_of(unit.updates) for unit in units]

    def behind(op: Any) -> Behind:
        return frozenset(
            number for number, unit in zip(numbers, units)
            if key in unit.updates and op in unit.after)

    found: List[_Use] = []
    for user in _users(key):
        if user in parameters.own or user.type in _ASSIGNMENTS | _GATHERS \
                or op_traits.asks_if_initialized(user) or not _by_value(user, key):
            continue
        if user.type == _SHAPE:
            found.append(_Use(user, None, behind(user)))
        elif user.type == _READ:
            found.extend(_Use(op, user.outputs[0], behind(user))
                         for op in _readers(user.outputs[0]))
        else:
            found.append(_Use(user, key.outputs[0], behind(user)))
            if user.type == "Identity":
                parameters.aliases.setdefault(key, []).append((user.outputs[0], behind(user)))
    for tensor, first in parameters.aliases.get(key, ()):
        found.extend(_Use(op, tensor, behind(op))
                     for op in _readers(tensor) if behind(op) != first)
    return found


def _readers(tensor: Any) -> List[Any]:
    return sorted(set(tensor.consumers()), key=compat.op_id)


def redirect(graph: Any, parameters: Parameters, units: Sequence[Unit]) -> None:
    """Let what reads a parameter read its whole value.

    Args:
      graph: the graph.
      parameters: those of which each worker holds some rows.
      units: all updates of them.
    """
    plain_gathers(graph, parameters, parameters.rows)
    uses = {key: _uses(key, units, parameters) for key in parameters.rows}
    needed: Dict[Behind, Set[Any]] = {frozenset(): set(parameters.rows)}
    for key, found in uses.items():
        for use in found:
            needed.setdefault(use.behind, set()).add(key)
    for behind in sorted(needed, key=sorted):
        missing = [key for key in needed[behind] if (key, behind) not in parameters.values]
        _put_together(graph, parameters, sorted(missing, key=compat.op_id), behind)
    for key, found in uses.items():
        for use in found:
            value = parameters.values[key, use.behind]
            if use.tensor is not None:
                editor.replace_input(use.op, use.tensor, value)
                if use.tensor is not key.outputs[0]:
                    editor.wait_for(use.op, use.tensor.op.control_inputs)
            elif use.op.outputs[0].name not in parameters.instead:
                with compat.inserted(graph, "{}/{}".format(_SCOPE, use.op.name)), \
                        tf.device(use.op.device or None), \
                        tf.control_dependencies(use.op.control_inputs):
                    _replace(parameters, use.op, tf.constant(
                        value.shape.as_list(), use.op.outputs[0].dtype))
        _note_fetches(graph, parameters, key, units)


def _note_fetches(graph: Any, parameters: Parameters, key: Any, units: Sequence[Unit]) -> None:
    """A run that fetches the variable itself, or a read of it, gets the whole value."""
    value = parameters.begins(key)
    if key.outputs[0].dtype != tf.resource:
        parameters.instead[key.outputs[0].name] = value
    for user in _users(key):
        name = user.outputs[0].name if user.outputs else ""
        if user.type != _READ or user in parameters.own or name in parameters.instead or any(
                user in unit.after for unit in units if key in unit.updates):
            continue
        if user.control_inputs:
            with compat.inserted(graph, "{}/{}".format(_SCOPE, user.name)), \
                    tf.control_dependencies(user.control_inputs):
                parameters.instead[name] = tf.identity(value)
        else:
            parameters.instead[name] = value


def _put_together(graph: Any, parameters: Parameters, keys: Sequence[Any], behind: Behind) -> None:
    for bucket in _buckets(graph, keys):
        name = "{}_{}".format(_SCOPE, len(parameters.exchanges))
        variables = {key: compat.variable_of(graph, key) for key in bucket}
        rank = context_of(graph).cluster.worker_index
        own: Dict[Any, Any] = {}
        with compat.inserted(graph, name):
            begun = tf.no_op("begun")
            for key in bucket:
                with tf.device(key.device or None), tf.control_dependencies([begun]):
                    value = compat.read_variable(variables[key])
                    parameters.own.add(value.op)
                    # How many rows these are does not show: the variable was built with all.
                    own[key] = tf.placeholder_with_default(
                        value, [None] * value.shape.ndims, "any_rows")
            # An element more, so that no worker gives a constant, which would be folded.
            pad = tf.concat([tf.reshape(own[bucket[0]], [-1]),
                             tf.zeros([1], own[bucket[0]].dtype)], 0)[:1]
        whole, collective = all_rows(graph, name, variables, {
            key: own[key] for key in bucket if parameters.rows[key][rank].number},
            parameters.rows, pad)
        parameters.exchanges.append(Exchange(bucket, behind, begun, collective))
        for key in bucket:
            with compat.inserted(graph, "{}/{}".format(name, key.name)), \
                    tf.device(key.device or None):
                parameters.values[key, behind] = tf.identity(whole[key])
            ownership_of(graph).whole.add(parameters.values[key, behind].op)


def _buckets(graph: Any, keys: Sequence[Any]) -> List[List[Any]]:
    """The variables that travel together: of one type, those first that were made first."""
    most = context_of(graph).config.communication.max_splits
    found: List[List[Any]] = []
    variables = {key: compat.variable_of(graph, key) for key in keys}
    for kind in sorted({v.dtype.base_dtype.name for v in variables.values()}):
        some = [key for key in keys if variables[key].dtype.base_dtype.name == kind]
        sizes = [variables[key].shape.num_elements() * variables[key].dtype.base_dtype.size
                 for key in some]
        limit = max(_BUCKET_BYTES, sum(sizes) // most)
        filled = limit
        for key, size in zip(some, sizes):
            if filled >= limit:
                found.append([])
                filled = 0
            found[-1].append(key)
            filled += size
    return found


def all_rows(graph: Any, name: str, variables: Dict[Any, Any], own: Dict[Any, Any],
             rows: Dict[Any, List[Rows]], pad: Any) -> Tuple[Dict[Any, Any], Collective]:
    """Whole values of variables, from the rows that each worker gives.

    Args:
      graph: the graph.
      name: under which the workers meet.
      variables: what stands for each -> the variable.
      own: what stands for one -> what this worker gives of it.
      rows: what stands for one -> the rows of each worker.
      pad: one element that is no constant.

    Returns:
      What stands for a variable -> its value; the exchange.
    """
    context = context_of(graph)
    with compat.inserted(graph, name):
        flat = tf.concat([tf.reshape(own[key], [-1]) for key in variables if key in own] + [pad], 0)
        every, collective = context.connection.all_gather(flat, name, context.workers)
        pieces: List[Tuple[Any, int]] = []
        for rank in range(context.workers.size):
            for key, variable in variables.items():
                each = variable.shape.num_elements() // int(variable.shape[0])
                if rows[key][rank].number:
                    pieces.append((key, rows[key][rank].number * each))
            pieces.append((None, 1))
        parts: Dict[Any, List[Any]] = {}
        for (key, _), piece in zip(pieces, tf.split(every, [size for _, size in pieces])):
            parts.setdefault(key, []).append(piece)
        values = {}
        for key, variable in variables.items():
            value = tf.concat(parts[key], 0) if len(parts[key]) > 1 else parts[key][0]
            values[key] = tf.reshape(value, variable.shape.as_list())
    # How many elements each gives is its own; the record of owners says it.
    return values, collective._replace(shape="[any]")


def order(parameters: Parameters, units: Sequence[Unit], received: Dict[int, Any]) -> None:
    """Rows are read before they are updated, or when they have been.

    Args:
      parameters: those of which each worker holds some rows.
      units: the units of updates, as they were before anything was shared out.
      received: number of a unit -> what runs when it is done.
    """
    begin_behind(parameters, received)
    for exchange in parameters.exchanges:
        for unit in units:
            if number_of(unit.updates) in exchange.behind:
                continue
            writes = {op for key in exchange.keys if key in unit.updates
                      for op in unit.updates[key].writes}
            for op in sorted(writes, key=compat.op_id):
                if all(op in other.after for other in units
                       if number_of(other.updates) in exchange.behind):
                    editor.wait_for(op, [exchange.collective.op])


def begin_behind(parameters: Parameters, received: Dict[int, Any]) -> None:
    """What reads behind updates waits for them, as far as it does not yet."""
    for exchange in parameters.exchanges:
        if not exchange.begun.control_inputs:
            editor.wait_for(exchange.begun,
                            [received[number] for number in sorted(exchange.behind)])
