# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How the rows of a step are dealt to workers, replicas and micro-batches: arithmetic alone.

A plain script reads its rows one after the other; its step t trains on rows [t*G, (t+1)*G). Worker
w of W takes every W-th row, beginning with row w, and its clones take them in order, so that the
same step trains on the same rows:

    a step of 16 rows    2 workers x 2 replicas x 2 micro-batches of 2 rows

                   replica 0             replica 1
    worker 0     0  2  |  4  6         8 10  | 12 14
    worker 1     1  3  |  5  7         9 11  | 13 15
"""

from typing import Any, NamedTuple

import numpy as np

from epl.errors import ConfigError


class GlobalBatch(NamedTuple):
    """The rows of a step, and this worker's part of them.

    Attributes:
      micro_batch: rows that one clone of the model reads in a step: what the script calls a batch.
      num_micro_batch: micro-batches of each replica in a step.
      num_replicas: copies of the model in each worker.
      num_workers: processes in the job.
      worker_index: this process, from 0.

    Examples:
      >>> from epl.plan.global_batch import GlobalBatch
      >>> batch = GlobalBatch(2, num_micro_batch=2, num_replicas=2, num_workers=2, worker_index=1)
      >>> batch.rows, batch.rows_per_worker, batch.batches_per_step
      (16, 8, 4)
      >>> batch.of_step(0)
      array([ 1,  3,  5,  7,  9, 11, 13, 15])
    """

    micro_batch: int
    num_micro_batch: int = 1
    num_replicas: int = 1
    num_workers: int = 1
    worker_index: int = 0

    @property
    def rows(self) -> int:
        """Rows of a step over all workers: the batch of the same training on one device."""
        return self.rows_per_worker * self.num_workers

    @property
    def rows_per_worker(self) -> int:
        """Rows that this worker reads in a step; placeholders [None, ...] are fed so many."""
        return self.micro_batch * self.batches_per_step

    @property
    def batches_per_step(self) -> int:
        """Micro-batches that this worker takes from a dataset or queue in a step."""
        return self.num_replicas * self.num_micro_batch

    def steps(self, rows: int, epochs: float = 1) -> int:
        """Whole steps in so many passes over `rows` rows, one pass behind the other.

        Args:
          rows: rows of the data set, of all workers.
          epochs: passes over it; 0.5 is half a pass.

        Returns:
          The number of steps; rows at the end that fill no step count for none.
        """
        return int(rows * epochs) // self.rows

    def of_step(self, step: int) -> Any:
        """The numbers of the rows that this worker reads in a step, in its clones' order.

        Args:
          step: from 0.

        Returns:
          int64 [rows_per_worker]. They count on behind the end of the data set: row number n of R
          rows is row n % R in pass n // R.
        """
        first = step * self.rows
        return np.arange(first + self.worker_index, first + self.rows, self.num_workers)


def divide(rows: int, num_micro_batch: int = 1, num_replicas: int = 1, num_workers: int = 1,
           worker_index: int = 0) -> GlobalBatch:
    """The `GlobalBatch` of `rows` rows over all workers.

    Raises:
      ConfigError: the clones of all workers cannot share them equally.
    """
    parts = num_workers * num_replicas * num_micro_batch
    micro_batch, rest = divmod(rows, parts)
    if rest or micro_batch < 1:
        near = [str(n * parts) for n in (micro_batch, micro_batch + 1) if n > 0]
        raise ConfigError(
            "a global batch of {} rows must be a multiple of {} worker(s) x {} replica(s) x {} "
            "micro-batch(es) = {}; use {}".format(
                rows, num_workers, num_replicas, num_micro_batch, parts, " or ".join(near)))
    return GlobalBatch(micro_batch, num_micro_batch, num_replicas, num_workers, worker_index)
