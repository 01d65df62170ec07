# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who holds which rows of what."""

import collections
from typing import Any, Dict, Iterable, List, NamedTuple, Set

from epl import compat
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.ir.ownership import Rows, ownership_of
from epl.rewrite import gathered
from epl.rewrite.gathered import can_be_held
from epl.rewrite.gradient_parts import Part, part_of
from epl.rewrite.groups import groups_of
from epl.rewrite.place import balance_by_size
from epl.rewrite.row_slices import Sliceable, aligned_rows, sliceable
from epl.rewrite.updates import Unit, Updates
from epl.rewrite.walk import descendants
from epl.rewrite.zero.record import Zero

# A variable is divided if its state is more than this share of what a worker is to hold.
_LARGE = 0.04


class Found(NamedTuple):
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
        if divided(self.rows[key]):
            return {op for each in self.cuts[key] for op in each.ops}
        return {op for unit in self.fresh if key in unit for op in unit[key].inside}


def find(graph: Any, state: GraphState, level: str) -> Found:
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
    return Found(updates, fresh, cuts, rows, parameters)


def _to_hold(updates: Updates) -> Set[Any]:
    """What stands for the variables that can be shared out themselves."""
    units = units_of(updates.units)
    return {key for key in updates.closed if can_be_held(key, units)}


def units_of(units: Iterable[Unit]) -> List[gathered.Unit]:
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
    zero, found = state.record(Zero), find(graph, state, level)
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


def divided(rows: Iterable[Rows]) -> bool:
    return sum(1 for each in rows if each.number) > 1


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
