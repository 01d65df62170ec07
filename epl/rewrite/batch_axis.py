# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Finds how tensors of one clone relate to those of the whole batch (see `relations`)."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from epl.ir import static_shapes
from epl.rewrite import kinds, loops
from epl.rewrite.relations import (
    POSITIONS,
    SAME,
    SHARED,
    UNKNOWN,
    Elements,
    Reduced,
    Rows,
    ShapeOf,
)
from epl.rewrite.row_rules import RULES, drawn, of_static_shape

# What takes the numbers of rows as addresses: has rules of its own.
_ADDRESSES = frozenset(["GatherNd", "TensorArrayGatherV3", "TensorArrayScatterV3"])


class BatchAxes:
    """The relations of a graph's tensors, found when they are asked for.

    Args:
      per_batch: True for operations that depend on the batch.
      axis_of: the axis along which an operation brings rows in; None if it brings none.
      is_backward: True for operations that compute gradients. What they compute is a part of a sum
        over the whole batch, whatever its shape: only what is certain counts there.
      exact: rows that are computed with a statistic of a part of the batch do not count as rows.
    """

    def __init__(self, per_batch: Callable[[Any], bool], axis_of: Callable[[Any], Optional[int]],
                 is_backward: Callable[[Any], bool], exact: bool = False):
        self._per_batch = per_batch
        self._axis_of = axis_of
        self._is_backward = is_backward
        self._exact = exact
        self._found: Dict[Any, Sequence[Any]] = {}

    def of(self, tensor: Any) -> Any:
        """The relation of `tensor`."""
        if tensor.op not in self._found:
            self._find(tensor.op)
        return self._found[tensor.op][tensor.value_index]

    def _find(self, wanted: Any) -> None:
        """Depth first, without recursion; the way back of a loop is looked at last, at its exit."""
        pending = [wanted]
        entered: Set[Any] = set()  # without a relation these are on the way to the last one
        while pending:
            op = pending[-1]
            if op not in entered and op not in self._found:
                entered.add(op)
                pending.extend(b for b in self._behind(op)
                               if b not in self._found and b not in entered)
                continue
            pending.pop()
            if op not in self._found:
                self._found[op] = self._relations(op)

    def _behind(self, op: Any) -> List[Any]:
        """What has to be known before the relations of `op` are."""
        if not self._per_batch(op) or self._axis_of(op) is not None:
            return []
        stands_for = static_shapes.behind(op)
        if stands_for is not None:
            return [stands_for.tensor.op]
        behind = [t.op for t in op.inputs if not loops.closes(t.op)]
        return behind + ([_next_turn(op).op] if _next_turn(op) is not None else [])

    def _relations(self, op: Any) -> Sequence[Any]:
        number = len(op.outputs)
        axis = self._axis_of(op)
        if axis is not None:
            return [Rows(axis) if t.shape.ndims is None or t.shape.ndims > axis else UNKNOWN
                    for t in op.outputs]
        if not self._per_batch(op):
            return [SHARED] * number
        stands_for = static_shapes.behind(op)
        if stands_for is not None:
            inputs = [self._relation(stands_for.tensor)]
            found = [UNKNOWN] if None in inputs else of_static_shape(stands_for.type, inputs[0])
        else:
            inputs = [self._relation(t) for t in op.inputs]
            found = self._by_rule(op, inputs)
        if POSITIONS in inputs and op.type not in _ADDRESSES:
            found = [POSITIONS]
        if (self._exact or self._is_backward(op)) and any(
                r not in (SHARED, SAME) and not isinstance(r, (Rows, ShapeOf)) for r in inputs):
            found = [UNKNOWN]
        # Where it stands says whether it runs at all.
        if any(self._per_batch(c) for c in op.control_inputs):
            found = [UNKNOWN if relation == SAME else relation for relation in found]
        return found if len(found) == number else [found[0]] * number

    def _relation(self, tensor: Any) -> Any:
        return self._found[tensor.op][tensor.value_index] if tensor.op in self._found else None

    def _by_rule(self, op: Any, inputs: List[Any]) -> Sequence[Any]:
        if op.type == "Merge":
            return [_merged([r for t, r in zip(op.inputs, inputs) if not loops.closes(t.op)],
                            any(loops.closes(t.op) for t in op.inputs)), UNKNOWN]
        if None in inputs:
            return [UNKNOWN]
        if _next_turn(op) is not None:
            return [_after_turns(inputs[0], self._relation(_next_turn(op)))]
        if kinds.is_random(op):
            return drawn(op, inputs)
        return RULES[op.type](op, inputs) if op.type in RULES else [UNKNOWN]


def _merged(inputs: List[Any], is_loop: bool) -> Any:
    """What a Merge gives: that of both branches, or of what enters a loop."""
    several = {relation for relation in inputs if relation != SHARED}
    if is_loop or SHARED not in inputs:
        return several.pop() if len(several) == 1 and several != {SAME} else UNKNOWN
    return Reduced("mean") if several == {Reduced("mean")} else UNKNOWN


def _next_turn(op: Any) -> Any:
    """What a loop hands on to its next turn in the place of what `op`, an Exit, gives; or None."""
    if not loops.is_exit(op):
        return None
    merge = op.inputs[0].op.inputs[0].op if op.inputs[0].op.inputs else None
    if merge is None or merge.type not in ("Merge", "RefMerge"):
        return None
    return next((t for t in merge.inputs if loops.closes(t.op)), None)


def _after_turns(before: Any, after: Any) -> Any:
    """What is left of a loop's variable: what it was before, if every turn keeps that."""
    if isinstance(before, Elements) and before.of is None:
        return after
    return before if before == after else UNKNOWN
