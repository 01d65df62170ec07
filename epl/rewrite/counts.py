# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers that count rows of a part, or those of its rows that a mask chooses."""

from typing import Any, Dict, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from epl.rewrite import rules
from epl.rewrite.batch_axis import FORM_ONLY, BatchAxes
from epl.rewrite.data import Data
from epl.rewrite.relations import LISTED, Reduced, Rows, ShapeOf
from epl.rewrite.weights import Rows as RowsOf

# Of the same elements, perhaps in another form.
KEEPS_ELEMENTS = frozenset(["Cast", "ExpandDims", "Identity", "Reshape", "Squeeze"])
DIVIDES = ("Div", "DivNoNan", "RealDiv")
ADDS_UP = frozenset(["Einsum", "L2Loss", "MatMul", "Sum", "UnsortedSegmentSum"])
_SUM = Reduced("sum")


class Counts:
    """What numbers of a step count.

    Args:
      axes: how tensors relate to the whole batch.
      data: what follows from the data alone.
    """

    def __init__(self, axes: BatchAxes, data: Data):
        self._axes, self._data = axes, data

    def rows_of(self, tensor: Any) -> Optional[RowsOf]:
        """The rows that `tensor` holds, or chooses some of; None if it does neither."""
        if isinstance(self._axes.of(tensor), Rows):
            return RowsOf(tensor, self._axes.of(tensor).axis)
        mask = self.mask_of(tensor)
        if mask is None or not isinstance(self._axes.of(mask), Rows):
            return None
        return RowsOf(mask, 0)

    def mask_of(self, tensor: Any) -> Optional[Any]:
        """What chooses the rows that `tensor` holds, of all of a part."""
        return rules.mask_of(tensor, self._axes.of) if self._axes.of(tensor) == LISTED else None

    def is_data(self, mask: Optional[Any]) -> bool:
        """True for a mask of the data alone."""
        return mask is not None and not self._data.is_learned(mask) \
            and self._data.can_come_first(mask)

    def is_mean_of_chosen(self, op: Any) -> bool:
        """True for the mean over all rows that a mask of the data chooses."""
        return op.type == "Mean" and rules.takes_first(op) and self.is_data(
            self.mask_of(op.inputs[0]))

    def adds_up(self, tensor: Any, mask: Any) -> bool:
        """True for a sum of rows that `mask` chooses: 0 where it chooses none."""
        op = tensor.op
        while op.type in KEEPS_ELEMENTS or (
                op.type == "Sum" and self._axes.of(op.inputs[0]) == _SUM):
            op = op.inputs[0].op
        return op.type in ADDS_UP and self._axes.of(op.outputs[0]) == _SUM \
            and self.mask_of(op.inputs[0]) is mask

    def chosen_by(self, number: Any) -> Optional[Any]:
        """The mask of the data that chooses the rows of which `number` is a multiple."""
        counted = self._counted(number) if self._data.is_of_shapes(number) else {}
        masks = list(counted.values())
        inner = at_least_one(number)
        bare = number if inner is None else inner
        is_number = self._axes.of(bare) == _SUM or _is_first_size(bare)
        return masks[0] if is_number and len(masks) == 1 and self.is_data(masks[0]) else None

    def _counted(self, number: Any) -> Dict[str, Any]:
        """The masks that choose what is counted, by name; None for what has no mask.

        Args:
          number: of shapes alone.
        """
        pending, seen, found = [number], set(), {}
        while pending:
            value = pending.pop()
            if value.name in seen or self._data.is_alike(value):
                continue
            seen.add(value.name)
            if value.op.type in FORM_ONLY:
                mask = self.mask_of(value.op.inputs[0])
                found["" if mask is None else mask.name] = mask
            else:
                pending.extend(value.op.inputs)
        return found

    def is_count(self, tensor: Any) -> bool:
        """True for a number of rows, or of their elements, that follows from shapes alone."""
        while tensor.op.type in ("Cast", "Identity") or (
                tensor.op.type in ("Maximum", "Mul") and self._data.is_alike(tensor.op.inputs[1])):
            tensor = tensor.op.inputs[0]
        if tensor.op.type == "Prod":
            return isinstance(self._axes.of(tensor.op.inputs[0]), ShapeOf)
        return self._data.is_of_shapes(tensor) and not any(self._counted(tensor)) and (
            self._axes.of(tensor) == _SUM or self._power(tensor) == 1)

    def is_part_of_count(self, tensor: Any) -> bool:
        """True for a number by the number of rows."""
        return tensor.op.type in DIVIDES and self._data.is_alike(tensor.op.inputs[0]) \
            and tensor.shape.ndims == 0 and self.is_count(tensor.op.inputs[1])

    def _power(self, tensor: Any) -> Optional[int]:
        """The power of the number of rows to which `tensor`, of shapes alone, is proportional.

        None if that is not known. Of a tensor with many elements it is that of each.
        """
        op = tensor.op
        if self._data.is_alike(tensor):
            return 0
        if self._axes.of(tensor) == _SUM:
            return 1
        if isinstance(self._axes.of(tensor), ShapeOf):
            return 1 if tensor.shape.num_elements() == 1 else None
        if op.type in KEEPS_ELEMENTS:
            return self._power(op.inputs[0])
        if op.type == "Fill":
            return self._power(op.inputs[1])
        if op.type == "Sum" and tensor.shape.ndims == 0:
            return _added(self._power(op.inputs[0]), self._power_of_size(op.inputs[0]))
        if op.type == "Mul":
            return _added(*map(self._power, op.inputs))
        if op.type in DIVIDES:
            above, below = map(self._power, op.inputs)
            return _added(above, None if below is None else -below)
        if op.type in ("Select", "SelectV2") and self._data.is_alike(op.inputs[0]):
            powers = {self._power(t) for t in op.inputs[1:] if not _is_zero(t)}
            return powers.pop() if len(powers) == 1 else None
        return None

    def _power_of_size(self, tensor: Any) -> Optional[int]:
        """The same of the number of elements of a tensor."""
        if tensor.op.type == "Fill" and tensor.shape.ndims == 1:
            return self._power(tensor.op.inputs[0])
        if tensor.op.type in ("Mul",) + DIVIDES:
            sizes = {self._power_of_size(t) for t in tensor.op.inputs if t.shape.ndims != 0}
            return sizes.pop() if len(sizes) == 1 else None
        return None


def at_least_one(tensor: Any) -> Optional[Any]:
    """x of `tf.maximum(x, 1)`; None of anything else."""
    op = tensor.op
    while op.type in ("Cast", "Identity"):
        op = op.inputs[0].op
    least = tf.get_static_value(op.inputs[1]) if op.type == "Maximum" else None
    return op.inputs[0] if least is not None and np.all(least <= 1) else None


def _added(*powers: Optional[int]) -> Optional[int]:
    return None if None in powers else sum(power for power in powers if power is not None)


def _is_first_size(tensor: Any) -> bool:
    """True for `tf.shape(x)[0]`."""
    op = tensor.op
    while op.type in ("Cast", "Identity"):
        op = op.inputs[0].op
    return op.type == "StridedSlice" and op.inputs[0].op.type == "Shape" \
        and op.outputs[0].shape.ndims == 0 and _is_zero(op.inputs[1])


def _is_zero(tensor: Any) -> bool:
    value = tf.get_static_value(tensor)
    return value is not None and not np.any(value)
