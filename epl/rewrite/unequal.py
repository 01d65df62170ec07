# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parts of a batch that have other numbers of rows, or longer ones: a step says so, once.

Datasets that keep the smaller batch at their end make parts of other numbers of rows, and workers
that are fed other numbers. Nothing but static shapes says before a step that all have equally many
(and that rows fed to one worker are divided evenly). `rewrite.weights` lets them count by their
rows; here is what that cannot mend. A part that is padded to its own longest row
has other lengths than the whole batch would have, and other numbers of elements in its means; so
has one that the script cuts to its own longest row (`rewrite.lengths`). Such numbers are counted
where they may differ; their means travel with the gradients.
"""

from typing import Any, Callable, Iterable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds
from epl.rewrite import joined, relations
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import GradientGroup, Measure
from epl.rewrite.lengths import Lengths
from epl.rewrite.partition import StepPartition
from epl.rewrite.walk import data_ancestors
from epl.rewrite.weights import Rows

_ROWS = (
    "a step averaged parts with different numbers of rows: {own} on this worker, {mean:g} in the "
    "mean over all parts. The rows of smaller parts may count for more than on one device with the "
    "whole batch. Let the loss be a mean over rows (a sum divided by tf.shape(x)[0], not by a "
    "number), or use batch(..., drop_remainder=True) or epl.shard, and feed all workers equally "
    "many rows. (Later steps like this say nothing.)")
_MULTIPLES = (
    "a step averaged parts with different numbers of rows: '{{name}}'{{place}} has {{own}} times "
    "as many as '{rows}' on this worker, {{mean:g}} times in the mean over all parts, and parts "
    "count by those of '{rows}'. Let each loss be a mean over one kind of rows, or use parts with "
    "equally many of each. (Later steps like this say nothing.)")
_ELEMENTS = (
    "a step averaged parts of different lengths: '{name}'{place} counts {own} elements on this "
    "worker, {mean:g} in the mean over all parts. Each part is as long as its own longest row, so "
    "that padding counts for more or less than on one device with the whole batch. Divide a masked "
    "sum by the sum of the mask, or cut and pad to a fixed length (maxlen=...). (Later steps like "
    "this say nothing.)")
_LENGTHS = (
    "the parts of a step are padded to different lengths: axis {axis} of '{name}'{place} has {own} "
    "on this worker, {mean:g} in the mean over all parts. On one device all rows are as long as "
    "the longest. It makes no difference where padding counts for nothing (masks, "
    "sequence_length); else pad to a fixed length. (Later steps like this say nothing.)")
_CUT = (
    "the parts of a step have different lengths: '{{name}}'{{place}} is as long as the longest row "
    "of a part ({{own}} places on this worker, {{mean:g}} in the mean over all parts), and "
    "'{reader}'{at} takes all of them in, without asking rows where they end. On one device all "
    "rows are as long as the longest. Cut or pad to a fixed length (maxlen=...), or mask what is "
    "behind the end of a row. (Later steps like this say nothing.)")
_SIZES = (
    "a step averaged parts of different lengths: the size of '{name}'{place}, which the model "
    "computes with, is {own} on this worker, {mean:g} in the mean over all parts, as each part is "
    "as long as its own longest row. Divide by numbers of the rows (their lengths, the sum of a "
    "mask), or cut and pad to a fixed length (maxlen=...). (Later steps like this say nothing.)")


def open_rows(family: Sequence[GradientGroup], partition: StepPartition, num_clones: int,
              num_workers: int) -> Optional[Rows]:
    """What brings in rows of which parts may have other numbers; None if all have equally many.

    Arguments as those of `measures`.
    """
    model = data_ancestors(y.op for y in family[0].ys)
    for tensor in _varying(partition, num_clones, num_workers):
        axis = _axis_of_rows(tensor)
        if tensor.op in model and compat.static_shape(tensor)[axis] is None:
            return Rows(tensor, axis)
    return None


def number_of(rows: Rows) -> Measure:
    """Parts have to have equally many rows."""
    return Measure(_ROWS, rows.tensor, [rows.axis], is_of_rows=True)


def multiples_of(rows: Rows, others: Iterable[Rows]) -> List[Measure]:
    """Parts that are weighed by `rows` have to have the same multiple of others."""
    return [Measure(_MULTIPLES.format(rows=_literal(rows.tensor.op.name)), other.tensor,
                    [other.axis], rows, is_of_rows=True)
            for other in others if other.tensor is not rows.tensor]


def measures(group: GradientGroup, partition: StepPartition, axes: BatchAxes, num_clones: int,
             num_workers: int, is_gradient: Callable[[Any], bool]) -> List[Measure]:
    """What else may differ between the parts of a step; nothing if all are equal anyway.

    Args:
      group: whose steps are looked at.
      partition: what they consist of.
      axes: how its tensors relate to the whole batch.
      num_clones: of this worker.
      num_workers: workers that take part.
      is_gradient: True for operations that TensorFlow built for gradients.
    """
    model = data_ancestors(y.op for y in group.ys)
    tensors = [tensor for tensor in _varying(partition, num_clones, num_workers)
               if tensor.op in model]
    rows = [(tensor, _axis_of_rows(tensor)) for tensor in tensors]
    padded = [(tensor, axis) for tensor, of_rows in rows for axis, size in enumerate(
        compat.static_shape(tensor)) if size is None and axis != of_rows]
    lengths = Lengths(model, partition, axes, {tensor.op for tensor, _ in padded}, is_gradient)
    read = open_rows([group], partition, num_clones, num_workers)

    def per_row(text: str, tensor: Any, counted_axes: Optional[List[int]]) -> Measure:
        relation = axes.of(tensor)
        apart = isinstance(relation, relations.Rows) and counted_axes is not None \
            and relation.axis not in counted_axes
        return Measure(text, tensor, counted_axes, None if apart else read)

    found = [per_row(_ELEMENTS, op.inputs[0], _counted_axes(op)) for op in lengths.means()]
    found += [per_row(_SIZES, tensor, of_sizes) for tensor, of_sizes in lengths.sizes()]
    found += [Measure(_CUT.format(reader=cut.reader.name, at=_literal(compat.made_at(cut.reader))),
                      cut.tensor, cut.axes) for cut in lengths.cuts()]
    return found + [Measure(_LENGTHS, tensor, [axis]) for tensor, axis in padded]


def _literal(text: str) -> str:
    """`text` as a template has it."""
    return text.replace("{", "{{").replace("}", "}}")


def counted(measure: Measure, group: GradientGroup, clones: List[CloneId], dtype: Any) -> List[Any]:
    """What a measure is in each clone of this worker, in a floating-point type."""
    counts = []
    for clone in clones[:1] if group.clones is None else clones:
        value = _of_clone(group, measure.tensor, clone)
        with tf.device(value.device or None):
            shape = tf.shape(value)
            chosen = shape if measure.axes is None else tf.gather(shape, measure.axes)
            count = tf.cast(tf.reduce_prod(chosen), dtype)
            if measure.over is not None:
                count /= measure.over._replace(
                    tensor=_of_clone(group, measure.over.tensor, clone)).number(dtype)
            counts.append(count)
    return counts


def _of_clone(group: GradientGroup, tensor: Any, clone: CloneId) -> Any:
    return tensor if group.clones is None else group.clones.tensor(tensor, clone)


def _varying(partition: StepPartition, num_clones: int, num_workers: int) -> List[Any]:
    """The tensors with rows that bring a step's data in, and that parts get different ones of."""
    found = []
    for source in partition.sources:
        if source in partition.conditional:
            continue  # a branch that is not taken has no rows
        fed = source.type in feeds.PLACEHOLDERS
        for tensor in source.outputs if num_workers > 1 or (num_clones > 1 and not fed) else ():
            axis = _axis_of_rows(tensor)
            if axis is not None and tensor.shape.ndims is not None and tensor.shape.ndims > axis:
                found.append(tensor)
    return found


def _axis_of_rows(tensor: Any) -> Any:
    return feeds.axis_of_rows(tensor) if tensor.op.type in feeds.PLACEHOLDERS else 0


def _counted_axes(op: Any) -> Optional[List[int]]:
    """The axes that a mean is taken over, if they are known; None of others."""
    axes = tf.get_static_value(op.inputs[1]) if op.type == "Mean" else None
    rank = op.inputs[0].shape.ndims if op.inputs else None
    return None if axes is None or not rank else [int(axis) % rank for axis in np.ravel(axes)]


def warn_once(group: GradientGroup, counts: Sequence[Sequence[float]]) -> None:
    """Print a warning, one for all steps of a group, if the parts of a step are unequal.

    Raises ValueError where that is no matter of padding (see `joined`).

    Args:
      group: whose step it was.
      counts: for each of its measures the numbers of the clones of this worker, and last their mean
        over all workers.
    """
    for measure, numbers in zip(group.measures, counts):
        own, mean = numbers[:-1], numbers[-1]
        if group.warned or all(abs(n - mean) < 1e-3 for n in own):
            continue
        group.warned = True
        if not measure.is_of_rows:
            joined.check_flat(measure.tensor.graph)
        tf.logging.warning(measure.text.format(
            own=", ".join("{:g}".format(n) for n in own), mean=mean, axis=(measure.axes or [0])[0],
            name=measure.tensor.op.name, place=compat.made_at(measure.tensor.op)))
