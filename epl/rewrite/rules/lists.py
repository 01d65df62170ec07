# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of rows that are lists of different lengths (see `relations`).

A tf.SparseTensor has an entry for each member of each list, in the order of the rows. So feature
columns and `tf.nn.safe_embedding_lookup_sparse` look up words:

    x [rows, n] --> where --> Places [entries, 2] --> [:, 0] ------> RowOf ---+
      +-----------> gather_nd --> LISTED [entries] --> table --> LISTED --> segment_mean --> Rows

Rows come out again where every list has an entry (`tf.sparse.fill_empty_rows`): a segment for each.
"""

from typing import Any, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl.rewrite.relations import (
    LISTED,
    SAME,
    SHARED,
    UNKNOWN,
    Places,
    Plain,
    RowOf,
    Rows,
    ShapeOf,
)
from epl.rewrite.rules.registry import rules
from epl.rewrite.rules.values import ELEMENTWISE

# Numbers of entries that are chosen out of all; different values among them, and where they stand.
_CHOSEN, _DIFFERENT, _PLACED = Plain("chosen"), Plain("different"), Plain("placed")
_ALIKE = (SHARED, SAME)
_GATHERS = frozenset(["Gather", "GatherV2", "ResourceGather"])


def of_entries(op: Any, inputs: List[Any]) -> Optional[Sequence[Any]]:
    """What `op` makes of entries of lists; None if it takes none, or makes no entries of them."""
    first = inputs[0] if inputs else None
    if op.type in ELEMENTWISE and LISTED in inputs:
        return [LISTED] if all(r in (LISTED, SHARED, SAME) for r in inputs) else None
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
    if op.type == "UnsortedSegmentSum" and inputs[:2] == [LISTED, RowOf(True)]:
        return [Rows(0)]
    return None


def _gathered(params: Any, indices: Any) -> Any:
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

