# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step is fed: is it known how the clones of a worker share it?

    [None, ...]                  rows of the batch, divided along axis 0
    []                           the same for all clones
    [n, ...], without a shape    only the script knows: it has to be declared (see `ir.feeds`)
    sparse                       rows, divided with the first column of the indices

One clone per worker takes what it is fed, whatever its shape.
"""

from typing import Any, Optional, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds
from epl.rewrite import loops, op_traits
from epl.rewrite.partition import StepPartition
from epl.rewrite.walk import data_ancestors

# Operations by which coordinates stay coordinates of non-zeros, instead of following from the rows
# of a dense batch as those of `Where` do.
_OF_COORDINATES = frozenset([
    "Add", "AddV2", "Cast", "Concat", "ConcatV2", "ExpandDims", "GatherV2", "Identity", "Mul",
    "Pack", "Reshape", "Slice", "Squeeze", "StridedSlice", "Sub", "Transpose"])

# Operations whose result has the first dimension of what they take (of the indices, for lookups).
_ROW_BY_ROW = frozenset([
    "Add", "AddV2", "BiasAdd", "Cast", "Identity", "Mul", "OneHot", "RealDiv", "Relu", "Sigmoid",
    "Sub", "Tanh"])
_LOOKUPS = frozenset(["GatherV2", "ResourceGather"])


def check_feeds(partition: StepPartition, graph: Any, num_clones: int, num_slices: int) -> None:
    """Refuse a step whose clones would be fed in a way that only the script can know.

    Raises:
      ValueError: a placeholder is to be declared; the message says where the script made it.
      NotImplementedError: what is declared cannot be divided so.
    """
    for op in partition.ops:
        if op.type in feeds.PLACEHOLDERS and feeds.is_undecided(op.outputs[0]):
            raise ValueError(undecided(op.outputs[0], num_clones))
        if num_slices > 1 and op_traits.is_fed_per_batch(op):
            _check_slices(op.outputs[0], num_slices)
    for parts in feeds.fed_sparse(graph):
        rows = static_rows(parts.dense_shape)
        if parts.indices.op in partition.stage and rows is not None \
                and not feeds.is_declared(parts.indices):
            raise ValueError(undecided_sparse(parts, rows, num_clones))
    _check_coordinates(partition, graph)
    for op in partition.sources:
        if op.type in feeds.PLACEHOLDERS and not feeds.is_declared(op.outputs[0]):
            _check_steps(op.outputs[0], partition)


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


def _check_coordinates(partition: StepPartition, graph: Any) -> None:
    """Raises ValueError for indices of a sparse tensor that are put together of fed coordinates.

    Divided by their own number they would be other rows than those of the batch. Those that only a
    metric counts by (a confusion matrix) are joined again.
    """
    known = {part for parts in feeds.fed_sparse(graph) for part in (parts.indices, parts.values)}
    for parts in feeds.made_sparse(graph):
        if parts.indices.op not in partition.phase:
            continue
        ends = {op for op in partition.ops if op.type not in _OF_COORDINATES}
        for op in sorted(data_ancestors([parts.indices.op], ends), key=compat.op_id):
            if op.type in feeds.PLACEHOLDERS and op_traits.is_fed_per_batch(op) \
                    and not feeds.is_declared(op.outputs[0]) and op.outputs[0] not in known:
                raise ValueError(
                    "the indices of a sparse tensor ('{}') are computed from what is fed to "
                    "'{}'{}: several clones of the model (micro-batches x replicas) would divide "
                    "its values, not the rows of the batch; feed a tf.sparse_placeholder, or a "
                    "placeholder that is the tf.SparseTensor's indices itself; or say "
                    "epl.divide_feed(placeholder) if each of its rows is one of the batch".format(
                        parts.indices.name, op.outputs[0].name, compat.made_at(op)))


def _check_steps(tensor: Any, partition: StepPartition) -> None:
    """Raises ValueError if a v1 loop goes from one row of a feed to the next and remembers.

    The rows are then steps in time, not examples, as of a recurrent network with `time_major`.
    """
    for scatter in _scattered(tensor, partition):
        users = [user for t in (scatter.inputs[0], scatter.outputs[0]) for user in t.consumers()]
        for frame in {u.get_attr("frame_name") for u in users if loops.is_enter(u)
                      and not partition.goes_back(u)}:
            if _remembers(frame, partition):
                raise ValueError(
                    "'{}'{} of shape {} would be divided between the clones of the model on this "
                    "worker (micro-batches x replicas) along its first dimension, but a loop goes "
                    "through that dimension from one step to the next ('{}'): say which axis is "
                    "the batch, epl.divide_feed(placeholder, axis=1) if it is time-major, or "
                    "axis=0".format(tensor.op.name, compat.made_at(tensor.op), tensor.shape,
                                    scatter.name))


def _scattered(tensor: Any, partition: StepPartition) -> Set[Any]:
    """The operations that hand a feed to a loop row by row."""
    found: Set[Any] = set()
    seen: Set[str] = set()
    pending = [tensor]
    while pending:
        value = pending.pop()
        if value.name in seen:
            continue
        seen.add(value.name)
        for op in value.consumers():
            takes = [number for number, t in enumerate(op.inputs) if t is value]
            if op not in partition.stage:
                continue
            if op.type == "TensorArrayScatterV3" and 2 in takes:
                found.add(op)
            elif op.type in _ROW_BY_ROW or (op.type in _LOOKUPS and 1 in takes):
                pending.extend(op.outputs)
    return found


def _remembers(frame: bytes, partition: StepPartition) -> bool:
    """True if a v1 loop hands numbers to its next round, beside counters and `tf.TensorArray`s."""
    for enter in partition.ops:
        if not loops.is_enter(enter) or enter.get_attr("frame_name") != frame:
            continue
        for merge in (user for user in enter.outputs[0].consumers() if user.type == "Merge"):
            value = merge.inputs[1].op.inputs[0]
            flow = value.shape.ndims == 0 and (
                value.op.type.startswith("TensorArray") or value.op.type in ("Identity", "Merge"))
            if value.dtype.is_floating and not flow:
                return True
    return False
