# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The scores of all windows, computed by all workers together.

The windows are cut into batches in order, and every worker takes the batches of one stretch, so
each batch is the one that a single worker would run:

    worker 0    0 1 2
    worker 1          3 4 5
    worker 2                6 7
"""

import argparse
from typing import Any, List, Sequence

import numpy as np

from examples.bert import squad_model
from examples.bert.features import Window
from examples.bert.progress_bar import ProgressBar
from examples.bert.worker import Worker


def share(windows: Sequence[Window], batch_size: int, worker: Worker) -> Sequence[Window]:
    """The windows of one worker, which may be none; those of all workers in order are `windows`."""
    batches = -(-len(windows) // batch_size)
    first, last = [index * batches // worker.number for index in (worker.index, worker.index + 1)]
    return windows[first * batch_size:last * batch_size]


def score(estimator: Any, windows: Sequence[Window], flags: argparse.Namespace,
          worker: Worker) -> Any:
    """The scores of all windows, on every worker; each computes its share.

    Args:
      estimator: of `squad_model.SquadModel`, with a checkpoint on the chief.
      windows: what to score, the same on all workers.
      flags: the command line.
      worker: this one.

    Returns:
      float32 [windows, 2, max_seq_length]: of starts and ends.
    """
    own = share(windows, flags.predict_batch_size, worker)
    input_fn = squad_model.predict_input_fn(own, flags.predict_batch_size, flags.max_seq_length)
    outputs = estimator.predict(input_fn, hooks=worker.exchange.session_hooks())
    rows: List[Any] = []
    for output in _shown(outputs, len(own), worker):
        rows.append([output["start_logits"], output["end_logits"]])
    return worker.exchange.gather(
        np.array(rows, np.float32).reshape([len(own), 2, flags.max_seq_length]))


def _shown(outputs: Any, total: int, worker: Worker) -> Any:
    """The outputs, with a progress bar on the chief."""
    if not worker.is_chief or not total:
        yield from outputs
        return
    with ProgressBar("answers: windows scored by worker 0", total) as bar:
        for output in outputs:
            yield output
            bar.advance(1)
