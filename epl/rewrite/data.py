# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What follows from the data alone: masks, counts, lengths, not from the model.

A statistic of it, such as how many rows a mask chooses, is known before the model has computed
anything.
"""

from typing import Any, Callable, Iterable, List, Optional, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import static_shapes
from epl.rewrite import loops, op_traits
from epl.rewrite.batch_axis import FORM_ONLY, BatchAxes
from epl.rewrite.lengths import FORMS
from epl.rewrite.partition import StepPartition
from epl.rewrite.relations import LISTED, SAME, SHARED, Reduced, Rows, ShapeOf
from epl.rewrite.rules import mask_of
from epl.rewrite.walk import data_ancestors

COMPARES = frozenset(["Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual"])
# Of places along an axis these make others, each of its own; the rest says how many there are.
_GRIDS = {"BroadcastTo": 0, "Cast": 0, "ExpandDims": 0, "Fill": 1, "Identity": 0,
          "MatrixBandPart": 0, "OneHot": 0, "Reshape": 0, "Tile": 0}
_PLACE_BY_PLACE = COMPARES | frozenset([
    "Add", "AddV2", "ConcatV2", "Cos", "Div", "Exp", "FloorDiv", "FloorMod", "LogicalAnd",
    "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "Neg", "Pack", "Pow", "RealDiv",
    "Select", "SelectV2", "Sin", "Sqrt", "Square", "Sub", "Transpose"])
_ALIKE = (SHARED, SAME)


class Data:
    """What follows from the data alone.

    Args:
      partition: what a step consists of.
      axes: how its tensors relate to the whole batch.
      is_gradient: True for operations that TensorFlow built for gradients.
      losses: what is computed by it, and differentiated.

    Attributes:
      model: the operations per batch that the losses are computed by, loops left out.
      exits: where the losses leave loops.
      conditions: what ends these loops.
    """

    def __init__(self, partition: StepPartition, axes: BatchAxes,
                 is_gradient: Callable[[Any], bool], losses: Iterable[Any]):
        behind = data_ancestors(loss.op for loss in losses)
        self.batch_dependent, self.is_gradient = partition.batch_dependent, is_gradient
        self._partition, self._axes = partition, axes
        self.model = [op for op in partition.ops if op in behind and op in partition.batch_dependent
                      and not is_gradient(op) and op.outputs and op not in partition.loop]
        self.exits = [op for op in partition.ops if op in behind and loops.is_exit(op)
                      and op in partition.batch_dependent and not is_gradient(op)]
        self.conditions = [op for op in partition.ops if op in behind and op.type == "LoopCond"
                           and op in partition.batch_dependent and not is_gradient(op)]
        self._forward = set(self.model)
        self._learned: Set[Any] = set()
        self._varying = set(partition.sources)  # what is not the same for all parts
        self._values = set(partition.sources)  # and not only by its number of rows
        for op in partition.ops:
            if any(t.op in self._varying for t in op.inputs) or static_shapes.behind(op):
                self._varying.add(op)
            if op.type not in FORM_ONLY and any(t.op in self._values for t in op.inputs):
                self._values.add(op)
            if self._starts_learning(op) or (op.type not in FORM_ONLY and any(
                    t.op in self._learned for t in op.inputs)):
                self._learned.add(op)

    def _starts_learning(self, op: Any) -> bool:
        return op_traits.is_variable(op) or op_traits.is_random(op) or self.is_gradient(op) or (
            op in self._partition.loop or op in self._partition.conditional)

    def is_alike(self, tensor: Any) -> bool:
        """True for what is equal in every part of the batch."""
        return self._axes.of(tensor) in _ALIKE or (
            tensor.op not in self._varying and tensor.op not in self._learned)

    def is_learned(self, tensor: Any) -> bool:
        """True for what depends on the model's variables, say."""
        return tensor.op in self._learned

    def is_fed(self, tensor: Any) -> bool:
        """True for what is the same for all parts and follows from what is fed."""
        return self.is_alike(tensor) and not self.is_learned(tensor) \
            and tensor.op not in self.batch_dependent \
            and any(map(op_traits.can_be_fed, data_ancestors([tensor.op])))

    def is_of_shapes(self, tensor: Any) -> bool:
        """True for what only numbers of rows decide."""
        return not self.is_alike(tensor) and tensor.op not in self._values \
            and tensor.op not in self._learned

    def is_statistic(self, tensor: Any) -> bool:
        """True for what follows from the data alone and holds no rows."""
        if tensor.op in self._learned or tensor.op not in self.batch_dependent:
            return False
        relation = self._axes.of(tensor)
        if isinstance(relation, (Rows, ShapeOf)) or self.is_alike(tensor):
            return False
        if isinstance(relation, Reduced) or tensor.shape.ndims == 0:
            return True
        return all(self.is_alike(t) or self.is_statistic(t) for t in tensor.op.inputs)

    def is_grid(self, tensor: Any) -> bool:
        """True if parts differ in how long `tensor` is alone: the places along an axis, a mask."""
        pending, seen = [tensor], set()
        while pending:
            value = pending.pop()
            op = value.op
            if value.name in seen or self.is_alike(value) or op.type in ("OnesLike", "ZerosLike"):
                continue
            seen.add(value.name)
            if op.type == "Range":
                pending.extend([op.inputs[0], op.inputs[2]])
            elif op.type in _GRIDS:
                pending.append(op.inputs[_GRIDS[op.type]])
            elif op.type == "StridedSlice" and _goes_forward(op):
                pending.append(op.inputs[0])
            elif op.type in _PLACE_BY_PLACE and value.shape.ndims != 0:
                pending.extend(op.inputs)
            else:
                return False
        return True

    def is_of_lengths(self, tensor: Any) -> bool:
        """True if `tensor` has an axis that is as long as the data says, or says how long one is.

        Another number in its place would not go with what else is that long.
        """
        if not tensor.shape.is_fully_defined() and any(
                op.inputs[n].op in self._values for op in data_ancestors([tensor.op])
                for n in FORMS.get(op.type, ()) if n < len(op.inputs)):
            return True
        pending, seen = [tensor], set()
        while pending:
            value = pending.pop()
            for user in value.consumers() if value.name not in seen else ():
                if value.name in [user.inputs[n].name for n in FORMS.get(user.type, ())
                                  if n < len(user.inputs)]:
                    return True
                if user in self._forward and not user.outputs[0].dtype.is_floating:
                    pending.extend(t for t in user.outputs if self.is_statistic(t))
            seen.add(value.name)
        return False

    def can_come_first(self, tensor: Any) -> bool:
        """True if `tensor` can be computed before the model is."""
        behind = self.behind(tensor)
        return all(form is not None for _, form in self.forms(behind)) and all(
            self.counted(op) is not None for op in behind if static_shapes.behind(op))

    def counted(self, constant: Any) -> Optional[static_shapes.StaticShape]:
        """What stands for the shape of something (see `ir.static_shapes`), of the data alone.

        None if nothing of the data is known to have that shape.
        """
        found = static_shapes.behind(constant)
        if found is None or found.tensor.op not in self._learned:
            return found
        relation = self._axes.of(found.tensor)
        for op in self._partition.ops if isinstance(relation, Rows) else ():
            for other in op.outputs if op in self._values and op not in self._learned else ():
                if self._axes.of(other) == relation and _same_form(other, found.tensor) and (
                        found.type != "ZerosLike" or other.dtype == found.tensor.dtype):
                    return found._replace(tensor=other)
        return None

    def behind(self, tensor: Any) -> List[Any]:
        """The operations per batch that `tensor` is computed by, in the order of creation.

        And those that constants stand for the shapes of.
        """
        found: Set[Any] = set()
        pending = [tensor.op]
        while pending:
            op = pending.pop()
            if op in self.batch_dependent and op not in found:
                found.add(op)
                if not self._looks_at_model(op):
                    pending.extend(t.op for t in op.inputs)
                counted = self.counted(op)
                if counted is not None:
                    pending.append(counted.tensor.op)
        return sorted(found, key=compat.op_id)

    def _looks_at_model(self, op: Any) -> bool:
        return op.type in FORM_ONLY and op.inputs[0].op in self._learned

    def forms(self, ops: Iterable[Any]) -> List[Any]:
        """(tensor of the model of which one of `ops` looks at the form, what has it or None)."""
        return [(op.inputs[0], self._form(op)) for op in ops if self._looks_at_model(op)]

    def _form(self, op: Any) -> Optional[Any]:
        """A tensor of the data that has the form which `op` looks at, that of a learned one.

        In `weights * ones_like(errors)`, where both hold rows and nothing is known of their other
        axes but what is the same, it is that of the weights.
        """
        filled = [op]
        if op.type == "Shape":
            filled = op.outputs[0].consumers()
        if any(f.type not in ("Fill", "OnesLike", "ZerosLike") for f in filled):
            return None
        for user in (user for f in filled for user in f.outputs[0].consumers()):
            for other in user.inputs:
                if other.op not in filled and self._has_form(other, op.inputs[0]):
                    return other
        return None

    def _has_form(self, tensor: Any, learned: Any) -> bool:
        """True for one of the data that has rows and other axes like a learned one."""
        relation = self._axes.of(tensor)
        mask = mask_of(tensor, self._axes.of) if relation == LISTED else None
        alike = relation == self._axes.of(learned) and (isinstance(relation, Rows) or (
            mask is not None and mask is mask_of(learned, self._axes.of)))
        return (alike and tensor.op not in self._learned and tensor.dtype == learned.dtype
                and _same_form(tensor, learned))


def _goes_forward(op: Any) -> bool:
    """True for a slice whose places are counted from the beginning of each axis."""
    begin, strides = (tf.get_static_value(t) for t in (op.inputs[1], op.inputs[3]))
    return begin is not None and strides is not None and min(begin) >= 0 and min(strides) > 0


def _same_form(one: Any, other: Any) -> bool:
    """True for equal static shapes; of dimensions that are unknown in both one may be."""
    if one.shape.ndims is None or one.shape.ndims != other.shape.ndims:
        return False
    first, second = one.shape.as_list(), other.shape.as_list()
    return first == second and first.count(None) <= 1
