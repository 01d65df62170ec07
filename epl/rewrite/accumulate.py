# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `accumulate`: a gradient of every clone becomes one gradient of this worker.

    replica 0   g(0) + g(1) + g(2) ...      on the replica's device, each added as it comes
    replica 1   g(0) + g(1) + g(2) ...
                     sum, x 1 / clones      where the variable lives

They come in the order of the plan's backwards. That order is fixed, so two runs give the same bits.
Rows of sparse gradients are joined
in the order of clones: those of one device with the whole batch, in their order. Rows that are the
same for all clones are added up.
"""

from typing import Any, Callable, Dict, List, Optional

import tensorflow.compat.v1 as tf

from epl.ir import editor
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite.clones import CloneId, CloneMap
from epl.rewrite.order import ActionEnd


def accumulate(gradient: Any, copies: CloneMap, plan: ParallelPlan, device: str,
               end: Callable[[CloneId], Optional[ActionEnd]] = lambda clone: None) -> Any:
    """Sum or average a gradient over the clones of this worker.

    Args:
      gradient: a raw gradient of the script, dense or `tf.IndexedSlices`.
      copies: the clones.
      plan: says "mean" or "sum".
      device: that of the result; "" for TensorFlow's choice.
      end: the end of a clone's backward, or None. An addition waits for it (TensorFlow's graph
        optimizer joins additions that wait for nothing, and would keep all gradients until the last
        has come), and the next action of the device for the addition.

    Returns:
      A gradient of the same kind, dtype and static shape.
    """
    if len(copies.clones) == 1:
        return gradient
    factor = scale(plan, len(copies.clones))
    if isinstance(gradient, tf.IndexedSlices) and all(
            copies.tensor(gradient.indices, c) is gradient.indices for c in copies.clones):
        values = accumulate(gradient.values, copies, plan, device, end)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    if isinstance(gradient, tf.IndexedSlices):
        with tf.device(device or None):
            values = tf.concat([copies.tensor(gradient.values, c) for c in copies.clones], 0)
            indices = tf.concat([copies.tensor(gradient.indices, c) for c in copies.clones], 0)
            return tf.IndexedSlices(_scaled(values, factor), indices, gradient.dense_shape)
    replicas: Dict[int, Any] = {}
    for clone in sorted(copies.clones, key=lambda c: (c.replica, _number(end(c)))):
        value = _wide(copies.tensor(gradient, clone))
        if clone.replica not in replicas:
            replicas[clone.replica] = value
        else:
            replicas[clone.replica] = _added(replicas[clone.replica], value, end(clone))
    with tf.device(device or None):
        total = _scaled(_sum(list(replicas.values())), factor)
        result = tf.cast(total, gradient.dtype)
    result.set_shape(gradient.shape)
    return result


def scale(plan: ParallelPlan, num_clones: int) -> float:
    """The factor behind a sum over clones.

    The slices of a micro-batch are always averaged: its loss is a mean over its rows.
    """
    return 1.0 / (num_clones if plan.reduce_method == "mean" else plan.num_slices)


def _number(end: Optional[ActionEnd]) -> int:
    return 0 if end is None else end.number


def _added(total: Any, value: Any, end: Optional[ActionEnd]) -> Any:
    with tf.device(total.device or None), tf.control_dependencies([end.ended] if end else []):
        total = tf.add(total, value)
    if end:
        editor.wait_for(end.released, [total.op])
    return total


def _sum(values: List[Any]) -> Any:
    total = values[0]
    for value in values[1:]:
        total = tf.add(total, value)
    return total


def _wide(tensor: Any) -> Any:
    """`tensor` in 32 bits or more: a sum of 16-bit gradients may not fit where their mean does."""
    if tensor.dtype.size >= 4:
        return tensor
    with tf.device(tensor.device or None):
        return tf.cast(tensor, tf.float32)


def _scaled(tensor: Any, factor: float) -> Any:
    return tensor if factor == 1.0 else tensor * tf.constant(factor, tensor.dtype)
