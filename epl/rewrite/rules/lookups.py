# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What chooses by numbers: lookups in tables."""

from typing import Any, List, Sequence

import tensorflow.compat.v1 as tf

from epl.rewrite.relations import COUNT, POSITIONS, SAME, SHARED, UNKNOWN, Reduced, Rows, ShapeOf
from epl.rewrite.rules.registry import attribute, rank_of, rules


@rules("Gather", "GatherV2", "ResourceGather")
def _gathered(op: Any, inputs: List[Any]) -> Sequence[Any]:
    params, indices = inputs[:2]
    if isinstance(params, ShapeOf):
        return [_chosen_sizes(op, params)]
    axis = 0
    if op.type == "GatherV2":
        value = tf.get_static_value(op.inputs[2])
        if value is None or (op.op_def.attr and attribute(op, "batch_dims", 0)):
            return [UNKNOWN]
        axis = int(value)
    alike = params in (SHARED, SAME, UNKNOWN) or isinstance(params, Reduced)
    if isinstance(indices, Rows) and alike and axis >= 0:
        return [Rows(axis + indices.axis)]
    if isinstance(params, Rows) and indices in (SHARED, SAME) and axis > params.axis:
        return [params]
    return [UNKNOWN]


def _chosen_sizes(op: Any, shape: Any) -> Any:
    """Sizes that a constant chooses from the shape of rows, as `tf.tensordot` does."""
    chosen, rank = tf.get_static_value(op.inputs[1]), op.inputs[0].shape.num_elements()
    if chosen is None or rank is None:
        return UNKNOWN
    if chosen.ndim == 0:
        return COUNT if int(chosen) % rank == shape.axis else SAME
    places = [place for place, axis in enumerate(chosen.ravel()) if axis % rank == shape.axis]
    if len(places) > 1 or chosen.ndim > 1:
        return UNKNOWN
    return ShapeOf(places[0]) if places else SAME


@rules("GatherNd", "ResourceGatherNd")
def _gathered_by_position(op: Any, inputs: List[Any]) -> Sequence[Any]:
    params, indices = inputs
    rank = rank_of(op.inputs[1])
    if params == Rows(0) and indices == POSITIONS and _begins_with_own_number(op.inputs[1].op):
        return [Rows(0)]
    if isinstance(indices, Rows) and params in (SHARED, SAME) and rank is not None \
            and indices.axis < rank - 1:
        return [indices]
    return [UNKNOWN]


def _begins_with_own_number(op: Any) -> bool:
    """True for indices [rows, n] of which the first in each row is the row's number."""
    if op.type not in ("Pack", "ConcatV2"):
        return False
    axis = op.get_attr("axis") if op.type == "Pack" else tf.get_static_value(op.inputs[-1])
    first = op.inputs[0].op
    while first.type in ("Cast", "ExpandDims", "Identity", "Reshape"):
        first = first.inputs[0].op
    return axis in (1, -1) and rank_of(op.outputs[0]) == 2 and first.type == "Range" and [
        tf.get_static_value(first.inputs[place]) for place in (0, 2)] == [0, 1]


@rules("OneHot")
def _one_hot(op: Any, inputs: List[Any]) -> Sequence[Any]:
    rows, axis = inputs[0], op.get_attr("axis")
    if not isinstance(rows, Rows):
        return [UNKNOWN]
    return [rows if axis == -1 or axis > rows.axis else Rows(rows.axis + 1)]
