# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a script says of the tensors that it feeds: do they hold rows of the batch?

    epl.divide_feed(labels)           a step is fed the rows of all clones, along axis 0
    epl.divide_feed(frames, axis=1)   the same along axis 1
    epl.share_feed(class_weights)     all clones and workers get the same

Without a word, an open first dimension (`[None, ...]`) is divided, and a scalar is shared.
"""

from typing import Any, Dict, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.graph_state import state_of

PLACEHOLDERS = frozenset(["Placeholder", "PlaceholderV2"])


class SparseParts(NamedTuple):
    """The tensors that a script made a `tf.SparseTensor` of.

    Attributes:
      indices: [values, rank]; the first column is the row.
      values: [values].
      dense_shape: [rank].
    """

    indices: Any
    values: Any
    dense_shape: Any


def divide_feed(tensor: Any, axis: int = 0) -> Any:
    """Say that what is fed to a tensor are rows of the batch, along `axis`.

    In a training step it is fed the rows of all clones of this worker (replicas x micro-batches),
    which are divided in their order. A fixed dimension (`[batch_size, ...]`) is what one clone
    gets: a step is fed that many rows for every clone.

    Args:
      tensor: a placeholder, or another `tf.Tensor` that a step is fed; or a `tf.SparseTensor`.
      axis: dimension of the batch; 0 for a `tf.SparseTensor`.

    Returns:
      `tensor`, so that a placeholder can be made and declared in one expression.

    Raises:
      ValueError: no such axis, no tensor, or the tensor is declared otherwise already.
      RuntimeError: a session has run the training step already.

    Examples:
      >>> tokens = epl.divide_feed(tf.placeholder(tf.int32, [16, 128]))
      >>> frames = epl.divide_feed(tf.placeholder(tf.float32, [None, None, 80]), axis=1)
      >>> epl.divide_feed(tf.placeholder(tf.float32, [16], name="x"), axis=1)
      Traceback (most recent call last):
      ValueError: 'x:0' of shape (16,) has no axis 1 to be divided along
    """
    if isinstance(tensor, tf.SparseTensor):
        if axis != 0:
            raise ValueError("{} is divided along axis {}: a sparse feed is divided along axis 0 "
                             "only".format(tensor, axis))
        for part in (tensor.indices, tensor.values):
            _declare(part, 0)
        return tensor
    ndims = tensor.shape.ndims if isinstance(tensor, tf.Tensor) else None
    if isinstance(axis, bool) or not isinstance(axis, int) or axis < 0 or (
            ndims is not None and axis >= ndims):
        raise ValueError("'{}' of shape {} has no axis {!r} to be divided along".format(
            tensor.name, tensor.shape, axis))
    _declare(tensor, axis)
    return tensor


def share_feed(tensor: Any) -> Any:
    """Say that what is fed to a tensor is the same for all clones and on all workers.

    Workers that feed different values end with an error.

    Args:
      tensor: a placeholder, or another `tf.Tensor` that a step is fed; or a `tf.SparseTensor`.

    Returns:
      `tensor`.

    Raises:
      ValueError: no tensor, or the tensor is declared otherwise already.
      RuntimeError: a session has run the training step already.

    Examples:
      >>> weights = epl.share_feed(tf.placeholder(tf.float32, [10]))
    """
    sparse = isinstance(tensor, tf.SparseTensor)
    for part in [tensor.indices, tensor.values, tensor.dense_shape] if sparse else [tensor]:
        _declare(part, None)
    return tensor


def is_declared(tensor: Any) -> bool:
    """True if the script has said what is fed to `tensor`."""
    return tensor.name in state_of(tensor.graph).declared_feeds


def declared_axis(tensor: Any) -> Optional[int]:
    """The axis along which `tensor` was declared to be divided; None if it was not."""
    return state_of(tensor.graph).declared_feeds.get(tensor.name)


def is_declared_shared(tensor: Any) -> bool:
    """True if `tensor` was declared to be the same for all clones and workers."""
    return is_declared(tensor) and declared_axis(tensor) is None


class _Numbers:
    """What has no shape, and where it meets rows.

    Attributes:
      axes: name of a shared tensor that has no shape -> the axes that it may be fed at most, so
        that rows stay on the axis where they are.
    """

    def __init__(self) -> None:
        self.axes: Dict[str, int] = {}


def take_for_number(tensor: Any, axes: Optional[int]) -> None:
    """Rows on one of so many `axes` (None: maybe one) are combined with what is fed to `tensor`."""
    known = state_of(tensor.graph).record(_Numbers).axes
    known[tensor.name] = min(axes or 1, known.get(tensor.name, axes or 1))


def check_number(tensor: Any, axes: int) -> None:
    """Raises ValueError if what is fed to `tensor` has more axes than it was taken for."""
    most = state_of(tensor.graph).record(_Numbers).axes.get(tensor.name)
    if most is not None and axes > most:
        raise ValueError(
            "'{}'{} has no shape, and is fed an array of {} axes; where it meets rows of the batch "
            "it was taken for one of at most {}: give the placeholder its shape".format(
                tensor.op.name, compat.made_at(tensor.op), axes, most))


def is_undecided(tensor: Any) -> bool:
    """True if only the script knows what is fed to `tensor`: no shape, or a fixed first dimension.

    With several clones in a worker these have to be declared.
    """
    shape = tensor.shape
    return not is_declared(tensor) and not _is_dense_shape(tensor) and (
        shape.ndims is None or (shape.ndims > 0 and compat.static_shape(tensor)[0] is not None))


def axis_of_rows(tensor: Any) -> Optional[int]:
    """The axis along which what is fed to `tensor` is divided; None: all clones get the same."""
    if is_declared(tensor):
        return declared_axis(tensor)
    shared = tensor.shape.ndims in (None, 0) or is_undecided(tensor) or _is_dense_shape(tensor)
    return None if shared else 0


def note_sparse(tensor: Any) -> None:
    """Remember what a `tf.SparseTensor` was made of."""
    state_of(tensor.indices.graph).sparse_parts.append(SparseParts(
        tensor.indices, tensor.values, tensor.dense_shape))


def made_sparse(graph: Any) -> List[SparseParts]:
    """The sparse tensors that the script has made in `graph`."""
    return list(state_of(graph).sparse_parts)


def fed_sparse(graph: Any) -> List[SparseParts]:
    """The sparse tensors whose indices are fed; their parts are what is fed for them."""
    resolved = [SparseParts(*map(_behind_casts, parts)) for parts in made_sparse(graph)]
    return [parts for parts in resolved if parts.indices.op.type in PLACEHOLDERS]


def knows_sparse(graph: Any, tensor: Any) -> bool:
    """True if a `tf.SparseTensor` was made since EPL looks."""
    return any(parts.indices is tensor.indices for parts in made_sparse(graph))


def _is_dense_shape(tensor: Any) -> bool:
    """True for the shape of a sparse tensor that is fed: it is divided with its indices."""
    return any(parts.dense_shape is tensor for parts in fed_sparse(tensor.graph))


def _behind_casts(tensor: Any) -> Any:
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    return tensor


def _declare(tensor: Any, axis: Optional[int]) -> None:
    if not isinstance(tensor, tf.Tensor):
        raise ValueError("a feed is declared of a tf.Tensor or a tf.SparseTensor, not of {!r} of "
                         "type {}".format(tensor, type(tensor).__name__))
    state = state_of(tensor.graph)
    if state.has_steps:
        raise RuntimeError("the feed of '{}' is declared when a session has run the training step "
                           "already: declare it where the tensor is made".format(tensor.name))
    known = state.declared_feeds.setdefault(tensor.name, axis)
    if known != axis:
        raise ValueError("'{}' is declared to be {} already, and now to be {}".format(
            tensor.name, _text(known), _text(axis)))


def _text(axis: Optional[int]) -> str:
    return "shared" if axis is None else "divided along axis {}".format(axis)
