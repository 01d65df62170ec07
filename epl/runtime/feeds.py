# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A training step divides what it is fed between the clones.

    feed x: rows 0..31   -->   x: 0..7   x of clone 1: 8..15   x of clone 2: 16..23   ...

in (replica, micro-batch, slice) order. Outside of steps the script's own operations get the whole.
"""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from epl import compat
from epl.ir.graph_state import GraphState
from epl.runtime.runs import Run


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
    copies = [copy for tensor in tensors for clone in fed_copies(tensor, run) for copy in clone
              if copy is not tensor]
    count = state.sources.count if state.sources is not None else None
    return copies + ([count] if count is not None else [])


def divided(tensors: Sequence[Any], values: Sequence[Any], run: Run,
            state: GraphState) -> List[Any]:
    """The values for `tensors`, then those for `further_tensors`, from what `tensors` are fed.

    Raises:
      ValueError: as `divide`.
    """
    own: List[Any] = []
    further: List[Any] = []
    for tensor, value in zip(tensors, values):
        for copy, part in shares(tensor, value, run):
            (own if copy is tensor else further).append(part)
    if state.sources is not None and state.sources.count is not None:
        further.append(np.array(state.sources.num_slices, np.int32))
    return own + further


def shares(tensor: Any, value: Any, run: Run) -> List[Tuple[Any, Any]]:
    """(tensor of a clone, what it is fed) for one fed tensor.

    Raises:
      ValueError: as `divide`.
    """
    clones = fed_copies(tensor, run)
    if not clones:
        return [(tensor, value)]
    if not is_divided(tensor):
        return [(copy, value) for copies in clones for copy in copies]
    rows = len(value) if np.ndim(value) else 0
    if rows == 0 or rows % len(clones):
        raise ValueError(
            "{} rows are fed to '{}', but a step divides them between {} clones of the model "
            "(micro-batches x replicas of this worker): feed a multiple of {}".format(
                rows, tensor.name, len(clones), len(clones)))
    size = rows // len(clones)
    return [(copy, value[n * size:(n + 1) * size])
            for n, copies in enumerate(clones) for copy in copies]


def fed_copies(tensor: Any, run: Run) -> List[List[Any]]:
    """What stands for a fed tensor in each clone; empty if all share it.

    Slices of a micro-batch share an iterator's batch, which is cut behind the tensor that is fed.
    """
    copying = [g.clones for g in run.groups if g.clones is not None and len(g.clones.clones) > 1]
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


def is_divided(tensor: Any) -> bool:
    """True if a fed tensor holds rows of the batch: its first dimension is not fixed."""
    return tensor.shape.ndims is None or (
        tensor.shape.ndims > 0 and compat.static_shape(tensor)[0] is None)
