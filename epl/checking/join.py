# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rows of all workers and clones as one batch.

    worker 0: clone 0, clone 1    worker 1: clone 0, clone 1
    rows 0..7  rows 8..15         rows 16..23  rows 24..31     -->   rows 0..31
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from epl.checking.record import Taken, digest
from epl.errors import CheckError


class Batch(NamedTuple):
    """What plain TensorFlow is given for one step.

    Attributes:
      values: name of a tensor -> what it is given.
      parts: how many parts were joined for a name; 1: all share the value.
      lines: for people: what the batch consists of.
      warnings: what is suspicious about it.
    """

    values: Dict[str, Any]
    parts: Dict[str, int]
    lines: List[str]
    warnings: List[str]


def join(workers: Sequence[Taken], shapes: Dict[str, Optional[List[Any]]],
         sparse: Sequence[Tuple[str, str, str]]) -> Batch:
    """What all workers' clones took, as the batch of one device.

    Args:
      workers: what each worker's step was given.
      shapes: name of a tensor -> its static shape, None if its rank is unknown.
      sparse: names of (indices, values, shape) of sparse tensors among the sources.

    Raises:
      CheckError: values that do not make one batch.
    """
    values: Dict[str, Any] = {}
    parts: Dict[str, int] = {}
    for name in workers[0].fed:
        values[name], parts[name] = _fed(name, [w.fed[name] for w in workers], shapes[name])
    for name in workers[0].sources:
        pieces = [piece for worker in workers for piece in worker.sources[name]]
        values[name], parts[name] = _rows(name, pieces)
    for triple in sparse:
        joined = _sparse([[piece for worker in workers for piece in worker.sources[name]]
                          for name in triple])
        values.update(zip(triple, joined))
    return Batch(values, parts, _lines(values, parts), _twice(workers))


def _fed(name: str, arrays: List[Any], shape: Optional[List[Any]]) -> Tuple[Any, int]:
    """What all workers together fed: their rows, or what they share."""
    same = len({digest(array) for array in arrays}) == 1
    has_rows = shape is None or (bool(shape) and shape[0] is None)
    if len(arrays) == 1 or (same and not has_rows):
        return arrays[0], 1
    if np.ndim(arrays[0]) == 0:
        raise CheckError("worker 0 feeds {} to '{}', another worker {}: one device can be fed one "
                         "only".format(_text(arrays[0]), name, _text(_other(arrays))))
    return _concatenated(name, arrays), len(arrays)


def _rows(name: str, pieces: List[Any]) -> Tuple[Any, int]:
    if len(pieces) == 1:
        return pieces[0], 1
    if np.ndim(pieces[0]) > 0:
        return _concatenated(name, pieces), len(pieces)
    if len({digest(piece) for piece in pieces}) > 1:
        raise CheckError("'{}' gives a single value, {} to one clone and {} to another: they are "
                         "no rows of one batch".format(
                             name, _text(pieces[0]), _text(_other(pieces))))
    return pieces[0], 1


def _other(values: Sequence[Any]) -> Any:
    return next(v for v in values if digest(v) != digest(values[0]))


def _text(scalar: Any) -> str:
    return str(np.asarray(scalar)[()])


def _concatenated(name: str, pieces: Sequence[Any]) -> Any:
    try:
        return np.concatenate(pieces)
    except ValueError:
        raise CheckError("'{}' has parts of the shapes {}, which do not join to one batch: pad all "
                         "to one length".format(name, ", ".join(
                             str(np.shape(piece)) for piece in pieces))) from None


def _sparse(columns: Sequence[Sequence[Any]]) -> List[Any]:
    """One sparse tensor from several, row behind row: [indices, values, shape]."""
    shapes = np.array(columns[2])
    first = np.concatenate([[0], np.cumsum(shapes[:, 0])])
    indices = [array + np.eye(1, array.shape[1], dtype=array.dtype) * start
               for array, start in zip(columns[0], first)]
    whole = shapes.max(0)
    whole[0] = first[-1]
    return [np.concatenate(indices), np.concatenate(columns[1]), whole]


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
