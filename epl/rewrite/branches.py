# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A `tf.cond` that TensorFlow itself may differentiate wrongly.

From version 2.15 on TensorFlow's constant folding concludes from gradients in a branch that is not
taken how many rows the other one has. Where a branch computes another number of rows than the
batch's, it may take that for the batch size and scale gradients by it: on one device, and here by
another number, since each clone has fewer rows. Nothing can be done about that but to say so.
"""

from typing import Any, Iterable

import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import op_traits
from epl.rewrite.walk import ancestors, data_ancestors

_MERGES = frozenset(["Merge", "RefMerge"])


def warn_of_other_rows(ys: Iterable[Any]) -> None:
    """Log a warning for every `tf.cond` behind `ys` that this can happen to.

    Args:
      ys: tensors that are differentiated.
    """
    if not compat.misjudges_branches():
        return
    for op in sorted(ancestors(y.op for y in ys), key=compat.op_id):
        if op.type in _MERGES and _in_doubt(op):
            tf.logging.warning(
                "the branches of the tf.cond at '%s' have the static shapes %s, and from version "
                "2.15 on TensorFlow's graph optimizer may take one for the other: the gradients "
                "may be wrong, with EPL and without. Give both branches as many rows (say by "
                "tf.tile), or make the session with config.graph_options.rewrite_options."
                "constant_folding = RewriterConfig.OFF", op.name,
                " and ".join(str(tensor.shape) for tensor in op.inputs))


def _in_doubt(merge: Any) -> bool:
    """True if one branch has a known number of rows, the other not this one for certain."""
    shapes = [tensor.shape for tensor in merge.inputs]
    if any(s.ndims in (None, 0) for s in shapes) or any(
            t.op.type in ("Enter", "NextIteration") for t in merge.inputs):
        return False
    rows = [compat.static_shape(tensor)[0] for tensor in merge.inputs]
    return len(set(rows)) > 1 and any(
        number is not None and _is_learned(tensor) for number, tensor in zip(rows, merge.inputs))


def _is_learned(tensor: Any) -> bool:
    """True if a variable can get a gradient through `tensor`."""
    return any(op_traits.is_variable(op) for op in data_ancestors([tensor.op]))
