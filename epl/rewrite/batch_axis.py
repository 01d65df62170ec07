# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Finds how tensors of one clone relate to those of the whole batch (see `relations`)."""

from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
)

from epl import compat
from epl.ir import static_shapes
from epl.rewrite import loops, op_traits
from epl.rewrite.relations import (
    POSITIONS,
    SAME,
    SHARED,
    UNKNOWN,
    Elements,
    Reduced,
    Row,
    Rows,
    ShapeOf,
)
from epl.rewrite.rules import (
    RULES,
    drawn,
    joins_rows,
    of_entries,
    of_row,
    of_static_shape,
    stacks_rows,
)
from epl.rewrite.walk import data_ancestors, decisions

# What takes the numbers of rows as addresses: has rules of its own.
_ADDRESSES = frozenset(["GatherNd", "TensorArrayGatherV3", "TensorArrayScatterV3"])

# Which of their inputs come at all, or come again, is looked at by rules of its own.
_ROUTES = frozenset(["Enter", "Exit", "Merge", "NextIteration", "RefSwitch", "Switch"])

# What depends on the form of its input alone.
FORM_ONLY = frozenset(["OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])

# What makes numbers that normalise rows of their means: mean, variance, 1 / deviation, scaled.
_OF_MOMENTS = frozenset([
    "Add", "AddN", "AddV2", "BroadcastTo", "Cast", "ClipByValue", "Div", "DivNoNan", "Enter",
    "ExpandDims", "Identity", "Maximum", "Merge", "Minimum", "Mul", "Neg", "Pow", "RealDiv",
    "Reciprocal", "Reshape", "Rsqrt", "Select", "SelectV2", "Sqrt", "Square", "SquaredDifference",
    "Squeeze", "StopGradient", "Sub", "Switch"])
_OF_DEVIATIONS = frozenset(["Pow", "Reciprocal", "Rsqrt", "Sqrt"])


class _Origin(NamedTuple):
    """What a tensor follows from, shapes aside.

    Attributes:
      data: rows, or their number.
      model: variables.
    """

    data: bool
    model: bool


class BatchAxes:
    """The relations of a graph's tensors, found when they are asked for.

    Rows that are computed with numbers of their part of the batch are rows as long as these are
    means of what the model makes of the batch, and follow from such means: batch normalisation.

    Args:
      batch_dependent: True for operations that depend on the batch.
      axis_of: the axis along which an operation brings rows in; None if it brings none.
      is_backward: True for operations that compute gradients. What they compute is a part of a sum
        over the whole batch, whatever its shape: only what is certain counts there.
      exact: rows that are computed with numbers of a part do not count as rows at all.
      mixed: they do count, whatever the numbers.
      sources: the operations that bring rows in, as far as they are known beforehand.
      like: name of a tensor -> the one whose relation it has, whatever computes it.
    """

    def __init__(self, batch_dependent: Callable[[Any], bool],
                 axis_of: Callable[[Any], Optional[int]],
                 is_backward: Callable[[Any], bool], exact: bool = False, mixed: bool = False,
                 sources: Iterable[Any] = (), like: Optional[Mapping[str, Any]] = None):
        self._batch_dependent = batch_dependent
        self._like = like or {}
        self._axis_of = axis_of
        self._is_backward = is_backward
        self._exact, self._mixed = exact, mixed
        self._found: Dict[Any, Sequence[Any]] = {}
        self._origins: Dict[Any, _Origin] = {}
        self._sizes: Set[int] = set()  # known numbers of rows of parts
        for op in sources:
            self._note_sizes(op)

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
        if not self._batch_dependent(op) or self._axis_of(op) is not None:
            return []
        stands_for = static_shapes.behind(op)
        if stands_for is not None:
            return [stands_for.tensor.op]
        behind = [t.op for t in op.inputs if not loops.closes(t.op)]
        behind += [self._like[t.name].op for t in op.outputs if t.name in self._like]
        return behind + self._guards(op) + [tensor.op for tensor in loops.handed_on(op)]

    def _relations(self, op: Any) -> Sequence[Any]:
        number = len(op.outputs)
        axis = self._axis_of(op)
        if axis is not None:
            self._note_sizes(op)
            return [Rows(axis) if t.shape.ndims is None or t.shape.ndims > axis else UNKNOWN
                    for t in op.outputs]
        if not self._batch_dependent(op):
            return [SHARED] * number
        stands_for = static_shapes.behind(op)
        if stands_for is not None:
            inputs = [self._relation(stands_for.tensor)]
            found = [UNKNOWN] if None in inputs else of_static_shape(stands_for.type, inputs[0])
        else:
            inputs = [self._relation(t) for t in op.inputs]
            found = self._by_rule(op, inputs)
            if joins_rows(op, inputs, self._sizes) or stacks_rows(op, inputs, self._sizes):
                found = [Rows(0)]
        if POSITIONS in inputs and op.type not in _ADDRESSES:
            found = [POSITIONS]
        if not self._mixed and isinstance(found[0], Rows) and any(
                not self._normalises(t) for t in self.beside_rows(op)):
            found = [UNKNOWN]
        if found[0] not in (UNKNOWN, SAME) and loops.handed_on(op) and not (
                self._is_kept(op) and (self._mixed or self._mixing(op) is None)):
            found = [UNKNOWN]
        if (self._exact or self._is_backward(op)) and any(
                r not in (SHARED, SAME) and not isinstance(r, (Rows, ShapeOf)) for r in inputs):
            found = [UNKNOWN]
        if SAME in found and self._guards(op):  # where it stands says whether it runs at all
            guards = {self._relation(c.outputs[0]) for c in self._guards(op)}
            guard = guards.pop() if len(guards) == 1 else None
            found = [(guard if isinstance(guard, Row) else UNKNOWN) if relation == SAME
                     else relation for relation in found]
        found = found if len(found) == number else [found[0]] * number
        return [self._relation(self._like[t.name]) if t.name in self._like else relation
                for t, relation in zip(op.outputs, found)]

    def _note_sizes(self, op: Any) -> None:
        axis = self._axis_of(op)
        if axis is not None:
            self._sizes.update(t.shape.as_list()[axis] for t in op.outputs if t.shape.ndims
                               is not None and t.shape.ndims > axis and t.shape.as_list()[axis])

    def _guards(self, op: Any) -> List[Any]:
        """What says whether a branch runs that `op` stands in, if that depends on the batch."""
        context = compat.control_flow_context(op)
        if context is None or not context.IsCondContext():
            return []
        return [c for c in op.control_inputs if self._batch_dependent(c) and c.outputs]

    def beside_rows(self, op: Any) -> List[Any]:
        """The inputs of `op`, which gives rows, that are numbers of a part of the batch."""
        if op.type in _ROUTES or compat.in_loop(op):  # of a state nothing is known before its end
            return []
        relations = [(t, self._relation(t)) for t in op.inputs]
        return [t for t, r in relations if (r == UNKNOWN or isinstance(r, Reduced))
                and self._origin(t.op).data]

    def mixing(self, op: Any) -> Optional[Any]:
        """What computes rows with numbers of a part in the loop that `op` is an Exit of; or None.

        None for all other operations.
        """
        self.of(op.outputs[0])
        return self._mixing(op)

    def _mixing(self, op: Any) -> Optional[Any]:
        for inside in self._inside(op):
            if isinstance(self._found[inside][0], Rows) and inside.type not in _ROUTES and any(
                    self._is_number(t) for t in inside.inputs):
                return inside
        return None

    def _is_kept(self, op: Any) -> bool:
        """True if the variables of a loop that an Exit depends on stay what they are at first."""
        for merge in self._inside(op):
            before = self._found[merge][0]
            after = [self._relation(t.op.inputs[0]) for t in merge.inputs if loops.closes(t.op)]
            begins = before in (SHARED, SAME, UNKNOWN) or before == Elements(None)
            if after and not begins and after != [before]:
                return False
        return True

    def _inside(self, op: Any) -> List[Any]:
        """The operations of a loop that a variable follows from in any turn, by its Exit."""
        merge = op.inputs[0].op.inputs[0].op if loops.handed_on(op) else None
        return [] if merge is None else [
            inside for inside in loops.turn_of(merge) if inside in self._found and inside.outputs]

    def _is_number(self, tensor: Any) -> bool:
        """True for what follows from a part of the batch, in a loop, and holds no rows."""
        pending, seen = [tensor], set()
        while pending:
            value = pending.pop()
            relation = self._relation(value)
            if value.name in seen:
                continue
            seen.add(value.name)
            of_rows = value.op.type != "Merge" and any(
                isinstance(self._relation(t), Rows) for t in value.op.inputs)
            if isinstance(relation, Reduced) or (relation == UNKNOWN and of_rows):
                return not self._normalises(tensor)
            if relation in (UNKNOWN, None):
                pending.extend(list(value.op.inputs)[:1 if loops.ends_turn(value.op) else None])
        return False

    def is_of_data(self, tensor: Any) -> bool:
        """True for what rows, or their number, have a share in."""
        self.of(tensor)
        return self._origin(tensor.op).data

    def normalises(self, tensor: Any) -> bool:
        """True for what follows from means of what the model makes of a part of the batch."""
        self.of(tensor)
        return self._normalises(tensor)

    def scales(self, tensor: Any) -> bool:
        """True for what `normalises`, if it is made of a deviation, not of a mean alone."""
        return self.normalises(tensor) and self._is_scale(tensor)

    def _is_scale(self, tensor: Any) -> bool:
        pending, seen = [tensor.op], set()
        while pending:
            op = pending.pop()
            if op in seen or isinstance(self.of(op.outputs[0]), Rows):
                continue
            seen.add(op)
            if op.type in _OF_DEVIATIONS and self._origin(op).data:
                return True
            pending.extend(t.op for t in op.inputs if self._batch_dependent(t.op))
        return False

    def _normalises(self, tensor: Any) -> bool:
        pending, seen = [tensor], set()
        while pending:
            tensor = pending.pop()
            relation = self._relation(tensor)
            if relation == UNKNOWN and any(loops.closes(t.op) for t in tensor.op.inputs):
                return False  # a loop keeps it
            origin = self._origin(tensor.op)
            if tensor.name in seen or not origin.data or relation in (SHARED, SAME):
                continue
            seen.add(tensor.name)
            if relation == Reduced("mean") and origin.model:
                continue
            if relation != UNKNOWN or not origin.model or tensor.op.type not in _OF_MOMENTS:
                return False
            pending.extend(t for t in tensor.op.inputs if not loops.closes(t.op))
        return True

    def _origin(self, op: Any) -> _Origin:
        """What the values of `op` follow from; of one whose relation is known."""
        found = self._origins.get(op)
        return self._find_origin(op) if found is None else found

    def _find_origin(self, wanted: Any) -> _Origin:
        pending = [wanted]
        entered: Set[Any] = set()
        while pending:
            op = pending[-1]
            behind = self._origins_behind(op)
            missing = [b for b in behind if b not in self._origins and b not in entered]
            if op not in entered and missing and op not in self._origins:
                entered.add(op)
                pending.extend(missing)
                continue
            pending.pop()
            self._origins.setdefault(op, self._origin_by(op, behind))
        return self._origins[wanted]

    def _origins_behind(self, op: Any) -> List[Any]:
        if not self._batch_dependent(op) or self._axis_of(op) is not None:
            return []
        if any(loops.closes(t.op) for t in op.inputs):
            return [inside for inside in loops.turn_of(op, FORM_ONLY) if loops.is_enter(inside)]
        decided = [tensor.op for tensor in decisions(op)]
        return [t.op for t in list(op.inputs)[:1 if loops.ends_turn(op) else None]] + decided

    def _origin_by(self, op: Any, behind: List[Any]) -> _Origin:
        if not self._batch_dependent(op):
            return _Origin(False, any(map(op_traits.is_variable, data_ancestors([op]))))
        if op_traits.is_random(op):
            return _Origin(False, True)
        if op.type in FORM_ONLY or static_shapes.behind(op):
            return _Origin(any(r not in (SHARED, SAME) for r in self._found.get(op, ())), False)
        if self._axis_of(op) is not None or op_traits.brings_data(op):
            return _Origin(True, False)
        known = [self._origins[b] for b in behind if b in self._origins]
        return _Origin(any(o.data for o in known), any(o.model for o in known))

    def _relation(self, tensor: Any) -> Any:
        return self._found[tensor.op][tensor.value_index] if tensor.op in self._found else None

    def _by_rule(self, op: Any, inputs: List[Any]) -> Sequence[Any]:
        if self._begins_alike(op, inputs):
            return [Rows(0), UNKNOWN]
        if op.type == "Merge":
            return [_merged([r for t, r in zip(op.inputs, inputs) if not loops.closes(t.op)],
                            any(loops.closes(t.op) for t in op.inputs)), UNKNOWN]
        if None in inputs:
            return [UNKNOWN]
        if _next_turn(op) is not None:
            return [_after_turns(inputs[0], self._relation(_next_turn(op)))]
        if op_traits.is_random(op):
            return drawn(op, inputs)
        row = of_row(op, inputs)
        if row is not None:
            return [row] * len(op.outputs)
        entries = of_entries(op, inputs)
        if entries is not None:
            return entries
        if inputs and op.type not in _ROUTES and not op_traits.starts_batch(op) and all(
                relation in (SHARED, SAME) for relation in inputs):
            return [SAME] * len(op.outputs)
        return RULES[op.type](op, inputs) if op.type in RULES else [UNKNOWN]


    def _begins_alike(self, op: Any, inputs: List[Any]) -> bool:
        """True for a loop's variable that begins with as many equal rows as a part has.

        A state of zeros, say, for a batch of known size. If the loop makes something else of it
        than rows, that is seen at its end.
        """
        entering = [(t, r) for t, r in zip(op.inputs, inputs) if not loops.closes(t.op)]
        return op.type == "Merge" and len(entering) < len(inputs) and all(
            r in (SHARED, SAME) and t.shape.ndims and t.shape.as_list()[0] in self._sizes
            for t, r in entering)


def _merged(inputs: List[Any], is_loop: bool) -> Any:
    """What a Merge gives: that of both branches, or of what enters a loop."""
    several = {relation for relation in inputs if relation != SHARED}
    rows = {relation for relation in several if isinstance(relation, Row)}
    if not is_loop and len(rows) == 1 and several <= rows | {SAME}:
        return rows.pop()
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
