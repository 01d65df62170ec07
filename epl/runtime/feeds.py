# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A training step divides what it is fed between the clones.

    feed x: rows 0..31   -->   x: 0..7   x of clone 1: 8..15   x of clone 2: 16..23   ...

in (replica, micro-batch, slice) order. Outside of steps the script's own operations get the whole.
"""

import contextlib
import threading
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds as declared
from epl.ir.graph_state import GraphState
from epl.rewrite import fed, op_traits
from epl.rewrite.clones import CloneMap
from epl.rewrite.recompute import check_fed
from epl.rewrite.sources import Sources
from epl.runtime import sparse_feeds
from epl.runtime.runs import Run


class _Whole(threading.local):
    """What this thread's session run was given for placeholders of fixed size, by tensor name."""

    def __init__(self) -> None:
        self.values: Dict[str, Any] = {}


_whole = _Whole()


@contextlib.contextmanager
def first_shares(feed_dict: Any, graph: Any, state: GraphState) -> Iterator[Any]:
    """A script's feeds as TensorFlow will accept them: it knows the shape of one clone's share.

    Where a dimension is fixed and declared to be divided, the first clone's rows stand for those of
    all, which `divide` finds again.

    Args:
      feed_dict: as the script gave it to a session; not changed.
      graph: the session's graph.
      state: its record.
    """
    before, found = _whole.values, {}  # type: Dict[str, Any], Dict[str, Any]
    flat = compat.flat_feeds(feed_dict)
    for key, value in flat.items():
        tensor = _fixed(key, graph, state)
        if tensor is None:
            continue
        axis = declared.declared_axis(tensor) or 0
        array = np.asarray(value, dtype=tensor.dtype.as_numpy_dtype)
        size = compat.static_shape(tensor)[axis] or 0
        if array.ndim == tensor.shape.ndims and array.shape[axis] != size:
            found[tensor.name] = array
            flat[key] = np.take(array, range(size), axis, mode="clip") if array.size else array
    _whole.values = found
    try:
        yield flat if found else feed_dict
    finally:
        _whole.values = before


def indivisible(feed_dict: Any, graph: Any) -> str:
    """The error text if a step of several clones cannot be fed so; "" if it can."""
    for key in compat.flat_feeds(feed_dict):
        if isinstance(key, tf.SparseTensor) and not declared.knows_sparse(graph, key):
            return ("{} is fed to a training step, and was made before epl.init: several "
                    "micro-batches or replicas cannot divide its rows; make it after epl.init"
                    .format(key))
        if isinstance(key, tf.RaggedTensor):
            return ("{} is fed to a training step: several micro-batches or replicas cannot divide "
                    "the rows of a ragged tensor; feed a tf.sparse_placeholder and use "
                    "tf.RaggedTensor.from_sparse, or feed padded rows".format(key))
    return ""


def whole(feeds: Dict[Any, Any]) -> Dict[Any, Any]:
    """The flat feeds of a session as the script gave them, before `first_shares`."""
    return {key: _whole.values.get(compat.fed_tensor(key).name, value)
            for key, value in feeds.items()}


def check_whole() -> None:
    """Raises ValueError outside of a step: there a placeholder is fed what its shape says."""
    for name, value in _whole.values.items():
        raise ValueError(
            "'{}' is fed a value of shape {}, the rows of all clones, but this session.run is no "
            "training step: feed what its shape says".format(name, value.shape))


def divide(feeds: Dict[Any, Any], run: Run, state: GraphState) -> Dict[Any, Any]:
    """The feeds of a training step for all clones.

    Args:
      feeds: flat feeds of a session, key -> array; not changed.
      run: what is about to be run.
      state: record of the graph.

    Raises:
      ValueError: rows that cannot be divided between the clones; nothing has run then.
    """
    tensors = [compat.fed_tensor(key) for key in feeds]
    names = tensors + further_tensors(tensors, run, state)
    values = divided(tensors, list(feeds.values()), run, state)
    return {compat.feed_key(tensor): value for tensor, value in zip(names, values)}


def further_tensors(tensors: Sequence[Any], run: Run, state: GraphState) -> List[Any]:
    """What a step is fed beside `tensors`: the other clones' copies, and the number of slices."""
    check_fed(state, tensors)
    copies = [copy for tensor in tensors for clone in fed_copies(tensor, run) for copy in clone
              if copy is not tensor]
    sources = state.find(Sources)
    count = sources.count if sources is not None else None
    return copies + ([count] if count is not None else [])


def divided(tensors: Sequence[Any], values: Sequence[Any], run: Run,
            state: GraphState) -> List[Any]:
    """The values for `tensors`, then those for `further_tensors`, from what `tensors` are fed.

    Raises:
      ValueError: as `divide`.
    """
    values = [_whole.values.get(t.name, value) for t, value in zip(tensors, values)]
    sparse = sparse_feeds.Sparse(tensors, values, lambda tensor: len(fed_copies(tensor, run)))
    _check_rows(tensors, values, run, sparse)
    own: List[Any] = []
    further: List[Any] = []
    for tensor, value in zip(tensors, values):
        declared.check_number(tensor, np.ndim(value))
        for copy, part in sparse.shares(tensor, fed_copies(tensor, run)) or shares(
                tensor, value, run):
            (own if copy is tensor else further).append(part)
    sources = state.find(Sources)
    if sources is not None and sources.count is not None:
        further.append(np.array(sources.num_slices, np.int32))
    return own + further


def shares(tensor: Any, value: Any, run: Run) -> List[Tuple[Any, Any]]:
    """(tensor of a clone, what it is fed) for one fed tensor.

    Raises:
      ValueError: as `divide`.
    """
    clones = fed_copies(tensor, run)
    if not clones:
        _check_shared(tensor, value, run)
        return [(tensor, value)]
    axis = divided_axis(tensor, value, len(clones))
    if axis is None:
        return [(copy, value) for copies in clones for copy in copies]
    value = np.asarray(value)
    rows = value.shape[axis] if value.ndim > axis else 0
    _check_number(tensor, axis, rows, len(clones))
    return [(copy, part) for copies, part in zip(clones, np.split(value, len(clones), axis))
            for copy in copies]


def fed_copies(tensor: Any, run: Run) -> List[List[Any]]:
    """What stands for a fed tensor in each clone; empty if all share it.

    Slices of a micro-batch share an iterator's batch, which is cut behind the tensor that is fed.
    """
    if tensor.name not in run.copies:
        run.copies[tensor.name] = _fed_copies(tensor, _copying(run))
    return run.copies[tensor.name]


def _fed_copies(tensor: Any, copying: List[Any]) -> List[List[Any]]:
    if not copying:
        return []
    last = copying[0].clones[-1]
    if all(copies.tensor(tensor, last) is tensor for copies in copying):
        return []
    found: Dict[Tuple[str, ...], List[Any]] = {}
    for clone in copying[0].clones:
        by_name = {t.name: t for t in (copies.tensor(tensor, clone) for copies in copying)}
        found.setdefault(tuple(sorted(by_name)), [by_name[name] for name in sorted(by_name)])
    return list(found.values())


def divided_axis(tensor: Any, value: Any, num_clones: int) -> Optional[int]:
    """The axis along which a tensor of every clone is divided; None: all get the same.

    Raises:
      ValueError: only the script knows, and has not said so.
    """
    if declared.is_undecided(tensor) and not (tensor.shape.ndims is None and np.ndim(value) == 0):
        raise ValueError(fed.undecided(tensor, num_clones))
    return declared.axis_of_rows(tensor)


def _copying(run: Run) -> List[CloneMap]:
    """The clones of a step, of each of its gradients, where there are several."""
    return [g.copied for g in run.groups if g.copied is not None]


def _check_shared(tensor: Any, value: Any, run: Run) -> None:
    """Raises ValueError if a step's clones would share what may be the rows of a batch."""
    copying = _copying(run)
    if copying and np.ndim(value) > 0 and not declared.is_declared(tensor) \
            and not op_traits.reads_variable(tensor) and any(
                tensor.op in g.partition.stage for g in run.groups if g.partition is not None):
        raise ValueError(fed.undecided(tensor, len(copying[0].clones)))


def _check_number(tensor: Any, axis: int, rows: int, num_clones: int) -> None:
    if rows == 0 or rows % num_clones:
        raise ValueError(
            "{} rows are fed to '{}', but a step divides them between {} clones of the model "
            "(micro-batches x replicas of this worker): feed a multiple of {}".format(
                rows, tensor.name, num_clones, num_clones))
    size = None if tensor.shape.ndims is None else compat.static_shape(tensor)[axis]
    if size is not None and rows != num_clones * size:
        raise ValueError(
            "{} rows are fed to '{}' of shape {}, but a step divides them between {} clones of the "
            "model (micro-batches x replicas of this worker), each of which takes {}: feed {} x {} "
            "= {} rows".format(rows, tensor.name, tensor.shape, num_clones, size, num_clones, size,
                               num_clones * size))


def _check_rows(tensors: Sequence[Any], values: Sequence[Any], run: Run,
                sparse: sparse_feeds.Sparse) -> None:
    """Raises ValueError if feeds that are divided without a word have not the same rows."""
    rows = {t.name: len(value) for t, value in zip(tensors, values)
            if not sparse.has(t) and not declared.is_declared(t) and np.ndim(value)
            and declared.axis_of_rows(t) == 0 and fed_copies(t, run)}
    rows.update(sparse.undeclared_rows)
    if len(set(rows.values())) > 1:
        raise ValueError(
            "a step divides what it is fed between the clones of the model (micro-batches x "
            "replicas of this worker), and these do not have the same number of rows: {}. Say of "
            "each that is not one row per example what it is: epl.divide_feed(placeholder, axis) "
            "for another axis of the batch, or for several rows per example; "
            "epl.share_feed(placeholder) for what is the same for all clones".format(
                ", ".join("'{}' {}".format(name, rows[name]) for name in sorted(rows))))


def _fixed(key: Any, graph: Any, state: GraphState) -> Any:
    """The tensor of a feed whose divided dimension is fixed, or None."""
    if not state.declared_feeds or isinstance(key, tf.SparseTensor):
        return None
    try:
        tensor = graph.as_graph_element(key, allow_operation=False)
    except (TypeError, ValueError, KeyError):
        return None  # TensorFlow says what is wrong with it
    axis = declared.declared_axis(tensor)
    open_ = axis is None or tensor.shape.ndims is None or compat.static_shape(tensor)[axis] is None
    return None if open_ else tensor
