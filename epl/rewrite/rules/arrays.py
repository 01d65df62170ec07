# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What v1 loops make of rows that they get in a TensorArray (see `relations`).

The flow stands for the array. An element has rows along one of its axes where the loop goes through
time; where it goes through the batch, as `tf.map_fn` does, an element is a row:

    x [rows, n] --> array --> read(i) --> f --> write(i) --> array --> stack [rows, m]

What comes out are rows again, if every turn looks at its own row alone.
"""

from typing import Any, Iterable, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import loops, op_traits
from epl.rewrite.relations import (
    COUNT,
    EACH,
    PER_ROW,
    SAME,
    SHARED,
    UNKNOWN,
    Elements,
    Row,
    Rows,
)
from epl.rewrite.rules.registry import rules


@rules("TensorArrayV3")
def _array(op: Any, inputs: List[Any]) -> Sequence[Any]:
    return [PER_ROW if inputs[0] == COUNT else SAME, Elements(None)]


@rules("TensorArraySizeV3")
def _number_of_elements(op: Any, inputs: List[Any]) -> Sequence[Any]:
    if inputs[0] == PER_ROW:
        return [COUNT]
    return [SAME if isinstance(inputs[1], Elements) else UNKNOWN]


@rules("TensorArrayScatterV3")
def _scattered(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows = inputs[2]
    if not isinstance(rows, Rows):
        return [UNKNOWN]
    if rows.axis > 0:
        return [Elements(Rows(rows.axis - 1))]
    return [Elements(EACH) if _counts_up(op.inputs[1].op) else UNKNOWN]


@rules("TensorArrayWriteV3")
def _written(op: Any, inputs: List[Any]) -> Sequence[Any]:
    value = inputs[2]
    if not isinstance(value, Row):
        return [Elements(value)]
    if value.frame == compat.loop_name(op):
        return [Elements(value) if loops.is_counter(op.inputs[1]) else UNKNOWN]
    return [Elements(Elements(value)) if _is_inside(op, value.frame) else UNKNOWN]


@rules("TensorArrayReadV3")
def _read(op: Any, inputs: List[Any]) -> Sequence[Any]:
    flow = inputs[2]
    if not isinstance(flow, Elements) or flow.of is None:
        return [UNKNOWN]
    frame = compat.loop_name(op)
    if isinstance(flow.of, Elements):
        return [flow.of.of if _is_inside(op, flow.of.of.frame) else UNKNOWN]
    if flow.of == EACH:
        return [Row(frame) if frame and loops.is_counter(op.inputs[1]) else UNKNOWN]
    return [flow.of]


@rules("TensorArrayGatherV3")
def _stacked(op: Any, inputs: List[Any]) -> Sequence[Any]:
    flow = inputs[2]
    if not isinstance(flow, Elements) or inputs[1] not in (SHARED, SAME):
        return [UNKNOWN]
    if isinstance(flow.of, Rows):
        return [Rows(flow.of.axis + 1)]
    if isinstance(flow.of, Elements):  # of an array for one row alone
        return [flow.of.of if _is_inside(op, flow.of.of.frame) else UNKNOWN]
    return [SAME if flow.of in (SHARED, SAME) else UNKNOWN]


def stacks_rows(op: Any, inputs: List[Any], sizes: Iterable[int]) -> bool:
    """True for what puts rows together again that a loop has worked on one by one.

    Args:
      op: the operation.
      inputs: the relations of what it takes.
      sizes: numbers of rows that parts of the batch are known to have.
    """
    if op.type != "TensorArrayGatherV3" or not isinstance(inputs[2], Elements) \
            or not isinstance(inputs[2].of, Row) or not _counts_up(op.inputs[1].op):
        return False
    size = tf.get_static_value(op_traits.handle_origin(op.inputs[0]).inputs[0])
    return inputs[0] == PER_ROW if size is None else int(size) in sizes


def of_row(op: Any, inputs: List[Any]) -> Optional[Row]:
    """The row of which alone `op` computes something; None if there is none, or more than that.

    Args:
      op: the operation, no Merge.
      inputs: the relations of what it takes.
    """
    rows = {relation for relation in inputs if isinstance(relation, Row)}
    if len(rows) != 1 or op_traits.starts_batch(op):
        return None
    others = [(t, r) for t, r in list(zip(op.inputs, inputs))[:1 if loops.ends_turn(op) else None]
              if not isinstance(r, Row)]
    alike = all(r in (SHARED, SAME) and not loops.varies(t) for t, r in others)
    return rows.pop() if alike else None


def _is_inside(op: Any, frame: str) -> bool:
    """True for an operation of the loop `frame`, or of one in it."""
    context = compat.control_flow_context(op)
    while context is not None and context.name != frame:
        context = context.outer_context
    return context is not None


def _counts_up(op: Any) -> bool:
    """True for the numbers 0, 1, 2, ..."""
    return op.type == "Range" and [tf.get_static_value(op.inputs[n]) for n in (0, 2)] == [0, 1]
