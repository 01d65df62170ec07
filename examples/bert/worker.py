# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process's part of a training that several devices and processes may share."""

import dataclasses
from typing import Any, Callable, Iterable, NamedTuple, Optional

import numpy as np

from examples.bert.exchange import Exchange

# What says which rows of a step are this process's: a `WholeBatch`, or what `epl.global_batch`
# gives, which has the same attributes and methods.
Part = Any


class WholeBatch(NamedTuple):
    """The rows of a step on one device: all of them, in one batch.

    Attributes:
      micro_batch: their number.
      num_micro_batch, num_replicas, batches_per_step: one batch, of one copy of the model.
    """

    micro_batch: int
    num_micro_batch: int = 1
    num_replicas: int = 1
    batches_per_step: int = 1

    def steps(self, rows: int, epochs: float) -> int:
        """Whole steps in so many passes over `rows` rows, one pass behind the other."""
        return int(rows * epochs) // self.micro_batch

    def of_step(self, step: int) -> Any:
        """The numbers of the rows of a step, from 0, counted on behind the end of the data set."""
        return np.arange(step * self.micro_batch, (step + 1) * self.micro_batch)


@dataclasses.dataclass(frozen=True)
class Worker:
    """Where this process stands among those that train together, and how it trains.

    Attributes:
      number: workers in all.
      index: this worker, from 0.
      part: rows of a step -> which of them this worker reads; raises UserError if the workers
        cannot share so many.
      stages: pipeline stages of each copy of the model.
      on_stage: called in training with the number of a stage, from 0, before its first layer is
        built.
      on_loss: called with the training loss, a scalar tensor, once it is built.
      on_train_op: called when the training step is built; raises UserError if it cannot run.
      exchange: with the other workers.
      timeline_hook: makes a hook that writes timelines into a directory, of the steps that begin
        at these values of the global step; None where there is none to make.
    """

    number: int = 1
    index: int = 0
    part: Callable[[int], Part] = WholeBatch
    stages: int = 1
    on_stage: Optional[Callable[[int], None]] = None
    on_loss: Optional[Callable[[Any], None]] = None
    on_train_op: Optional[Callable[[], None]] = None
    exchange: Exchange = Exchange()
    timeline_hook: Optional[Callable[[str, Iterable[int]], Any]] = None

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that reports and writes."""
        return self.index == 0
