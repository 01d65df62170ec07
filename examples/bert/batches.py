# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which rows a worker reads: a pure function of seed, step and worker.

The data set is shuffled anew for every epoch and the epochs are strung together; step k reads rows
[k*B, (k+1)*B) of that string, whatever reads them. Worker w of W takes every W-th row of the
global batch, beginning with row w, and cuts them into one micro-batch for each of its clones:

    a step of 16 rows    2 workers x 2 replicas x 2 micro-batches of 2 rows

                   replica 0             replica 1
    worker 0     0  2  |  4  6         8 10  | 12 14
    worker 1     1  3  |  5  7         9 11  | 13 15
"""

from typing import Any, Iterator

import numpy as np

from examples.bert.worker import Worker


class Batches:
    """The rows of every step."""

    def __init__(self, rows: int, global_batch: int, seed: int, worker: Worker):
        """Plan the order.

        Args:
          rows: rows of the data set.
          global_batch: rows of a step, over all workers.
          seed: what the order depends on.
          worker: whose rows these are.

        Raises:
          UserError: a global batch that cannot be shared equally.
        """
        self._rows = rows
        self._global_batch = global_batch
        self._seed = seed
        self._worker = worker
        self._rows_of_clone = worker.rows_of_clone(global_batch)
        self._epoch = -1
        self._order = np.zeros([0], np.int64)

    @property
    def rows_per_micro_batch(self) -> int:
        """Rows that one clone of the model reads in one step."""
        return self._rows_of_clone

    @property
    def micro_batches_per_step(self) -> int:
        """What this worker reads in one step: one for each of its clones."""
        return self._worker.clones

    def steps(self, epochs: float) -> int:
        """Whole steps in so many epochs."""
        return int(self._rows * epochs / self._global_batch)

    def at(self, step: int) -> Any:
        """The rows that this worker reads in step `step`, from 0.

        Returns:
          int64 [micro_batches_per_step, rows_per_micro_batch]: the first replica's micro-batches,
          then the next one's.
        """
        first = step * self._global_batch + self._worker.index
        last = (step + 1) * self._global_batch
        rows = [self._row(place) for place in range(first, last, self._worker.number)]
        return np.array(rows).reshape([self.micro_batches_per_step, self.rows_per_micro_batch])

    def from_step(self, step: int) -> Iterator[Any]:
        """The micro-batches of `step` and of all later steps, one by one, without end."""
        while True:
            yield from self.at(step)
            step += 1

    def _row(self, place: int) -> int:
        epoch, index = divmod(place, self._rows)
        if epoch != self._epoch:
            self._order = np.random.RandomState([self._seed, epoch]).permutation(self._rows)
            self._epoch = epoch
        return self._order[index]
