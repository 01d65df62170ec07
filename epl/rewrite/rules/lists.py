# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of rows that are lists of different lengths (see `relations`).

A tf.SparseTensor has an entry for each member of each list, in the order of the rows. So feature
columns and `tf.nn.safe_embedding_lookup_sparse` look up words:

    x [rows, n] --> where --> Places [entries, 2] --> [:, 0] ------> RowOf ---+
      +-----------> gather_nd --> LISTED [entries] --> table --> LISTED --> segment_mean --> Rows

Rows come out again where every list has an entry (`tf.sparse.fill_empty_rows`): a segment for each.

Rows that a mask chooses (`tf.boolean_mask`) are entries, too: a row is a list of one, or of none.

    mask [rows] --> where --> Places [entries, 1] --> squeeze --> RowOf --> gather --> LISTED
"""

from typing import Any, Callable, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl.rewrite.relations import (
    FORM,
    LISTED,
    SAME,
    SHARED,
    UNKNOWN,
    Places,
    Plain,
    Reduced,
    RowOf,
    Rows,
    ShapeOf,
)
from epl.rewrite.rules.registry import RULES, rules

# Numbers of entries that are chosen out of all; different values among them, and where they stand.
_CHOSEN, _DIFFERENT, _PLACED = Plain("chosen"), Plain("different"), Plain("placed")
_ALIKE = (SHARED, SAME)
_GATHERS = frozenset(["Gather", "GatherV2", "ResourceGather"])
# These pass on which rows, or entries, are chosen.
_NUMBERS = frozenset(["Cast", "Identity", "Reshape", "Squeeze", "StridedSlice"])


def of_entries(op: Any, inputs: List[Any]) -> Optional[Sequence[Any]]:
    """What `op` makes of entries of lists; None if it takes none, or makes no entries of them."""
    first = inputs[0] if inputs else None
    if op.type in _GATHERS and len(inputs) > 1:
        found = _gathered(inputs[0], inputs[1])
        at_front = op.type != "GatherV2" or tf.get_static_value(op.inputs[2]) == 0
        return None if found is None or not at_front else [found]
    if op.type == "GatherNd" and inputs[0] == Rows(0) and isinstance(inputs[1], Places):
        return [LISTED]
    if op.type == "Reshape" and first in (LISTED, _CHOSEN):
        shape = tf.get_static_value(op.inputs[1])
        return [first] if shape is not None and len(shape) and shape[0] == -1 else None
    if op.type == "StridedSlice" and isinstance(first, Places):
        return [RowOf(first.full)] if _is_first_column(op) else None
    if op.type in ("Reshape", "Squeeze") and isinstance(first, Places):
        return [RowOf(first.full)] if _is_only_column(op) else None
    if op.type == "UnsortedSegmentSum" and inputs[:2] == [LISTED, RowOf(True)]:
        return [Rows(0)]
    if op.type == "Shape" and first == LISTED:
        return [FORM]
    if op.type == "Fill" and first == FORM and inputs[1] in _ALIKE:
        return [LISTED]
    return _as_of_rows(op, inputs) if LISTED in inputs and op.type in RULES else None


def _as_of_rows(op: Any, inputs: List[Any]) -> Optional[Sequence[Any]]:
    """What is computed row by row, or added up over rows, is of entries as well.

    Not a mean: parts have other numbers of entries.
    """
    if any(r != LISTED and r not in _ALIKE for r in inputs):
        return None
    found = RULES[op.type](op, [Rows(0) if r == LISTED else r for r in inputs])
    if all(r == Rows(0) for r in found):
        return [LISTED] * len(found)
    reduced = all(isinstance(r, Reduced) and r.how != "mean" for r in found)
    return found if reduced else None


def mask_of(entries: Any, relation: Callable[[Any], Any]) -> Optional[Any]:
    """What says of each row, or of each of its members, whether it is one of `entries`.

    Args:
      entries: LISTED.
      relation: that of a tensor.

    Returns:
      What a `tf.where` looks at; None if entries were not chosen by one.
    """
    pending, seen = [entries], set()
    while pending:
        op = pending.pop().op
        if op in seen:
            continue
        seen.add(op)
        if op.type == "SparseFillEmptyRows":
            return None  # has more entries
        if op.type in _GATHERS or op.type == "GatherNd":
            chosen = relation(op.inputs[1])
            if chosen == _CHOSEN or isinstance(chosen, (Places, RowOf)):
                return _looked_at(op.inputs[1])
        pending.extend(t for t in op.inputs if relation(t) in (LISTED, FORM))
    return None


def _looked_at(places: Any) -> Optional[Any]:
    op = places.op
    while op.type in _NUMBERS:
        op = op.inputs[0].op
    return op.inputs[0] if op.type == "Where" else None


def _gathered(params: Any, indices: Any) -> Any:
    if params == Rows(0) and isinstance(indices, RowOf):
        return LISTED
    if params in _ALIKE and indices in (LISTED, _DIFFERENT):
        return indices
    if indices == _CHOSEN and (params == LISTED or isinstance(params, Places)):
        return params
    return LISTED if (params, indices) == (_DIFFERENT, _PLACED) else None


def _is_first_column(op: Any) -> bool:
    """True for `places[:, 0]`."""
    begin = tf.get_static_value(op.inputs[1])
    return begin is not None and len(begin) == 2 and begin[1] == 0 and [op.get_attr(
        name) for name in ("shrink_axis_mask", "ellipsis_mask", "new_axis_mask")] == [2, 0, 0] \
        and op.get_attr("begin_mask") & 1 and op.get_attr("end_mask") & 1


def _is_only_column(op: Any) -> bool:
    """True for places [entries, 1] that become [entries]."""
    shape = op.inputs[0].shape
    return shape.ndims == 2 and shape.as_list()[1] == 1 and op.outputs[0].shape.ndims == 1


@rules("Where")
def _where(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if inputs[0] == Rows(0):
        return [Places(False)]
    return [_CHOSEN if inputs[0] == LISTED else UNKNOWN]


@rules("SparseReshape")
def _reshaped(op: Any, inputs: List[Any]) -> Sequence[Any]:
    """Leading axes are put together, of which the first are the rows."""
    if isinstance(inputs[0], Places) and inputs[1:] == [ShapeOf(0), ShapeOf(0)]:
        return [inputs[0], ShapeOf(0)]
    return [UNKNOWN, UNKNOWN]


@rules("SparseFillEmptyRows")
def _filled(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if isinstance(inputs[0], Places) and inputs[1:3] == [LISTED, ShapeOf(0)] \
            and inputs[3] in _ALIKE:
        return [Places(True), LISTED, Rows(0), UNKNOWN]
    return [UNKNOWN] * 4


@rules("Unique")
def _unique(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [_DIFFERENT, _PLACED] if inputs[0] == LISTED else [UNKNOWN, UNKNOWN]


@rules("SegmentMean", "SegmentSum", "SegmentMax", "SegmentMin")
def _of_segments(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [Rows(0) if inputs == [LISTED, RowOf(True)] else UNKNOWN]


@rules("SparseSegmentMean", "SparseSegmentSqrtN", "SparseSegmentSum")
def _of_looked_up_segments(op: Any, inputs: List[Any]) -> Sequence[Any]:
    known = inputs[0] in _ALIKE and inputs[1] == LISTED
    known = known or inputs[:2] == [_DIFFERENT, _PLACED]
    return [Rows(0) if known and inputs[2] == RowOf(True) else UNKNOWN]

