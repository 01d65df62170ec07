# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What training reads, beginning at the right row."""

from typing import Any, Dict, Iterator, Sequence

import tensorflow.compat.v1 as tf

from examples.bert.batches import Batches
from examples.bert.features import Window, columns

_STEPS_AHEAD = 4


class TrainingData(tf.train.SessionRunHook):
    """This worker's micro-batches of every step, from the step at which training begins.

    Every clone of the model takes the next one, in the order of replicas and their micro-batches.
    As a hook of the training session it starts them: which step is the first is known on every
    worker only when the session is there.

    Attributes:
      first_step, last_step: where training began and ended, from 0, known afterwards.
    """

    def __init__(self, windows: Sequence[Window], batches: Batches, length: int):
        self.first_step = self.last_step = 0
        self._windows = windows
        self._batches = batches
        self._length = length
        self._iterator: Any = None

    def features(self) -> Dict[str, Any]:
        """The next micro-batch, as tensors in the default graph; there is always one more."""
        rows = self._batches.rows_per_micro_batch
        matrix, vector = tf.TensorShape([rows, self._length]), tf.TensorShape([rows])
        shapes = {"input_ids": matrix, "input_mask": matrix, "segment_ids": matrix,
                  "start_positions": vector, "end_positions": vector}
        types = {name: tf.int32 for name in shapes}
        dataset = tf.data.Dataset.from_generator(self._micro_batches, types, shapes)
        self._iterator = tf.data.make_initializable_iterator(
            dataset.prefetch(_STEPS_AHEAD * self._batches.micro_batches_per_step))
        return self._iterator.get_next()

    def after_create_session(self, session: Any, coord: Any) -> None:
        del coord
        self.first_step = _global_step(session)
        session.run(self._iterator.initializer)

    def end(self, session: Any) -> None:
        self.last_step = _global_step(session)

    def _micro_batches(self) -> Iterator[Dict[str, Any]]:
        for rows in self._batches.from_step(self.first_step):
            yield columns([self._windows[row] for row in rows], self._length)


def _global_step(session: Any) -> int:
    return int(session.run(tf.train.get_global_step(session.graph)))
