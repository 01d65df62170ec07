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
from epl.rewrite import loops, op_traits
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.counts import ADDS_UP, DIVIDES, KEEPS_ELEMENTS, Counts, at_least_one
from epl.rewrite.data import COMPARES, Data
from epl.rewrite.lengths import FORMS
from epl.rewrite.partition import StepPartition
from epl.rewrite.relations import LISTED, SAME, SHARED, Reduced, Rows
from epl.rewrite.shortcuts import is_shortcut
from epl.rewrite.walk import data_ancestors, decisions
from epl.rewrite.weights import rows_of_means

# Linear in everything that they take, together.
_ADDS = frozenset(["AccumulateNV2", "Add", "AddN", "AddV2", "ConcatV2", "IdentityN", "Pack", "Sub"])
# Linear in what they take first, the only thing that counts.
_KEEPS = frozenset(["Cast", "CheckNumerics", "CheckNumericsV2", "ExpandDims", "Identity", "Mean",
                    "Neg", "PlaceholderWithDefault", "PreventGradient", "Reshape", "Snapshot",
                    "Squeeze", "StopGradient", "StridedSlice", "Sum", "Unpack"])
_ENTERS = ("Enter", "RefEnter")
# Of their inputs after the first these take no more than a form, or a place.
_BY_FORM = frozenset(["BroadcastTo", "Fill", "MirrorPad", "Pad", "PadV2", "Reshape", "Slice",
                      "StridedSlice", "Tile"])

_MEAN, _SUM = Reduced("mean"), Reduced("sum")
_ALIKE = (SHARED, SAME)


class Terms(NamedTuple):
    """What stands between the rows and the losses.

    Attributes:
      sums: name of a tensor that adds up rows -> (it, the numbers that it is divided by, and the
        names of numbers that are fed).
      chosen: name of a mean over rows that a mask chooses -> (it, the mask, what it is if none is
        chosen: 0, or not a number).
      statistics: name of a tensor -> it, of which the value for the whole batch counts.
      strange: (kind of trouble, operation) of what is no mean and cannot be made one.
      normalised: operations that normalise rows by what the model makes of their part.
      means: what every mean over rows that is a term, or part of one, is taken over.
    """

    sums: Dict[str, Any]
    chosen: Dict[str, Any]
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

    def __init__(self, partition: StepPartition, axes: BatchAxes, data: Data,
                 averaged: Container[Any]):
        self._partition, self._axes, self._data = partition, axes, data
        self._averaged, self._counts = averaged, Counts(axes, self._data)
        self._divisors: Dict[str, Any] = {}
        self._seen: Set[Any] = set()
        self.found = Terms({}, {}, {}, [], [], [])

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
        of_rows = self._counts.rows_of(op.inputs[0]) if op.inputs else None
        if relation == _SUM and op.type in ADDS_UP and of_rows is not None:
            # A row's gradient is as much larger as there are parts, if it is that of a mean.
            is_mean = divisors is None or any(
                behind in self._averaged for behind in data_ancestors([op]))
            if is_mean:
                self.found.means.append(of_rows)
            else:
                self.found.sums[tensor.name] = tensor, self._within(op.inputs[0], divisors)
        elif divisors is not None and self._counts.is_mean_of_chosen(op):
            self.found.chosen[tensor.name] = tensor, self._counts.mask_of(op.inputs[0]), np.nan
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
        mask = self._counts.chosen_by(below)
        if mask is not None and self._counts.adds_up(above, mask) and divisors is not None:
            guarded = op.type == "DivNoNan" or at_least_one(below) is not None
            of_none = 0.0 if guarded else np.nan
            self.found.chosen[op.outputs[0].name] = op.outputs[0], mask, of_none
            return
        if self._counts.is_count(below):  # of the rows of a part: their mean
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
        if self._counts.is_part_of_count(left):
            left, right = right, left
        if self._counts.is_part_of_count(right):  # 1000 / rows, say
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
            if op.type in DIVIDES and self._data.is_alike(op.inputs[1]):
                divisors = self._divided(divisors, op.inputs[1])
            elif op.type == "Mul" and any(map(self._data.is_alike, op.inputs)):
                left, right = sorted(op.inputs, key=self._data.is_alike)
                divisors = self._multiplied(divisors, right)
            elif op.type not in KEEPS_ELEMENTS and op.type not in ("Neg", "Sum"):
                return divisors
            tensor = left

    def _multiplied(self, divisors: Any, factor: Any) -> Any:
        """`divisors` of what is multiplied with `factor`, which may be one by such a number."""
        value = tf.get_static_value(factor)
        if value is None and factor.op.type in DIVIDES and self._data.is_fed(factor.op.inputs[1]):
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

    def normalised(self) -> None:
        """Rows that are computed with numbers of their part of the batch.

        If these follow from the data, they can be those of the whole batch. Normalisation by what
        the model makes of a part is that of a device with a batch of its size (see `_centred`).
        """
        for op in self._data.model:
            if self._is_decided(op):
                self._strange("decided", op)
            relation = self._axes.of(op.outputs[0])
            if relation != LISTED and not isinstance(relation, Rows):
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
        asked = [op for op in self._partition.loop if op.type in COMPARES
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


_RULES: Dict[str, Callable[[_Walk, Any, int], None]] = {
    **dict.fromkeys(_ADDS, _Walk._sum), **dict.fromkeys(_KEEPS, _Walk._same),
    **dict.fromkeys(DIVIDES, _Walk._quotient),
    **dict.fromkeys(["Mul", "MulNoNan"], _Walk._product),
    **dict.fromkeys(["Select", "SelectV2"], _Walk._choice)}


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
