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
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from examples.bert.checkpoints import latest_checkpoint
from examples.bert.features import Window, columns
from examples.bert.progress_bar import ProgressBar
from examples.bert.squad_model import SquadModel, session_config
from examples.bert.worker import Worker


def share(windows: Sequence[Window], batch_size: int, worker: Worker) -> Sequence[Window]:
    """The windows of one worker, which may be none; those of all workers in order are `windows`."""
    batches = -(-len(windows) // batch_size)
    first, last = [index * batches // worker.number for index in (worker.index, worker.index + 1)]
    return windows[first * batch_size:last * batch_size]


def score(model: SquadModel, windows: Sequence[Window], flags: argparse.Namespace,
          worker: Worker) -> Any:
    """The scores of all windows, on every worker; each computes its share.

    Args:
      model: with the chief's last checkpoint if there is one, else as it begins.
      windows: what to score, the same on all workers.
      flags: the command line.
      worker: this one.

    Returns:
      float32 [windows, 2, max_seq_length]: of starts and ends.
    """
    own = share(windows, flags.predict_batch_size, worker)
    found = [np.zeros([0, 2, flags.max_seq_length], np.float32)]
    with tf.Graph().as_default():
        tf.set_random_seed(flags.seed)
        fed = {name: tf.placeholder(tf.int32, [None, flags.max_seq_length])
               for name in ("input_ids", "input_mask", "segment_ids")}
        scores = tf.stack(model.scores(fed), axis=1)
        with tf.Session(config=session_config()) as session:
            _restore(session, flags.output_dir, worker)
            for batch in _batches(own, flags.predict_batch_size, worker):
                arrays = columns(batch, flags.max_seq_length)
                found.append(session.run(scores, {fed[name]: arrays[name] for name in fed}))
    return worker.exchange.gather(np.concatenate(found))


def _restore(session: tf.Session, directory: str, worker: Worker) -> None:
    """Give every worker the chief's variables; others may not see its checkpoint."""
    variables = tf.trainable_variables()
    path = latest_checkpoint(directory) if worker.is_chief else None
    session.run(tf.global_variables_initializer())
    if path:
        tf.train.Saver(variables).restore(session, path)
    if worker.number > 1:
        given = [tf.placeholder(v.dtype.base_dtype, v.shape) for v in variables]
        taken = [tf.assign(v, value) for v, value in zip(variables, given)]
        for variable, value, take in zip(variables, given, taken):
            session.run(take.op, {value: worker.exchange.from_chief(session.run(variable))})


def _batches(windows: Sequence[Window], size: int, worker: Worker) -> Iterator[Sequence[Window]]:
    """The windows in batches, with a progress bar on the chief."""
    batches = [windows[first:first + size] for first in range(0, len(windows), size)]
    if not worker.is_chief or not batches:
        yield from batches
        return
    with ProgressBar("answers: windows scored by worker 0", len(windows)) as bar:
        for batch in batches:
            yield batch
            bar.advance(len(batch))
