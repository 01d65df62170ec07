# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Bring the chief's variables to all workers.

A variable that groups of workers hold apart (see `ir.ownership`) comes from the first of each; of
one that is shared out each worker gets its rows (`held_state`).
Values are read and assigned through what every variable brings along, its read and its initializer,
so that no operation is added: it works on finalized graphs and for variables made at any time.
"""

from typing import Any, Dict, Iterator, List

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Group
from epl.ir.environment import context_of
from epl.ir.ownership import divided_variables, ownership_of
from epl.runtime import control_plane, held_state, requests

_CHUNK_BYTES = 64 << 20
_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])


def broadcast_variables(session: Any) -> None:
    """Give all global variables of `session`'s graph the values of those they come from.

    What is not initialized there is left alone. Every worker has to call this.
    """
    if context_of(session.graph).teams is not None:
        return _broadcast_to_teams(session)
    ownership, divided = ownership_of(session.graph), divided_variables(session.graph)
    apart = {v.name for v in divided}.union(key.name + ":0" for key in ownership.shared_out)
    _broadcast(session, [v for v in compat.global_variables(session.graph)
                         if v.name not in apart])
    for variable in divided:
        _broadcast_in_groups(session, variable, ownership.group(compat.variable_key(variable)))
    held_state.distribute(session, assign)


def _broadcast(session: Any, variables: List[Any]) -> None:
    context = context_of(session.graph).of_process
    plane = control_plane.of(context)
    if context.cluster.is_chief:
        for chunk in _chunks(session, variables):
            plane.broadcast_object(chunk)
        plane.broadcast_object(None)
        return
    by_name = {v.name: v for v in variables}
    while True:
        values = plane.broadcast_object(None)
        if values is None:
            return
        assign(session, {by_name[name]: value for name, value in values})


def _broadcast_to_teams(session: Any) -> None:
    """Where workers hold replicas together: from the chief's session to those of other leaders."""
    context = context_of(session.graph)
    if context.cluster.worker_num == 1:
        return  # there is one session
    leaders = requests.leaders_of(context)
    own = context.of_process.cluster.worker_index
    if own == leaders[own]:
        with requests.inside():
            _broadcast(session, compat.global_variables(session.graph))
    else:
        plane = control_plane.of(context)
        while plane.broadcast_object(None) is not None:
            pass  # its leader has taken it


def _broadcast_in_groups(session: Any, variable: Any, group: Group) -> None:
    context = context_of(session.graph)
    first = group.ranks[0]
    own = _value(session, variable) if context.cluster.worker_index == first else []
    of_first = control_plane.of(context).all_gather_object(own)[first]
    if of_first:  # it is initialized there
        assign(session, {variable: of_first[0][1]})


def _chunks(session: Any, variables: List[Any]) -> Iterator[List[Any]]:
    """Lists of (name, value) of the initialized variables, about `_CHUNK_BYTES` each."""
    chunk: List[Any] = []
    size = 0
    for variable in variables:
        chunk.append(variable)
        size += (variable.shape.num_elements() or 1) * variable.dtype.size
        if size >= _CHUNK_BYTES:
            yield _values(session, chunk)
            chunk, size = [], 0
    yield _values(session, chunk)


def _values(session: Any, variables: List[Any]) -> List[Any]:
    try:
        return [(v.name, value) for v, value in zip(variables, session.run(variables))]
    except tf.errors.FailedPreconditionError:  # some are not initialized
        return [pair for v in variables for pair in _value(session, v)]


def _value(session: Any, variable: Any) -> List[Any]:
    try:
        return [(variable.name, session.run(variable))]
    except tf.errors.FailedPreconditionError:
        return []


def assign(session: Any, values: Dict[Any, Any]) -> None:
    """Assign by running initializers with the value fed.

    Two variables may share one initial value; they are assigned in different runs.
    """
    pending = [(_assignment(variable), value) for variable, value in values.items()]
    while pending:
        feeds: Dict[str, Any] = {}
        now: List[Any] = []
        later: List[Any] = []
        for op, value in pending:
            if op.inputs[1].name in feeds:
                later.append((op, value))
            else:
                feeds[op.inputs[1].name] = value
                now.append(op)
        session.run(now, feed_dict=feeds)
        pending = later


def _assignment(variable: Any) -> Any:
    """An operation that assigns its second input to `variable`."""
    initializer = variable.initializer
    op = initializer if isinstance(initializer, tf.Operation) else initializer.op
    if op.type in _ASSIGNMENTS:
        return op
    for tensor in compat.variable_key(variable).outputs:
        for consumer in tensor.consumers():
            if consumer.type in _ASSIGNMENTS and consumer.inputs[0] is tensor:
                return consumer
    raise NotImplementedError(
        "variable '{}' has no operation that assigns it a value, so the chief's cannot be brought "
        "to the other workers; create it with tf.get_variable".format(variable.name))
