# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step is fed: is it known how the clones of a worker share it?

    [None, ...]                  rows of the batch, divided along axis 0
    []                           the same for all clones
    [n, ...], without a shape    only the script knows: it has to be declared (see `ir.feeds`)
    sparse                       rows, divided with the first column of the indices

One clone per worker takes what it is fed, whatever its shape.
"""

from typing import Any, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds
from epl.rewrite import kinds
from epl.rewrite.anatomy import Anatomy
from epl.rewrite.walk import data_ancestors

# Operations by which coordinates stay coordinates of non-zeros, instead of following from the rows
# of a dense batch as those of `Where` do.
_OF_COORDINATES = frozenset([
    "Add", "AddV2", "Cast", "Concat", "ConcatV2", "ExpandDims", "GatherV2", "Identity", "Mul",
    "Pack", "Reshape", "Slice", "Squeeze", "StridedSlice", "Sub", "Transpose"])


def check_feeds(anatomy: Anatomy, graph: Any, num_clones: int, num_slices: int) -> None:
    """Refuse a step whose clones would be fed in a way that only the script can know.

    Raises:
      ValueError: a placeholder is to be declared; the message says where the script made it.
      NotImplementedError: what is declared cannot be divided so.
    """
    for op in anatomy.ops:
        if op.type in feeds.PLACEHOLDERS and feeds.is_undecided(op.outputs[0]):
            raise ValueError(undecided(op.outputs[0], num_clones))
        if num_slices > 1 and kinds.is_fed_per_batch(op):
            _check_slices(op.outputs[0], num_slices)
    for parts in feeds.fed_sparse(graph):
        rows = static_rows(parts.dense_shape)
        if parts.indices.op in anatomy.stage and rows is not None \
                and not feeds.is_declared(parts.indices):
            raise ValueError(undecided_sparse(parts, rows, num_clones))
    _check_coordinates(anatomy, graph)


def undecided(tensor: Any, num_clones: int) -> str:
    """The error text for a fed tensor that has to be declared."""
    size = compat.static_shape(tensor)[0] if tensor.shape.ndims else None
    shape = "no shape" if tensor.shape.ndims is None else "no open first dimension: its shape is " \
        "{}".format(tensor.shape)
    rows = "" if size is None else ", {} x {} = {} rows".format(
        num_clones, size, num_clones * size)
    return (
        "'{}'{} has {}, so that EPL cannot tell whether it holds rows of the batch, which are "
        "divided between the {} clones of the model on this worker (micro-batches x replicas). If "
        "it does, say so: epl.divide_feed(placeholder); a step is then fed the rows of all "
        "clones{}. If all clones are to get the same: epl.share_feed(placeholder). Or give it "
        "shape=[None, ...], which is divided, or shape=[], which is shared".format(
            tensor.op.name, compat.made_at(tensor.op), shape, num_clones, rows))


def undecided_sparse(parts: feeds.SparseParts, rows: int, num_clones: int) -> str:
    """The error text for a sparse placeholder with a fixed number of rows."""
    return (
        "the sparse tensor of '{}'{} has a fixed number of rows, {}, and there are {} clones of "
        "the model on this worker (micro-batches x replicas): if they are rows of the batch, say "
        "epl.divide_feed(...) of the tf.SparseTensor, and feed {} x {} rows; if all clones are to "
        "get the same, epl.share_feed(...); or give it shape=[None, ...]".format(
            parts.indices.name, compat.made_at(parts.indices.op), rows, num_clones, num_clones,
            rows))


def static_rows(dense_shape: Any) -> Optional[int]:
    """The number of rows that the shape of a sparse tensor has by its constants, or None."""
    if dense_shape.op.type == "PlaceholderWithDefault":
        dense_shape = dense_shape.op.inputs[0]
    value = tf.get_static_value(dense_shape)
    return int(value[0]) if value is not None and len(value) and value[0] >= 0 else None


def _check_slices(tensor: Any, num_slices: int) -> None:
    axis = feeds.declared_axis(tensor)
    if axis is not None and tensor.shape.ndims is not None \
            and compat.static_shape(tensor)[axis] is not None:
        raise NotImplementedError(
            "'{}'{} of shape {} is divided along axis {}, but cannot be cut into the {} slices "
            "that epl.replicate(device_count=...) asks for: leave that dimension open (None), or "
            "use device_count=1".format(tensor.name, compat.made_at(tensor.op), tensor.shape, axis,
                                        num_slices))


def _check_coordinates(anatomy: Anatomy, graph: Any) -> None:
    """Raises ValueError for indices of a sparse tensor that are put together of fed coordinates.

    Divided by their own number they would be other rows than those of the batch.
    """
    known = {part for parts in feeds.fed_sparse(graph) for part in (parts.indices, parts.values)}
    for parts in feeds.made_sparse(graph):
        if parts.indices.op not in anatomy.stage:
            continue
        ends = {op for op in anatomy.ops if op.type not in _OF_COORDINATES}
        for op in sorted(data_ancestors([parts.indices.op], ends), key=lambda op: op._id):
            if op.type in feeds.PLACEHOLDERS and kinds.is_fed_per_batch(op) \
                    and not feeds.is_declared(op.outputs[0]) and op.outputs[0] not in known:
                raise ValueError(
                    "the indices of a sparse tensor ('{}') are computed from what is fed to "
                    "'{}'{}: several clones of the model (micro-batches x replicas) would divide "
                    "its values, not the rows of the batch; feed a tf.sparse_placeholder, or a "
                    "placeholder that is the tf.SparseTensor's indices itself; or say "
                    "epl.divide_feed(placeholder) if each of its rows is one of the batch".format(
                        parts.indices.name, op.outputs[0].name, compat.made_at(op)))
