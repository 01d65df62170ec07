# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which rows a worker reads: a pure function of seed, step and worker.

The data set is shuffled anew for every epoch and the epochs are strung together; step k reads rows
[k*B, (k+1)*B) of that string, whatever the number of workers. Worker w of W takes every W-th row
of the global batch, beginning with row w.
"""

from typing import Any, Iterator

import numpy as np

from examples.bert.errors import UserError


class Batches:
    """The rows of every step."""

    def __init__(self, rows: int, global_batch: int, seed: int, worker_num: int = 1,
                 worker_index: int = 0):
        """Plan the order.

        Args:
          rows: rows of the data set.
          global_batch: rows of a step, over all workers.
          seed: what the order depends on.
          worker_num: workers that share each global batch.
          worker_index: this worker.

        Raises:
          UserError: a global batch that cannot be shared equally.
        """
        if global_batch < 1 or global_batch % worker_num:
            raise UserError(
                "train_batch_size {} is the global batch and must be a positive multiple of the "
                "number of workers, {}".format(global_batch, worker_num))
        self._rows = rows
        self._global_batch = global_batch
        self._seed = seed
        self._worker_num = worker_num
        self._worker_index = worker_index
        self._epoch = -1
        self._order = np.zeros([0], np.int64)

    @property
    def rows_per_worker(self) -> int:
        """Rows of one step on one worker."""
        return self._global_batch // self._worker_num

    def steps(self, epochs: float) -> int:
        """Whole steps in so many epochs."""
        return int(self._rows * epochs / self._global_batch)

    def at(self, step: int) -> Any:
        """int64 [rows_per_worker]: the rows that this worker reads in step `step`, from 0."""
        first = step * self._global_batch + self._worker_index
        last = (step + 1) * self._global_batch
        return np.array([self._row(place) for place in range(first, last, self._worker_num)])

    def from_step(self, step: int) -> Iterator[Any]:
        """The rows of `step` and of all later steps, without end."""
        while True:
            yield self.at(step)
            step += 1

    def _row(self, place: int) -> int:
        epoch, index = divmod(place, self._rows)
        if epoch != self._epoch:
            self._order = np.random.RandomState([self._seed, epoch]).permutation(self._rows)
            self._epoch = epoch
        return self._order[index]
