# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of which the mean over the parts of a batch is not that of the batch.

    sum(error * mask) / sum(mask)       parts with other masks count alike
    sum(error)                          the batch's loss is the sum of the parts'

EPL averages over micro-batches, replicas and workers (or adds up, if the script says so). Where
that is seen to be something else, the script is told.
"""

from typing import Any, List, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import kinds
from epl.rewrite.walk import data_ancestors

# What a loss is put together with, once it is a number.
_OF_NUMBERS = frozenset(["Add", "AddN", "AddV2", "Cast", "Identity", "Neg", "StopGradient", "Sub"])
_DIVIDES = frozenset(["Div", "DivNoNan", "RealDiv"])
_SUMS = frozenset(["Sum", "L2Loss"])

# What depends on the shape of its input alone.
_OF_SHAPES = frozenset(["OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])


def warn_of_weights(ys: List[Any], reduce_method: str) -> None:
    """Print a warning for each of the losses `ys` that is no mean over rows, as far as it is seen.

    Args:
      ys: what is differentiated.
      reduce_method: how EPL merges gradients, "mean" or "sum".
    """
    if reduce_method != "mean":
        return
    for loss in ys:
        for kind, op in _suspicious(loss):
            tf.logging.warning(_TEXTS[kind].format(loss.name, op.name, compat.made_at(op)))


_TEXTS = {
    "count": "the loss {} divides by '{}'{}, which follows from the batch: every micro-batch, "
             "replica and worker divides by its own, and all count alike, which differs from one "
             "device with the whole batch unless these are equal; divide by a number that does not "
             "depend on the batch to be exact",
    "sum": "the loss {} adds up the rows of its batch ('{}'{}), but gradients are averaged over "
           "micro-batches, replicas and workers: set communication.gradients_reduce_method = 'sum' "
           "to have the loss of one device with the whole batch",
}


def _suspicious(loss: Any) -> List[Tuple[str, Any]]:
    """("count" or "sum", operation) for what a loss, a number, is put together with."""
    found: List[Tuple[str, Any]] = []
    pending: List[Any] = [loss]
    seen: Set[str] = set()
    while pending:
        tensor = pending.pop()
        op = tensor.op
        if tensor.shape.ndims != 0 or tensor.name in seen:
            continue
        seen.add(tensor.name)
        if op.type in _DIVIDES and _follows_from_data(op.inputs[1]) \
                and _follows_from_data(op.inputs[0]):
            found.append(("count", op.inputs[1].op))
        elif op.type in _SUMS and _follows_from_data(op.inputs[0]) \
                and op.inputs[0].shape.ndims != 0:
            found.append(("sum", op))
        elif op.type in _OF_NUMBERS:
            pending.extend(op.inputs)
    return found


def _follows_from_data(tensor: Any) -> bool:
    """True if values of the batch, not only its shape, decide what `tensor` is."""
    ends = _ShapesEnd()
    return any(kinds.brings_data(op) or (op.type == "PlaceholderWithDefault"
                                         and kinds.is_fed_per_batch(op))
               for op in data_ancestors([tensor.op], ends) if op not in ends)


class _ShapesEnd:
    """The operations that a walk along values does not look behind."""

    def __contains__(self, op: Any) -> bool:
        return op.type in _OF_SHAPES
