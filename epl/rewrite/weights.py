# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parts of a batch count as many times as they have rows.

    part of 4 rows   loss, gradients by it   x 4/32 --> +
    part of 3 rows   loss, gradients by it   x 3/32 --> +  --> mean over the parts
                                               |               / mean of 4/32 and 3/32
                                               +--> mean ------------^

Only a step knows how many rows its parts have. So the gradient by a part's loss begins with its
rows in place of 1, which costs nothing; how many there are in all travels with the gradients, which
are divided by it in the end. Other means are weighed as they are merged. Where shapes say that all
parts have equally many rows, nothing is.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.provenance import Provenance
from epl.rewrite import relations
from epl.rewrite.batch_axis import BatchAxes

# Rows are counted in units of so many, a power of 2, so that gradients keep about their size.
UNIT = 32.0
_SEED = re.compile(r".*/grad_ys_[0-9]+(/Const)?$")


class Rows(NamedTuple):
    """Something with the rows of a part.

    Attributes:
      tensor: of the script's graph.
      axis: along which its rows lie.
    """

    tensor: Any
    axis: int

    def number(self, dtype: Any, tensor: Any = None) -> Any:
        """The rows of a part, a number; of another clone's with its `tensor`."""
        value = self.tensor if tensor is None else tensor
        with tf.device(value.device or None):
            return tf.cast(tf.shape(value)[self.axis], dtype)


class Weight(NamedTuple):
    """How much a part counts in an average.

    Attributes:
      rows: as many times as it has these.
      dtype: the type in which they are counted.
    """

    rows: Rows
    dtype: Any

    def of(self, tensor: Any = None) -> Any:
        """That of a clone, of which `tensor` has the rows."""
        return self.rows.number(self.dtype, tensor) / UNIT


def rows_of_means(tensor: Any, axes: BatchAxes) -> List[Rows]:
    """What the means over rows that `tensor`, itself one, is computed from are taken over."""
    found: Dict[str, Rows] = {}
    pending, seen = [tensor], set()
    while pending:
        op = pending.pop().op
        if op in seen:
            continue
        seen.add(op)
        rows = [(t, axes.of(t)) for t in op.inputs if isinstance(axes.of(t), relations.Rows)]
        for one, relation in rows[:1]:
            found[one.name] = Rows(one, relation.axis)
        if not rows:
            pending.extend(t for t in op.inputs if axes.of(t) == relations.Reduced("mean"))
    return list(found.values())


def weight_of_mean(tensor: Any, axes: BatchAxes) -> Optional[Weight]:
    """How much a part's mean counts; None if EPL cannot tell, or all count alike."""
    rows = [r for r in rows_of_means(tensor, axes)
            if compat.static_shape(r.tensor)[r.axis] is None]
    return Weight(rows[0], kind_for(tensor)) if rows else None


def seeds(losses: Sequence[Any], calls: Sequence[Set[Any]],
          provenance: Provenance) -> Optional[List[Any]]:
    """The operations by which the gradients by `losses` begin.

    Args:
      losses: what is differentiated.
      calls: the operations that compute the gradients of each group.
      provenance: where operations come from.

    Returns:
      `Fill` of ones, or `Identity` of what was given as `grad_ys`; None if they are not known.
    """
    ops = {loss.op for loss in losses}
    found: Dict[str, Any] = {}
    for call in calls:
        begun = {op: provenance.differentiated(op) for op in call if _begins(op)}
        own = [op for op, of in begun.items() if of in ops]
        if not own or None in begun.values():
            return None
        found.update({op.name: op for op in own})
    return [found[name] for name in sorted(found)]


def _begins(op: Any) -> bool:
    if op.type == "Identity":
        return bool(_SEED.match(op.name))
    return op.type == "Fill" and any(_SEED.match(t.op.name) for t in (op.inputs[1], op.outputs[0]))


def weigh(graph: Any, scope: str, seed_ops: Sequence[Any], weight: Any) -> None:
    """Let gradients begin with `weight`, a number, in place of 1."""
    for op in seed_ops:
        begin = op.inputs[1 if op.type == "Fill" else 0]
        with compat.inserted(graph, scope):
            times = tf.cast(weight, begin.dtype.base_dtype)
            editor.replace_input(op, begin, times if op.type == "Fill" else begin * times)


def kind_for(loss: Any) -> Any:
    """The type in which rows are counted: as exact as that of a loss, 32 bits at least."""
    return tf.float64 if loss.dtype.base_dtype == tf.float64 else tf.float32


def times(value: Any, factor: Any) -> Any:
    """`value`, a tensor or `tf.IndexedSlices`, times a number of another floating-point type."""
    if isinstance(value, tf.IndexedSlices):
        return tf.IndexedSlices(times(value.values, factor), value.indices, value.dense_shape)
    with tf.device(value.device or None):
        kind = value.dtype.base_dtype
        if kind in (tf.float16, tf.bfloat16):
            return tf.cast(tf.cast(value, factor.dtype) * factor, kind)
        return value * tf.cast(factor, kind)
