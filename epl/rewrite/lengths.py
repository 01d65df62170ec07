# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Axes that are as long as the rows of a part say, and what takes them in.

    x[:, :tf.reduce_max(n)]    tf.sequence_mask(n)    tf.one_hot(n, 1 + tf.reduce_max(n))

Every part of a batch cuts or pads to its own longest row there; one device has the longest of all.
A mean over such an axis comes out otherwise if parts have other lengths, and so does whatever takes
it in without asking each row where it ends.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import loops, op_traits
from epl.rewrite.batch_axis import FORM_ONLY, BatchAxes
from epl.rewrite.partition import StepPartition
from epl.rewrite.relations import Rows

# Which of their inputs say how long an axis of what they give is.
FORMS = {"BroadcastTo": [1], "Fill": [0], "LinSpace": [2], "MirrorPad": [1], "OneHot": [1],
          "Pad": [1], "PadV2": [1], "RandomStandardNormal": [0], "RandomUniform": [0],
          "Range": [0, 1, 2], "Reshape": [1], "ScatterNd": [2], "Slice": [1, 2],
          "SparseToDense": [1], "StridedSlice": [1, 2], "Tile": [1], "TruncatedNormal": [0],
          "UnsortedSegmentMax": [2], "UnsortedSegmentSum": [2]}

# Python says how long it is.
_PYTHON = frozenset(["EagerPyFunc", "PyFunc", "PyFuncStateless"])

# These ask each row, or each of its places, for a number of its own.
_COMPARES = frozenset(["Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual", "Sign"])
# And these, if they take rows of the data beside others.
_JOINS = frozenset(["CTCLoss", "CTCLossV2", "GatherNd", "GatherV2", "Mul", "MulNoNan",
                    "ReverseSequence", "Select", "SelectV2"])

_REDUCES = frozenset(["All", "Any", "ArgMax", "ArgMin", "Max", "Min", "Prod", "ReverseV2", "Sum"])
_ALONG_LAST = frozenset(["LogSoftmax", "Softmax", "SoftmaxCrossEntropyWithLogits",
                         "SparseSoftmaxCrossEntropyWithLogits"])
_PRODUCTS = frozenset(["BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "MatMul"])

# From a shape to a number that is computed with.
_SIZES = frozenset(["Add", "AddV2", "GatherV2", "Identity", "Maximum", "Mul", "Pack", "Prod",
                    "Reshape", "Squeeze", "StridedSlice", "Sub", "Unpack"])


class Cut(NamedTuple):
    """A tensor with an axis that is as long as the rows of a part say.

    Attributes:
      tensor: it.
      axes: those of unknown length, the rows' left out; None: all.
      reader: what takes such an axis in and asks no row where it ends; None if nothing does.
    """

    tensor: Any
    axes: Optional[List[int]]
    reader: Any


class Lengths:
    """What a model makes of such axes.

    Args:
      model: operations that the losses are computed by.
      partition: what the step consists of.
      axes: how its tensors relate to the whole batch.
      padded: operations that bring in rows which are padded to the longest of their part.
      is_gradient: True for operations that TensorFlow built for gradients.
    """

    def __init__(self, model: Set[Any], partition: StepPartition, axes: BatchAxes,
                 padded: Iterable[Any], is_gradient: Callable[[Any], bool]):
        self._axes, self._partition = axes, partition
        self._model = {op for op in model if not is_gradient(op)}
        # Outside of loops and branches every part has a value of each of these.
        self.plain = sorted((op for op in self._model if op not in partition.loop
                             and op not in partition.conditional and op.outputs),
                            key=compat.op_id)
        self._find_values()
        self._flat: Set[Any] = set()  # what may have rows and another axis in one
        self._cut = [op for op in self.plain if op in partition.batch_dependent
                     and self._is_cut(op)]
        self._flat = self._after(
            [op for op in self.plain if new_axes(op) < 0 and self._open_axes(op.inputs[0])],
            lambda op: new_axes(op) > 0)
        self._after_cut = self._after(self._cut)
        self._after_both = self._after_cut | self._after(padded)

    def cuts(self) -> List[Cut]:
        """What is cut to the longest row of a part, in the order of creation."""
        asked = self._after([op for op in self._model if self._asks(op)])
        readers = [op for op in sorted(self._after_cut - asked, key=compat.op_id)
                   if self._takes_in(op)]
        found = []
        for op in self._cut if readers else ():
            after = self._after([op])
            reader = next((r for r in readers if r in after), None)
            if reader is not None:
                found.append(Cut(op.outputs[0], self._open_axes(op.outputs[0]), reader))
        return found

    def means(self) -> List[Any]:
        """Means over such axes, and numbers of elements."""
        return [op for op in self.plain if op in self._after_both and (
            op.type == "Size" or (op.type == "Mean" and self._reduces_open(op)))]

    def sizes(self) -> List[Any]:
        """(tensor, axes or None for all), of which the model computes with the sizes."""
        found = []
        for op in self.plain:
            if op.type == "Cast" and op.outputs[0].dtype.is_floating and op in self._after_both:
                found.extend(self._sizes_behind(op.inputs[0]))
        return found

    def _find_values(self) -> None:
        """What follows from the data, and not from its form alone; and from variables."""
        self._values = set(self._partition.sources)
        self._learned: Set[Any] = set()
        for op in self._partition.ops:
            if op.type not in FORM_ONLY:
                behind = [t.op for t in op.inputs]
                if any(b in self._values for b in behind):
                    self._values.add(op)
                if op_traits.is_variable(op) or op_traits.is_random(op) or any(
                        b in self._learned for b in behind):
                    self._learned.add(op)

    def _after(self, ops: Iterable[Any],
               ends: Callable[[Any], bool] = lambda op: False) -> Set[Any]:
        """Operations of the model that follow from `ops`; none behind those that `ends` says."""
        pending: List[Any] = list(ops)
        found: Set[Any] = set()
        while pending:
            op = pending.pop()
            if op not in found and op in self._model:
                found.add(op)
                pending.extend(user for t in op.outputs for user in t.consumers()
                               if not ends(user))
        return found

    def _is_cut(self, op: Any) -> bool:
        if op.type in _PYTHON and op in self._values:
            return bool(self._open_axes(op.outputs[0]))
        forms = [op.inputs[n].op for n in FORMS.get(op.type, ()) if n < len(op.inputs)]
        return any(f in self._values for f in forms) and self._open_axes(op.outputs[0]) != []

    def _open_axes(self, tensor: Any) -> Optional[List[int]]:
        if tensor.shape.ndims is None:
            return None
        relation = self._axes.of(tensor)
        of_rows = relation.axis if isinstance(relation, Rows) else None
        if tensor.op in self._flat:
            of_rows = None
        return [axis for axis, size in enumerate(compat.static_shape(tensor))
                if size is None and axis != of_rows]

    def _asks(self, op: Any) -> bool:
        taken = [t for t in {t.name: t for t in op.inputs}.values() if t.op in self._values]
        return (op.type in _COMPARES and bool(taken)) or (
            op.type in _JOINS and len(taken) > 1
            and any(t.op not in self._learned for t in taken))

    def _takes_in(self, op: Any) -> bool:
        if loops.is_exit(op):  # of a state: the outputs of turns are no tensor
            return op not in self._partition.inner and bool(op.outputs[0].shape.ndims)
        if op in self._partition.loop or op in self._partition.conditional:
            return False
        if op.type in _REDUCES:
            return self._reduces_open(op)
        if op.type in _ALONG_LAST:
            return self._is_open(op.inputs[0], -1)
        if op.type in _PRODUCTS:
            left, right = ("transpose_a", "transpose_b") if op.type == "MatMul" else (
                "adj_x", "adj_y")
            return self._is_open(op.inputs[0], -2 if op.get_attr(left) else -1) \
                and self._is_open(op.inputs[1], -1 if op.get_attr(right) else -2)
        return op.type == "StridedSlice" and any(
            self._is_open(op.inputs[0], axis) for axis in _from_the_end(op))

    def _is_open(self, tensor: Any, axis: int) -> bool:
        found, rank = self._open_axes(tensor), tensor.shape.ndims
        return found is None or axis % rank in found

    def _reduces_open(self, op: Any) -> bool:
        """True for a reduction over axes of which one may be such an axis."""
        tensor, axes = op.inputs[0], tf.get_static_value(op.inputs[1])
        if axes is None or tensor.shape.ndims is None:
            return tensor.shape.ndims != 0
        return any(self._is_open(tensor, int(axis)) for axis in np.ravel(axes))

    def _sizes_behind(self, number: Any) -> List[Any]:
        """The shapes that `number` is computed from, if it is computed from nothing else."""
        pending: List[Any] = [number]
        found: Dict[Any, Any] = {}
        while pending:
            tensor = pending.pop()
            op = tensor.op
            if op.type == "Shape":
                if op.inputs[0].op in self._after_both:
                    found[op] = (op.inputs[0], self._open_axes(op.inputs[0]))
            elif op.type in _SIZES and op in self._model:
                pending.extend(op.inputs)
        return [(tensor, axes) for tensor, axes in found.values() if axes != []]


def new_axes(op: Any) -> int:
    """How many axes a Reshape adds; 0 of all else, and where it is not known."""
    ranks = [t.shape.ndims for t in (op.inputs[0], op.outputs[0])] if op.type == "Reshape" else []
    return ranks[1] - ranks[0] if ranks and None not in ranks else 0


def _from_the_end(op: Any) -> List[int]:
    """The axes of which a slice takes one place, counted from the end."""
    begin = tf.get_static_value(op.inputs[1])
    shrinks, skipped = op.get_attr("shrink_axis_mask"), op.get_attr("ellipsis_mask")
    if begin is None or skipped:
        return []
    return [axis for axis, place in enumerate(begin) if shrinks >> axis & 1 and place < 0]
