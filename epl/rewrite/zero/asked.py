# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run asks for, where each worker holds a part."""

from typing import Any, List, Optional, Sequence, Tuple

from epl import compat
from epl.ir.graph_state import GraphState
from epl.rewrite import gathered
from epl.rewrite.walk import ancestors
from epl.rewrite.zero.record import Shared, Zero


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
