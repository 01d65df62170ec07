# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which rows a worker reads: a pure function of seed, step and worker.

The data set is shuffled anew for every epoch and the epochs are strung together; step k reads rows
[k*B, (k+1)*B) of that string, whatever reads them. Which of them are this worker's, its part of the
global batch says: `epl.global_batch`, or `WholeBatch` on one device.
"""

from typing import Any, Iterator

import numpy as np

from examples.bert.worker import Part


class Batches:
    """The rows of every step."""

    def __init__(self, rows: int, part: Part, seed: int):
        """Plan the order.

        Args:
          rows: rows of the data set.
          part: of every global batch, whose rows these are.
          seed: what the order depends on.
        """
        self._rows = rows
        self._part = part
        self._seed = seed
        self._epoch = -1
        self._order = np.zeros([0], np.int64)

    @property
    def rows_per_micro_batch(self) -> int:
        """Rows that one clone of the model reads in one step."""
        return self._part.micro_batch

    @property
    def micro_batches_per_step(self) -> int:
        """What this worker reads in one step: one for each of its clones."""
        return self._part.batches_per_step

    def steps(self, epochs: float) -> int:
        """Whole steps in so many epochs."""
        return self._part.steps(self._rows, epochs)

    def at(self, step: int) -> Any:
        """The rows that this worker reads in step `step`, from 0.

        Returns:
          int64 [micro_batches_per_step, rows_per_micro_batch]: the first replica's micro-batches,
          then the next one's.
        """
        rows = [self._row(place) for place in self._part.of_step(step)]
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
