# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process's part of a training that several devices and processes may share.

Workers, the copies of the model in each worker (replicas) and the micro-batches of each copy
divide the rows of a step equally. What reads one such part is a clone of the model.
"""

import dataclasses
from typing import Any, Callable, Iterable, Optional

from examples.bert.errors import UserError
from examples.bert.exchange import Exchange


@dataclasses.dataclass(frozen=True)
class Worker:
    """Where this process stands among those that train together, and how it trains.

    Attributes:
      number: workers in all.
      index: this worker, from 0.
      replicas: copies of the model in each worker.
      micro_batches: micro-batches of each copy in a step.
      stages: pipeline stages of each copy.
      on_stage: called in training with the number of a stage, from 0, before its first layer is
        built.
      on_loss: called with the training loss, a scalar tensor, once it is built.
      exchange: with the other workers.
      timeline_hook: makes a hook that writes timelines into a directory, of the steps that begin
        at these values of the global step; None where there is none to make.
    """

    number: int = 1
    index: int = 0
    replicas: int = 1
    micro_batches: int = 1
    stages: int = 1
    on_stage: Optional[Callable[[int], None]] = None
    on_loss: Optional[Callable[[Any], None]] = None
    exchange: Exchange = Exchange()
    timeline_hook: Optional[Callable[[str, Iterable[int]], Any]] = None

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that reports and writes."""
        return self.index == 0

    @property
    def clones(self) -> int:
        """Clones of the model that this worker runs in a step."""
        return self.replicas * self.micro_batches

    def rows_of_clone(self, global_batch: int) -> int:
        """Rows that each clone reads when a step has `global_batch` of them.

        Raises:
          UserError: the clones of all workers cannot share them equally.
        """
        parts = self.number * self.clones
        rows, rest = divmod(global_batch, parts)
        if rest or not rows:
            nearest = [str(n * parts) for n in (rows, rows + 1) if n]
            raise UserError(
                "--train_batch_size {} is the global batch: it must be a multiple of {} worker(s) "
                "x {} replica(s) x {} micro-batch(es) = {}; use {}".format(
                    global_batch, self.number, self.replicas, self.micro_batches, parts,
                    " or ".join(nearest)))
        return rows
