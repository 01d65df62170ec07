# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What gradient functions of the script make of gradients (`tf.custom_gradient`, overrides).

    gradient by a row, c times larger in a part      * 1/c --> clipping, a sign, ... --> * c
    that has 1/c of the rows: that of their mean

TensorFlow's own functions are linear in the gradient, so that its size makes no difference to them.
Others get it in the size that it has in the whole batch, if they work row by row. Where they do
not, or stand for no rows, a warning says so.
"""

from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.linear import departure
from epl.rewrite.partition import StepPartition
from epl.rewrite.relations import SAME, SHARED, Reduced, Rows
from epl.rewrite.walk import data_descendants

_CALLS = frozenset(["PartitionedCall", "StatefulPartitionedCall"])  # their gradients are calls
_SCALING = frozenset(["Div", "DivNoNan", "Mul", "MulNoNan", "RealDiv"])


class _Function(NamedTuple):
    """One use of a gradient function.

    Attributes:
      of: the operation whose gradient it is.
      ops: what it built.
      entering: the gradients that it got.
      leaving: what it gave.
    """

    of: Any
    ops: Set[Any]
    entering: List[Any]
    leaving: List[Any]


class GradientFunctions:
    """Those of the script in the backward pass of one family.

    Args:
      losses: what is differentiated.
      forward: the operations that these are computed by.
      backward: those of the backward pass.
      raw: the gradients by variables.
      partition: what the family's steps consist of.
      axes: how its tensors relate to the whole batch.
      provenance: where operations come from.
    """

    def __init__(self, losses: List[Any], forward: Set[Any], backward: List[Any],
                 raw: Iterable[Any], partition: StepPartition, axes: BatchAxes, provenance: Any):
        self._losses, self._forward, self._partition = losses, forward, partition
        self._axes, self._provenance = axes, provenance
        self._raw = {tensor.name for tensor in raw}
        self._built: Dict[Any, Set[Any]] = {}
        for op in backward:
            of = provenance.differentiated(op)
            if of is not None and _is_of_script(of):
                self._built.setdefault(of, set()).add(op)

    def give_size_of_whole(self, graph: Any, scope: str, size: Callable[[], Any]) -> None:
        """Give them gradients of the size that these have in the whole batch.

        Args:
          graph: the script's graph.
          scope: absolute name scope of what is added.
          size: how many times as large those are that they get.
        """
        for function in self._functions():
            relation = self._relation(function)
            if relation == Reduced("mean"):
                continue  # its gradient is no larger in a part
            strange = self._strange(function, relation)
            if strange is not None:
                tf.logging.warning(
                    "the gradient of the loss {} by rows goes through a gradient function of the "
                    "script, that of '{}'{}, whose operation '{}' ({}) is not linear in it, or "
                    "scales it by a number of the batch; EPL cannot tell that it works on each row "
                    "by itself: every micro-batch, replica and worker gets gradients of its own "
                    "mean, which are larger, and differ from one device with the whole batch. Let "
                    "it compute row by row from what has rows, or train with one worker, device "
                    "and micro-batch".format(
                        ", ".join(loss.name for loss in self._losses), function.of.name,
                        compat.made_at(function.of), strange.name, strange.type))
            elif _departure(function) is not None:
                with compat.inserted(graph, scope + "/gradient_functions"):
                    times = size()
                    _multiply(function.entering, 1.0 / times, function.ops, within=True)
                    _multiply(function.leaving, times, function.ops, within=False)

    def _functions(self) -> Iterator[_Function]:
        for of in sorted(self._built, key=compat.op_id):
            ops = self._built[of]
            entering = {t.name: t for op in ops for t in op.inputs if t.op not in ops
                        and t.op not in self._forward and t.dtype.is_floating
                        and self._provenance.is_gradient(t.op)}
            leaving = {t.name: t for op in ops for t in op.outputs if t.dtype.is_floating
                       and any(user not in ops for user in t.consumers())}
            if entering and leaving:
                yield _Function(of, ops, list(entering.values()), list(leaving.values()))

    def _relation(self, function: _Function) -> Any:
        """How what the function is the gradient of relates to the whole batch; None: not alike."""
        used = [t for t in function.of.outputs if self._forward.intersection(t.consumers())]
        relations = {self._axes.of(t) for t in used}
        return relations.pop() if len(relations) == 1 else None

    def _strange(self, function: _Function, relation: Any) -> Optional[Any]:
        """What makes of gradients of parts something else than of those of the whole batch."""
        changes_size = _departure(function)
        is_apart = function.of in self._partition.loop or function.of in \
            self._partition.conditional or any(t.name in self._raw for t in function.leaving)
        if not isinstance(relation, Rows) or is_apart:
            return changes_size
        axes = self._exact_axes(function, relation)
        for op in self._carrying(function):
            if op.type in _SCALING and any(_is_number(t, axes) for t in op.inputs):
                return op
        by_row = all(isinstance(axes.of(t), Rows) for t in function.leaving)
        return None if by_row else changes_size

    def _carrying(self, function: _Function) -> List[Any]:
        """What the function computes from the gradients that it got, in the order of creation."""
        users = {user for t in function.entering for user in t.consumers()} & function.ops
        return sorted(data_descendants(users) & function.ops, key=compat.op_id)

    def _exact_axes(self, function: _Function, relation: Rows) -> BatchAxes:
        """Relations of what the function computes, whose gradients have rows as `relation` says."""
        entering = {t.op for t in function.entering}
        per_batch, sources = self._partition.batch_dependent, self._partition.sources

        def axis_of(op: Any) -> Optional[int]:
            if op in entering:
                return relation.axis
            known = self._axes.of(op.outputs[0]) if op.outputs and op not in function.ops else None
            return known.axis if isinstance(known, Rows) else None

        return BatchAxes(lambda op: op in per_batch or op in sources, axis_of,
                         lambda op: False, exact=True)


def _is_of_script(op: Any) -> bool:
    """True for an operation whose gradient a function computes that the script has named."""
    return op.type not in _CALLS and "_gradient_op_type" in op.node_def.attr


def _is_number(tensor: Any, axes: BatchAxes) -> bool:
    """True for a number that parts of a batch have different ones of."""
    return tensor.shape.ndims == 0 and axes.of(tensor) not in (SAME, SHARED)


def _departure(function: _Function) -> Optional[Any]:
    """The first operation of a function that is not linear in the gradients; None if all are."""
    return departure(function.entering, function.leaving, lambda op: op not in function.ops)


def _multiply(tensors: List[Any], factor: Any, ops: Set[Any], within: bool) -> None:
    """Let the readers of tensors `within` some operations, or outside, read them times `factor`."""
    for tensor in tensors:
        users = [op for op in tensor.consumers() if (op in ops) == within]
        larger = tensor * tf.cast(factor, tensor.dtype.base_dtype)
        for op in users:
            editor.replace_input(op, tensor, larger)
