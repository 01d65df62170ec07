# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A sparse tensor that is fed is divided by its rows, the first column of its indices.

    indices  [[0, 1], [0, 2], [1, 0], [3, 2]]   -->   [[0, 1], [0, 2], [1, 0]]   [[1, 2]]
    values   [a,      b,      c,      d     ]   -->   [a,      b,      c     ]   [d     ]
    shape    [4, 3]                             -->   [2, 3]                     [2, 3]
"""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from epl.ir import feeds
from epl.rewrite import fed


class Sparse:
    """The sparse tensors among the feeds of a step, divided.

    Attributes:
      undeclared_rows: name of the indices -> rows, of those that the script has not declared.
    """

    def __init__(self, tensors: Sequence[Any], values: Sequence[Any],
                 num_clones: Callable[[Any], int]):
        """Divide what is fed to sparse tensors.

        Args:
          tensors: what a step is fed.
          values: the arrays for them.
          num_clones: tensor -> how many clones have one of their own; 0: all share it.

        Raises:
          ValueError: rows that cannot be divided, or a sparse tensor that is fed in part.
        """
        self.undeclared_rows: Dict[str, int] = {}
        self._parts: Dict[str, List[Any]] = {}
        given = {tensor.name: value for tensor, value in zip(tensors, values)}
        for parts in feeds.fed_sparse(tensors[0].graph) if tensors else []:
            if feeds.is_declared_shared(parts.indices):
                continue
            count = num_clones(parts.indices) or num_clones(parts.values)
            if count and (parts.indices.name in given or parts.values.name in given):
                self._divide(parts, given, count)

    def has(self, tensor: Any) -> bool:
        """True if `tensor` is a part of a sparse one."""
        return tensor.name in self._parts

    def shares(self, tensor: Any, clones: List[List[Any]]) -> List[Tuple[Any, Any]]:
        """(tensor of a clone, what it is fed) for a part of a sparse tensor; [] for any other."""
        if not self.has(tensor):
            return []
        parts = self._parts[tensor.name]
        if not clones:
            return [(tensor, parts[0])]
        return [(copy, part) for copies, part in zip(clones, parts) for copy in copies]

    def _divide(self, parts: feeds.SparseParts, given: Dict[str, Any], count: int) -> None:
        indices, shape = given.get(parts.indices.name), given.get(parts.dense_shape.name)
        one_clones = fed.static_rows(parts.dense_shape)  # fixed, and declared to be divided
        known = None if one_clones is None else one_clones * count
        rows = known if shape is None else int(shape[0])
        if indices is None or rows is None:
            raise ValueError(
                "a sparse tensor is fed in part: '{}' is missing, without which several clones of "
                "the model cannot divide its rows".format(
                    (parts.indices if indices is None else parts.dense_shape).name))
        if rows == 0 or rows % count or known not in (None, rows):
            raise ValueError(
                "a sparse tensor of {} rows is fed ('{}'), but a step divides them between {} "
                "clones of the model (micro-batches x replicas of this worker): feed {}".format(
                    rows, parts.indices.name, count,
                    "a multiple of {}".format(count) if known is None else known))
        if not feeds.is_declared(parts.indices):
            self.undeclared_rows[parts.indices.name] = rows
        indices, size = np.asarray(indices), rows // count
        owner = indices[:, 0] // size
        if len(owner) and (owner.min() < 0 or owner.max() >= count):
            raise ValueError("'{}' is fed row {}, and the sparse tensor has {} rows".format(
                parts.indices.name, indices[:, 0].max(), rows))
        first = np.array([1] + [0] * (indices.shape[1] - 1), indices.dtype) * size
        self._parts[parts.indices.name] = [
            indices[owner == n] - n * first for n in range(count)]
        if parts.values.name in given:
            values = np.asarray(given[parts.values.name])
            self._parts[parts.values.name] = [values[owner == n] for n in range(count)]
        if shape is not None:
            share = np.array(shape)
            share[0] = size
            self._parts[parts.dense_shape.name] = [share] * count
