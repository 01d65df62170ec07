# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a loss is put together of, and what of that is not the mean over the parts of a batch.

    loss = mean(e) + sum(e * mask) / sum(mask) + 0.1 * sum(e) + l2(w)
           mean      added up    a statistic         added up   shared
                                 of the data

EPL averages over micro-batches, replicas and workers. A mean over rows is averaged rightly. What is
added up over rows has to be larger by the number of parts, and a statistic (a number that follows
from the data alone) has to be that of the whole batch: `whole_loss` makes it so. Anything else is
told to the user.
"""

import itertools
from typing import Any, Callable, Container, Dict, Iterable, List, NamedTuple, Optional, Set

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import static_shapes
from epl.rewrite import loops, op_traits
from epl.rewrite.batch_axis import FORM_ONLY, BatchAxes
from epl.rewrite.lengths import FORMS
from epl.rewrite.partition import StepPartition
from epl.rewrite.relations import SAME, SHARED, Reduced, Rows, ShapeOf
from epl.rewrite.shortcuts import is_shortcut
from epl.rewrite.walk import data_ancestors, decisions
from epl.rewrite.weights import Rows as RowsOf
from epl.rewrite.weights import rows_of_means

# Linear in everything that they take, together.
_ADDS = frozenset(["AccumulateNV2", "Add", "AddN", "AddV2", "ConcatV2", "IdentityN", "Pack", "Sub"])
# Linear in what they take first, the only thing that counts.
_KEEPS = frozenset(["Cast", "CheckNumerics", "CheckNumericsV2", "ExpandDims", "Identity", "Mean",
                    "Neg", "PlaceholderWithDefault", "PreventGradient", "Reshape", "Snapshot",
                    "Squeeze", "StopGradient", "StridedSlice", "Sum", "Unpack"])
# Of the same elements, perhaps in another form.
_KEEPS_ELEMENTS = frozenset(["Cast", "ExpandDims", "Identity", "Reshape", "Squeeze"])
_DIVIDES = ("Div", "DivNoNan", "RealDiv")
_ADDS_UP = frozenset(["L2Loss", "Sum", "UnsortedSegmentSum"])
_COMPARES = frozenset(["Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "NotEqual"])
_ENTERS = ("Enter", "RefEnter")
# Of their inputs after the first these take no more than a form, or a place.
_BY_FORM = frozenset(["BroadcastTo", "Fill", "MirrorPad", "Pad", "PadV2", "Reshape", "Slice",
                      "StridedSlice", "Tile"])

# Of places along an axis these make others, each of its own; the rest says how many there are.
_GRIDS = {"BroadcastTo": 0, "Cast": 0, "ExpandDims": 0, "Fill": 1, "Identity": 0,
          "MatrixBandPart": 0, "OneHot": 0, "Reshape": 0, "Tile": 0}
_PLACE_BY_PLACE = _COMPARES | frozenset([
    "Add", "AddV2", "ConcatV2", "Cos", "Div", "Exp", "FloorDiv", "FloorMod", "LogicalAnd",
    "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "Neg", "Pack", "Pow", "RealDiv",
    "Select", "SelectV2", "Sin", "Sqrt", "Square", "Sub", "Transpose"])

_MEAN, _SUM = Reduced("mean"), Reduced("sum")
_ALIKE = (SHARED, SAME)


class Terms(NamedTuple):
    """What stands between the rows and the losses.

    Attributes:
      sums: name of a tensor that adds up rows -> (it, the numbers that it is divided by, and the
        names of numbers that are fed).
      statistics: name of a tensor -> it, of which the value for the whole batch counts.
      strange: (kind of trouble, operation) of what is no mean and cannot be made one.
      normalised: operations that normalise rows by what the model makes of their part.
      means: what every mean over rows that is a term, or part of one, is taken over.
    """

    sums: Dict[str, Any]
    statistics: Dict[str, Any]
    strange: List[Any]
    normalised: List[Any]
    means: List[Any]

    def by_kind(self) -> List[Any]:
        """(kind of trouble, the operations in the order of creation), of all that is strange."""
        found: Dict[str, List[Any]] = {}
        for kind, op in self.strange:
            found.setdefault(kind, []).append(op)
        return [(kind, sorted(ops, key=compat.op_id)) for kind, ops in found.items()]


def terms_of(losses: Iterable[Any], partition: StepPartition, axes: BatchAxes,
             is_gradient: Callable[[Any], bool], averaged: Container[Any]) -> Terms:
    """Take losses apart.

    Args:
      losses: what is differentiated; those with rows are left out.
      partition: what their step consists of.
      axes: how its tensors relate to the whole batch.
      is_gradient: True for operations that TensorFlow built for gradients.
      averaged: operations that compute gradients of means over a part's rows.
    """
    losses = list(losses)
    walk = _Walk(partition, axes, Data(partition, axes, is_gradient, losses), averaged)
    for loss in losses:
        if not isinstance(axes.of(loss), Rows):
            walk.term(loss, ())
    walk.normalised()
    return walk.found


class _Walk:
    """From the losses back to the rows."""

    def __init__(self, partition: StepPartition, axes: BatchAxes, data: "Data",
                 averaged: Container[Any]):
        self._partition, self._axes, self._data = partition, axes, data
        self._averaged = averaged
        self._divisors: Dict[str, Any] = {}
        self._seen: Set[Any] = set()
        self.found = Terms({}, {}, [], [], [])

    def term(self, tensor: Any, divisors: Any) -> None:
        """`tensor` is a term of a loss.

        Args:
          divisors: the numbers that it is divided by on the way, and the names of those that are
            fed; None if that makes it a mean.
        """
        relation, op = self._axes.of(tensor), tensor.op
        if relation in (_MEAN, _SUM):
            self._centred(op)
        if self._data.is_alike(tensor):
            return
        if relation == _MEAN:
            self.found.means.extend(rows_of_means(tensor, self._axes))
            return
        if self._divisors.setdefault(tensor.name, divisors) != divisors:
            self._strange("twice", op)
        if relation == _SUM and op.type in _ADDS_UP and self._has_rows(op.inputs[0]):
            # A row's gradient is as much larger as there are parts, if it is that of a mean.
            is_mean = divisors is None or any(
                behind in self._averaged for behind in data_ancestors([op]))
            if is_mean:
                self.found.means.append(RowsOf(
                    op.inputs[0], self._axes.of(op.inputs[0]).axis))
            else:
                self.found.sums[tensor.name] = tensor, self._within(op.inputs[0], divisors)
        elif op.type not in _RULES or any(map(self._has_rows, op.inputs)) \
                or op in self._partition.loop or op in self._partition.conditional:
            self._strange("unknown", op)
        else:
            _RULES[op.type](self, op, divisors)

    def _has_rows(self, tensor: Any) -> bool:
        return isinstance(self._axes.of(tensor), Rows)

    def _sum(self, op: Any, divisors: Any) -> None:
        for tensor in op.inputs:
            self.term(tensor, divisors)

    def _same(self, op: Any, divisors: Any) -> None:
        self.term(op.inputs[0], divisors)

    def _choice(self, op: Any, divisors: Any) -> None:
        if not self._known(op.inputs[0]):
            self._strange("unknown", op)
        for tensor in op.inputs[1:]:
            self.term(tensor, divisors)

    def _quotient(self, op: Any, divisors: Any) -> None:
        above, below = op.inputs
        if self._is_count(below):  # of the rows of a part: their mean, if all parts have as many
            self.term(above, None)
            return
        if not self._known(below):
            self._strange("count", below.op)
            return
        self.term(above, self._divided(divisors, below))

    def _product(self, op: Any, divisors: Any) -> None:
        left, right = op.inputs
        if self._data.is_alike(left) or (self._data.is_statistic(left)
                                         and not self._data.is_alike(right)):
            left, right = right, left
        if self._is_part_of_count(left):
            left, right = right, left
        if self._is_part_of_count(right):  # 1000 / rows, say
            self.term(left, None)
            return
        if not self._known(right):
            self._strange("product", op)
            return
        self.term(left, self._multiplied(divisors, right))

    def _within(self, tensor: Any, divisors: Any) -> Any:
        """`divisors` and what rows are divided by, one by one, before they are added up."""
        while True:
            op, left = tensor.op, tensor.op.inputs[0] if tensor.op.inputs else None
            if op.type in _DIVIDES and self._data.is_alike(op.inputs[1]):
                divisors = self._divided(divisors, op.inputs[1])
            elif op.type == "Mul" and any(map(self._data.is_alike, op.inputs)):
                left, right = sorted(op.inputs, key=self._data.is_alike)
                divisors = self._multiplied(divisors, right)
            elif op.type not in _KEEPS_ELEMENTS and op.type not in ("Neg", "Sum"):
                return divisors
            tensor = left

    def _multiplied(self, divisors: Any, factor: Any) -> Any:
        """`divisors` of what is multiplied with `factor`, which may be one by such a number."""
        value = tf.get_static_value(factor)
        if value is None and factor.op.type in _DIVIDES and self._data.is_fed(factor.op.inputs[1]):
            return self._divided(self._multiplied(divisors, factor.op.inputs[0]),
                                 factor.op.inputs[1])
        if value is None or np.ndim(value) or not value:
            return divisors
        return divisors if divisors is None else divisors + (1.0 / float(value),)

    def _divided(self, divisors: Any, below: Any) -> Any:
        """`divisors` and `below`.

        What is fed may count rows, too. What is computed from constants, with no variable, follows
        from a static shape: it counts the rows of a part.
        """
        value = tf.get_static_value(below)
        if divisors is None or np.ndim(value):
            return divisors
        if value is not None:
            return divisors + (float(value),)
        if self._data.is_learned(below) or below.op in self._partition.batch_dependent:
            return divisors
        if not self._data.is_fed(below):
            return None
        if below.op.type == "Mul":  # twice the number of rows, say
            return self._divided(self._divided(divisors, below.op.inputs[0]), below.op.inputs[1])
        return divisors + (below.name,)

    def _known(self, tensor: Any) -> bool:
        """True for what is alike in all parts, or can be made so."""
        if self._data.is_alike(tensor):
            return True
        if self._data.is_statistic(tensor) and self._data.can_come_first(tensor) \
                and not self._data.is_of_lengths(tensor):
            self.found.statistics[tensor.name] = tensor
            return True
        return False

    def _is_count(self, tensor: Any) -> bool:
        """True for a number of rows, or of their elements, that follows from shapes alone."""
        while tensor.op.type in ("Cast", "Identity") or (
                tensor.op.type in ("Maximum", "Mul") and self._data.is_alike(tensor.op.inputs[1])):
            tensor = tensor.op.inputs[0]
        if tensor.op.type == "Prod":
            return isinstance(self._axes.of(tensor.op.inputs[0]), ShapeOf)
        return self._data.is_of_shapes(tensor) and (
            self._axes.of(tensor) == _SUM or self._power(tensor) == 1)

    def _is_part_of_count(self, tensor: Any) -> bool:
        """True for a number by the number of rows."""
        return tensor.op.type in _DIVIDES and self._data.is_alike(tensor.op.inputs[0]) \
            and tensor.shape.ndims == 0 and self._is_count(tensor.op.inputs[1])

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
        if op.type in _KEEPS_ELEMENTS:
            return self._power(op.inputs[0])
        if op.type == "Fill":
            return self._power(op.inputs[1])
        if op.type == "Sum" and tensor.shape.ndims == 0:
            return _added(self._power(op.inputs[0]), self._power_of_size(op.inputs[0]))
        if op.type == "Mul":
            return _added(*map(self._power, op.inputs))
        if op.type in _DIVIDES:
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
        if tensor.op.type in ("Mul",) + _DIVIDES:
            sizes = {self._power_of_size(t) for t in tensor.op.inputs if t.shape.ndims != 0}
            return sizes.pop() if len(sizes) == 1 else None
        return None

    def normalised(self) -> None:
        """Rows that are computed with numbers of their part of the batch.

        If these follow from the data, they can be those of the whole batch. Normalisation by what
        the model makes of a part is that of a device with a batch of its size (see `_centred`).
        """
        for op in self._data.model:
            if self._is_decided(op):
                self._strange("decided", op)
            if not isinstance(self._axes.of(op.outputs[0]), Rows):
                continue
            if op.type.startswith("FusedBatchNorm") and op.get_attr("is_training"):
                self.found.normalised.append(op)
            for tensor in self._numbers_of_part(op):
                self._beside(op, tensor)
        for op in self._data.exits:
            mixing = self._axes.mixing(op)
            if mixing is not None:
                self._strange("normalised", mixing)
        for op in self._data.conditions:
            longest = self._longest(op)
            if longest is not None:
                self._strange("turns", longest.op)

    def _longest(self, condition: Any) -> Optional[Any]:
        """What of the batch says how many turns a loop has.

        None also where rows are asked in the loop for a number of their own, as rows that end
        before others are.
        """
        found = [t for t in self._entering(condition) if self._has_rows(t) or (
            self._data.is_statistic(t) and not self._data.is_of_shapes(t))]
        asked = [op for op in self._partition.loop if op.type in _COMPARES
                 and op.outputs[0].shape.ndims != 0
                 and self._partition.loop[op] == self._partition.loop.get(condition)]
        if not found or any(map(self._has_rows, itertools.chain(*map(self._entering, asked)))):
            return None
        return found[0]

    def _entering(self, op: Any) -> List[Any]:
        """What of the data enters the loop of an operation that follows from it, for all turns."""
        return [behind.inputs[0] for behind in loops.turn_of(op, _ENTERS)
                if loops.is_enter(behind) and behind.get_attr("is_constant")
                and self._axes.is_of_data(behind.inputs[0])]

    def _beside(self, op: Any, tensor: Any) -> None:
        """`op` computes rows with a number of their part, `tensor`."""
        if self._data.is_statistic(tensor):
            if not self._data.is_grid(tensor) and not self._known(tensor):
                self._strange("normalised", op)
        elif not self._axes.normalises(tensor):
            self._strange("normalised", op)
        elif self._axes.scales(tensor):
            self.found.normalised.append(op)

    def _is_decided(self, op: Any) -> bool:
        """True for a branch that each part takes or not as its own rows say."""
        return any(not self._data.is_alike(t) and self._axes.is_of_data(t) and not is_shortcut(t)
                   for t in decisions(op))

    def _numbers_of_part(self, op: Any) -> List[Any]:
        forms = [op.inputs[n].name for n in FORMS.get(op.type, ()) if n < len(op.inputs)]
        beside = [t for t in self._axes.beside_rows(op) if t.name not in forms]
        return [t for t in beside if (t is op.inputs[0] or op.type not in _BY_FORM) and not (
            op_traits.is_switch(t.op) and self._data.is_alike(t.op.inputs[0]))]  # decided

    def _centred(self, reduced: Any) -> None:
        """Rows that are compared with their mean, but not normalised by their deviation."""
        pending = [reduced]
        while pending:
            op = pending.pop()
            if op in self._seen:
                continue
            self._seen.add(op)
            if isinstance(self._axes.of(op.outputs[0]), Rows):
                beside = [t for t in self._numbers_of_part(op) if self._axes.normalises(t)]
                if any(map(self._axes.scales, beside)):
                    continue
                if beside:
                    self._strange("normalised", op)
            pending.extend(t.op for t in op.inputs if isinstance(
                self._axes.of(t), (Reduced, Rows)))

    def _strange(self, kind: str, op: Any) -> None:
        if not self._is_of_gradients(kind, op) and (kind, op) not in self.found.strange:
            self.found.strange.append((kind, op))

    def _is_of_gradients(self, kind: str, op: Any) -> bool:
        """True for what is computed from gradients: that has a pass of its own (`rewrite.losses`).

        Gradients of the rows' values by rows are rows like others. Those of a mean are, too, but
        for their size. What v2 loops keep for gradients is made with these, but of nothing.
        """
        if self._data.is_gradient(op):
            return True
        used = [tensor for behind in data_ancestors([op]) if not self._data.is_gradient(behind)
                for tensor in behind.inputs
                if self._data.is_gradient(tensor.op) and tensor.op in self._data.batch_dependent]
        return any(not self._has_rows(tensor) or (
            kind != "normalised" and tensor.op in self._averaged) for tensor in used)


def _added(*powers: Optional[int]) -> Optional[int]:
    return None if None in powers else sum(power for power in powers if power is not None)


def _is_zero(tensor: Any) -> bool:
    value = tf.get_static_value(tensor)
    return value is not None and not np.any(value)


_RULES: Dict[str, Callable[[_Walk, Any, int], None]] = {
    **dict.fromkeys(_ADDS, _Walk._sum), **dict.fromkeys(_KEEPS, _Walk._same),
    **dict.fromkeys(_DIVIDES, _Walk._quotient),
    **dict.fromkeys(["Mul", "MulNoNan"], _Walk._product),
    **dict.fromkeys(["Select", "SelectV2"], _Walk._choice)}


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
        return (isinstance(relation, Rows) and relation == self._axes.of(learned)
                and tensor.op not in self._learned and tensor.dtype == learned.dtype
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


_TEXTS = {
    "count": "divides by '{}'{}, which follows from the batch: every micro-batch, replica and "
             "worker divides by its own, and all count alike",
    "product": "multiplies two numbers that both follow from the batch ('{}'{}): the product of "
               "means is not the mean of products",
    "normalised": "depends on rows that '{}'{} compares with others of the batch: every "
                  "micro-batch, replica and worker takes its own rows alone",
    "decided": "depends on a branch at '{}'{} that the batch decides about: every micro-batch, "
               "replica and worker decides by its own rows",
    "turns": "depends on a loop that has as many turns as '{}'{} says, a number of the batch, and "
             "asks no row for its own: every micro-batch, replica and worker counts to that of its "
             "own rows",
    "twice": "takes what '{}'{} gives twice, once divided by the batch size and once as it is",
    "unknown": "is computed by '{}'{} from numbers that stand for all rows of the batch, and EPL "
               "cannot tell how those of micro-batches, replicas and workers go together: it "
               "averages",
}


def describe(kind: str, name: str, place: str) -> str:
    """What is strange about a loss.

    Args:
      kind: as in `Terms.strange`.
      name: the operation's.
      place: the script's line, " (file:line)".
    """
    return _TEXTS[kind].format(name, place)
