# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Shares out state, and with "v2" parameters: in steps, and outside of them."""

from typing import Any, Dict, List, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import RewriteError
from epl.ir import editor
from epl.ir.graph_state import GraphState
from epl.ir.ownership import Rows, ownership_of
from epl.rewrite import gathered, op_traits, restored
from epl.rewrite.gradient_parts import Part, put_together
from epl.rewrite.row_slices import rows_of
from epl.rewrite.walk import ancestors, descendants
from epl.rewrite.zero.exchange import SCOPE, Exchange
from epl.rewrite.zero.owners import Found, find, units_of
from epl.rewrite.zero.record import Shared, Zero

_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])


def share_out(graph: Any, state: GraphState, level: str) -> None:
    """Share out the state of what is trained, and with "v2" that itself, as far as not done yet."""
    zero, found = state.record(Zero), find(graph, state, level)
    units = _hold_parameters(graph, zero, found, level)
    parts = [part for part in zero.parts.values() if not zero.numbers.keys() & set(part.numbers)]
    made: List[Shared] = []
    for unit in found.fresh:
        mine = {key: update for key, update in unit.items() if key in found.rows}
        if mine:
            made.append(Exchange(graph, state, mine, found).build())
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


def _hold_parameters(graph: Any, zero: Zero, found: Found, level: str) -> List[gathered.Unit]:
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
    units = units_of(found.updates.units)
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
    with compat.inserted(graph, SCOPE + "/numbers"):
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
    with compat.inserted(graph, SCOPE + "/nothing"), tf.device(value.device or None):
        nothing = np.zeros([0], value.dtype.base_dtype.as_numpy_dtype)
        return tf.placeholder_with_default(nothing, None, "any_rows")


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
    with compat.inserted(graph, "{}/held/{}".format(SCOPE, key.name)):
        zero.reads[key] = compat.read_variable(variable)
    zero.parameters.own.add(zero.reads[key].op)


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
