# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""BERT with the question answering head as an Estimator's model, and its input."""

import argparse
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

import tensorflow.compat.v1 as tf

from examples.bert import checkpoints, modeling, optimization
from examples.bert.batches import Batches
from examples.bert.features import Window, columns
from examples.bert.progress import ProgressHook
from examples.bert.summaries import SummaryHook
from examples.bert.worker import Worker

_STEPS_AHEAD = 4


class SquadModel:
    """The model; its method `build` is the Estimator's model function."""

    def __init__(self, config: modeling.BertConfig, flags: argparse.Namespace, total_steps: int,
                 worker: Worker):
        """Describe a model.

        Args:
          config: sizes of the encoder.
          flags: the command line.
          total_steps: the step at which training ends.
          worker: who trains it, and in how many stages.
        """
        self._config = config
        self._flags = flags
        self._total_steps = total_steps
        self._worker = worker

    def build(self, features: Dict[str, Any], mode: str) -> Any:
        """The `EstimatorSpec` for training or prediction.

        Args:
          features: what `features.columns` makes, as tensors.
          mode: one of `tf.estimator.ModeKeys`.
        """
        training = mode == tf.estimator.ModeKeys.TRAIN
        # EPL leaves prediction alone: it runs on one device, so the stages mean nothing there.
        encoded = modeling.bert(self._config, features["input_ids"], features["input_mask"],
                                features["segment_ids"], training, self._worker.stages,
                                self._worker.on_stage if training else None)
        if self._flags.gc == "collection":
            for hidden in encoded.hidden_states:
                tf.add_to_collection("checkpoints", hidden)
        starts, ends = modeling.span_logits(self._config, encoded.sequence_output)
        if self._flags.init_checkpoint and not checkpoints.latest_checkpoint(
                self._flags.output_dir):
            report = checkpoints.initialize_from(self._flags.init_checkpoint,
                                                 tf.trainable_variables())
            if self._worker.is_chief:
                print(report, flush=True)
        if not training:
            return tf.estimator.EstimatorSpec(
                mode, predictions={"start_logits": starts, "end_logits": ends})
        loss = 0.5 * (_position_loss(starts, features["start_positions"])
                      + _position_loss(ends, features["end_positions"]))
        if self._worker.on_loss:
            self._worker.on_loss(loss)
        return self._train_spec(loss)

    def _train_spec(self, loss: Any) -> Any:
        flags, steps = self._flags, self._total_steps
        rate = optimization.learning_rate_at(
            tf.train.get_or_create_global_step(), flags.learning_rate, steps,
            int(steps * flags.warmup_proportion))
        train_op = optimization.create_train_op(loss, rate)
        if self._worker.on_train_op:
            self._worker.on_train_op()
        hooks = []
        if self._worker.is_chief:
            hooks = [ProgressHook(loss, rate, steps, flags.train_batch_size),
                     SummaryHook(loss, rate, flags.output_dir, flags.train_batch_size)]
        return tf.estimator.EstimatorSpec(
            tf.estimator.ModeKeys.TRAIN, loss=loss, training_hooks=hooks,
            train_op=train_op)


class _Position(tf.train.SessionRunHook):
    """Finds the steps at which training (again) begins and ends, from 0.

    The first is known on every worker only when the session is there; the data is asked for
    afterwards.
    """

    def __init__(self) -> None:
        self.first_step = self.last_step = 0

    def after_create_session(self, session: Any, coord: Any) -> None:
        del coord
        self.first_step = int(session.run(tf.train.get_global_step(session.graph)))

    def end(self, session: Any) -> None:
        self.last_step = int(session.run(tf.train.get_global_step(session.graph)))


class TrainingData:
    """This worker's micro-batches of every step, from the step at which training begins.

    Every clone of the model takes the next one, in the order of replicas and their micro-batches.

    Attributes:
      position: a hook that training needs to begin at the right row; it knows its first and last
        step afterwards.
      input_fn: the Estimator's input function.
    """

    def __init__(self, windows: Sequence[Window], batches: Batches, length: int):
        self._windows = windows
        self._batches = batches
        self._length = length
        self.position = _Position()

    def input_fn(self) -> Any:
        """A dataset of this worker's micro-batches, without end."""
        return _dataset(self._rows, self._batches.rows_per_micro_batch, self._length,
                        _STEPS_AHEAD * self._batches.micro_batches_per_step)

    def _rows(self) -> Iterator[Dict[str, Any]]:
        for rows in self._batches.from_step(self.position.first_step):
            yield columns([self._windows[row] for row in rows], self._length)


def predict_input_fn(windows: Sequence[Window], batch_size: int, length: int) -> Callable[[], Any]:
    """The input function that reads every window once, in order."""
    def batches() -> Iterator[Dict[str, Any]]:
        for first in range(0, len(windows), batch_size):
            yield columns(windows[first:first + batch_size], length)

    return lambda: _dataset(batches, None, length, _STEPS_AHEAD)


def _dataset(batches: Callable[[], Iterator[Dict[str, Any]]], rows: Optional[int],
             length: int, ahead: int) -> Any:
    """A dataset of the arrays that `features.columns` makes, `rows` rows of `length` each.

    Up to `ahead` batches are made before they are asked for.
    """
    matrix, vector = tf.TensorShape([rows, length]), tf.TensorShape([rows])
    shapes = {"input_ids": matrix, "input_mask": matrix, "segment_ids": matrix,
              "start_positions": vector, "end_positions": vector}
    types = {name: tf.int32 for name in shapes}
    return tf.data.Dataset.from_generator(batches, types, shapes).prefetch(ahead)


def _position_loss(logits: Any, positions: Any) -> Any:
    """The mean over rows of the cross entropy of `positions` [B] under `logits` [B, S]."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positions, logits=logits))
