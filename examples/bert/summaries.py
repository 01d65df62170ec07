# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard shows of a training, and the losses read back from it.

Every step is written, so the files in the output directory are the record of the whole training,
over all the runs that it took.
"""

import glob
import os
import time
from typing import Any, Dict, Iterator, Optional

import tensorflow.compat.v1 as tf

_LOSS = "loss"
_LEARNING_RATE = "learning_rate"
_PACE = "examples_per_second"


class SummaryHook(tf.train.SessionRunHook):
    """Writes loss, learning rate and examples per second of every step.

    The pace of the first step, which prepares the graph, is left out.
    """

    def __init__(self, loss: Any, learning_rate: Any, directory: str, global_batch: int):
        """Make a hook.

        Args:
          loss: scalar tensor.
          learning_rate: scalar tensor.
          directory: where to write.
          global_batch: rows of a step, over all workers.
        """
        self._watched = {_LOSS: loss, _LEARNING_RATE: learning_rate}
        self._directory = directory
        self._global_batch = global_batch
        self._writer: Any = None
        self._step = 0
        self._last: Optional[float] = None  # when the step before ended

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Says that later steps in older files, behind the checkpoint, do not count."""
        del coord
        self._step = int(session.run(tf.train.get_global_step(session.graph)))
        self._last = None
        self._writer = tf.summary.FileWriterCache.get(self._directory)
        self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), self._step)

    def before_run(self, run_context: Any) -> Any:
        del run_context
        return tf.train.SessionRunArgs(self._watched)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        del run_context
        now = time.time()
        self._step += 1
        values = dict(run_values.results)
        if self._last is not None:
            values[_PACE] = self._global_batch / max(now - self._last, 1e-6)
        self._last = now
        self._writer.add_summary(tf.Summary(value=[
            tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]),
            self._step)
        self._writer.flush()  # 0.1 ms; a run may be killed at any step


def read_losses(directory: str) -> Dict[int, float]:
    """The loss of every step of the training in `directory`, counted from 1, in order.

    Where a run was interrupted and steps were done again, the later ones count.
    """
    losses: Dict[int, float] = {}
    events = [event for path in glob.glob(os.path.join(glob.escape(directory), "*tfevents*"))
              for event in _events(path)]
    for event in sorted(events, key=lambda event: event.wall_time):
        if event.session_log.status == tf.SessionLog.START:
            losses = {step: loss for step, loss in losses.items() if step <= event.step}
        for value in event.summary.value:
            if value.tag == _LOSS:
                losses[event.step] = value.simple_value
    return dict(sorted(losses.items()))


def _events(path: str) -> Iterator[Any]:
    try:
        yield from tf.train.summary_iterator(path)
    except tf.errors.DataLossError:
        pass  # the run was killed while it wrote the last one
