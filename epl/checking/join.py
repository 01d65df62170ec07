# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rows of all workers and clones as one batch.

    worker 0: clone 0, clone 1    worker 1: clone 0, clone 1
    rows 0..7  rows 8..15         rows 16..23  rows 24..31     -->   rows 0..31
"""

from typing import Any, Callable, Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from epl.checking.record import Taken, digest
from epl.errors import CheckError
from epl.ir import feeds


class Feed(NamedTuple):
    """What is known of a tensor that is fed.

    Attributes:
      axis: along which its value holds rows; None: the value is the same for all.
      known: False: only the script knows; values that differ between workers are rows.
    """

    axis: Optional[int]
    known: bool


class Batch(NamedTuple):
    """What plain TensorFlow is given for one step.

    Attributes:
      values: name of a tensor -> what it is given.
      parts: how many parts were joined for a name; 1: all share the value.
      lines: for people: what the batch consists of.
      warnings: what is suspicious about it.
      problem: why these are not all values, or "".
    """

    values: Dict[str, Any]
    parts: Dict[str, int]
    lines: List[str]
    warnings: List[str]
    problem: str


_Triple = Tuple[str, str, str]  # names of indices, values and shape of a sparse tensor


def feed_of(tensor: Any) -> Feed:
    """What the script says, or the shape, of a tensor that is fed."""
    decided = tensor.shape.ndims == 0 or not feeds.is_undecided(tensor)
    return Feed(feeds.axis_of_rows(tensor) if decided else 0, decided)


def fed_sparse(graph: Any, fed: Collection[str]) -> List[_Triple]:
    """The sparse tensors that are fed."""
    found = []
    for parts in feeds.fed_sparse(graph):
        names = (parts.indices.name, parts.values.name, parts.dense_shape.name)
        if set(names) <= set(fed) and not feeds.is_declared_shared(parts.indices):
            found.append(names)
    return found


def join(workers: Sequence[Taken], known: Dict[str, Feed], sparse_feeds: Sequence[_Triple],
         sparse: Sequence[_Triple]) -> Batch:
    """What all workers' clones took, as the batch of one device.

    Args:
      workers: what each worker's step was given.
      known: name of a tensor that is fed -> what is known of it.
      sparse_feeds: the sparse tensors among what is fed.
      sparse: those among the sources.
    """
    values: Dict[str, Any] = {}
    parts: Dict[str, int] = {}
    problems: List[str] = []

    def take(name: str, joined: Callable[[], Tuple[Any, int]]) -> None:
        try:
            values[name], parts[name] = joined()
        except CheckError as error:
            problems.append(str(error))

    for name in workers[0].fed:
        take(name, lambda: _fed(  # noqa: B023
            name, [w.fed[name] for w in workers], known[name]))  # noqa: B023
    for name in workers[0].sources:
        pieces = [piece for worker in workers for piece in worker.sources.get(name, [])]
        take(name, lambda: _rows(name, pieces))  # noqa: B023
    for triple in sparse_feeds if len(workers) > 1 else ():
        values.update(zip(triple, _sparse([[w.fed[n] for w in workers] for n in triple])))
    for triple in sparse:
        values.update(zip(triple, _sparse([[piece for worker in workers
                                            for piece in worker.sources[n]] for n in triple])))
    return Batch(values, parts, _lines(values, parts), _twice(workers), "; ".join(problems))


def _fed(name: str, arrays: List[Any], feed: Feed) -> Tuple[Any, int]:
    """What all workers together fed: their rows, or what they share."""
    same = len({digest(array) for array in arrays}) == 1
    if len(arrays) == 1 or (same and (feed.axis is None or not feed.known)):
        return arrays[0], 1
    if np.ndim(arrays[0]) == 0 or feed.axis is None:
        raise CheckError("'{}' is fed {} on worker 0, and {} on another".format(
            name, _text(arrays[0]), _text(_other(arrays))))
    return _concatenated(name, arrays, feed.axis), len(arrays)


def _rows(name: str, pieces: List[Any]) -> Tuple[Any, int]:
    if len(pieces) == 1:
        return pieces[0], 1
    if np.ndim(pieces[0]) > 0:
        return _concatenated(name, pieces, 0), len(pieces)
    if len({digest(piece) for piece in pieces}) > 1:
        raise CheckError("'{}' gives single values, {} and {}".format(
            name, _text(pieces[0]), _text(_other(pieces))))
    return pieces[0], 1


def _other(values: Sequence[Any]) -> Any:
    return next(v for v in values if digest(v) != digest(values[0]))


def _text(scalar: Any) -> str:
    return str(np.asarray(scalar)[()])


def _concatenated(name: str, pieces: Sequence[Any], axis: int) -> Any:
    try:
        return np.concatenate(pieces, axis)
    except ValueError:
        raise CheckError("'{}' has parts of the shapes {}".format(name, " and ".join(
            sorted({str(list(np.shape(piece))) for piece in pieces})))) from None


def _sparse(columns: Sequence[Sequence[Any]]) -> List[Any]:
    """One sparse tensor from several, row behind row: [indices, values, shape]."""
    shapes = np.array(columns[2])
    first = np.concatenate([[0], np.cumsum(shapes[:, 0])])
    indices = [array + np.eye(1, array.shape[1], dtype=array.dtype) * start
               for array, start in zip(columns[0], first)]
    whole = shapes.max(0)
    whole[0] = first[-1]
    return [np.concatenate(indices), np.concatenate(columns[1]), whole]


def split_sparse(parts: Sequence[Any], count: int) -> List[List[Any]]:
    """The inverse, of [indices, values, shape]: `count` sparse tensors of equally many rows."""
    indices, values, shape = parts
    size = shape[0] // count
    own = [indices[:, 0] // size == number for number in range(count)]
    offset = np.eye(1, indices.shape[1], dtype=indices.dtype) * size
    return [[indices[mask] - offset * number, values[mask], np.array([size] + list(shape[1:]))]
            for number, mask in enumerate(own)]


def draw(pieces: Sequence[Any], shape: Tuple[int, ...]) -> Optional[Any]:
    """What was drawn for all clones, as one draw of `shape`; None if it is not that."""
    if len({digest(piece) for piece in pieces}) == 1 and np.shape(pieces[0]) == shape:
        return pieces[0]
    for axis in range(len(shape)):
        if all(np.ndim(piece) == len(shape) for piece in pieces):
            try:
                joined = np.concatenate(pieces, axis)
            except ValueError:
                continue
            if joined.shape == shape:
                return joined
    return None


def _lines(values: Dict[str, Any], parts: Dict[str, int]) -> List[str]:
    lines = []
    for name, value in sorted(values.items()):
        line = "{} {}".format(name, list(np.shape(value)))
        lines.append(line + (", {} parts".format(parts[name]) if parts[name] > 1 else ""))
    return lines


def _twice(workers: Sequence[Taken]) -> List[str]:
    """Warns of workers that have the same rows."""
    seen: Dict[str, int] = {}
    for number, worker in enumerate(workers):
        sources = dict(worker.sources)
        sources.update({name: [value] for name, value in worker.fed.items()
                        if np.ndim(value) > 0})
        if not sources:
            continue
        text = repr(sorted((name, [digest(p) for p in pieces])
                           for name, pieces in sources.items()))
        if text in seen:
            return ["worker {} reads the same rows as worker {}: give every worker its own part of "
                    "the data, or more workers learn nothing more".format(number, seen[text])]
        seen[text] = number
    return []
