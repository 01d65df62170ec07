# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parts of a batch that have other numbers of rows: a step that averages them all the same says so.

Datasets that keep the smaller batch at their end make such parts, and workers that are fed other
numbers of rows. Nothing but static shapes says before a step that all have equally many (and that
rows fed to one worker are divided evenly). Elsewhere the numbers are counted; their mean travels
with the gradients.
"""

from typing import Any, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import GradientGroup


def rows_of_clones(group: GradientGroup, clones: List[CloneId], num_workers: int,
                   like: Any) -> List[Any]:
    """The number of rows of each clone of this worker; none if all have equally many anyway.

    Args:
      group: whose steps are looked at.
      clones: of this worker.
      num_workers: workers that take part.
      like: a tensor whose type they get.
    """
    found = _dynamic(group, num_workers)
    if found is None:
        return []
    tensor, axis = found
    values = [tensor] if group.clones is None else [
        group.clones.tensor(tensor, clone) for clone in clones]
    counts = []
    for value in values:
        with tf.device(value.device or None):
            counts.append(tf.cast(tf.shape(value)[axis], like.dtype))
    return counts


def _dynamic(group: GradientGroup, num_workers: int) -> Optional[Any]:
    """(tensor, axis) of the step's data whose number of rows may differ between parts."""
    partition = group.partition
    if partition is None:
        return None
    for source in partition.sources:
        if source in partition.conditional:
            continue  # a branch that is not taken has no rows
        fed = source.type in feeds.PLACEHOLDERS
        for tensor in source.outputs if not fed or num_workers > 1 else ():
            axis = feeds.axis_of_rows(tensor) if fed else 0
            if axis is not None and tensor.shape.ndims is not None and tensor.shape.ndims > axis \
                    and compat.static_shape(tensor)[axis] is None:
                return tensor, axis
    return None


def warn_once(group: GradientGroup, counts: Sequence[float]) -> None:
    """Print a warning, one for all steps of a group, if the parts of a step are unequal.

    Args:
      group: whose step it was.
      counts: rows of each clone of this worker, and last their mean over all workers.
    """
    own, mean = counts[:-1], counts[-1]
    if group.warned or all(abs(n - mean) < 1e-3 for n in own):
        return
    group.warned = True
    tf.logging.warning(
        "a step averaged parts with different numbers of rows: {} on this worker, {:g} in the "
        "mean over all parts. The rows of smaller parts count for more than on one device with "
        "the whole batch. Use batch(..., drop_remainder=True) or epl.shard, and feed all workers "
        "equally many rows. (Later steps like this say nothing.)".format(
            ", ".join("{:g}".format(n) for n in own), mean))
