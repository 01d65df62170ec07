# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The training: a loop on `MonitoredTrainingSession`, the same on every TensorFlow."""

import argparse
import os
import time
from typing import Any, List

import numpy as np
import tensorflow.compat.v1 as tf

from examples.bert import loss_curve, optimization, summaries
from examples.bert.batches import Batches
from examples.bert.bert_config import BertConfig
from examples.bert.checkpoints import latest_checkpoint
from examples.bert.errors import UserError
from examples.bert.features import Window
from examples.bert.progress import ProgressHook, duration
from examples.bert.squad_model import SquadModel, session_config
from examples.bert.summaries import SummaryHook
from examples.bert.training_data import TrainingData
from examples.bert.worker import Worker

_PROFILED_STEPS = 3
_STEPS_BEFORE_PROFILE = 10


def train(flags: argparse.Namespace, config: BertConfig, worker: Worker,
          windows: List[Window]) -> bool:
    """Train for the epochs that the command line asks for, from the last checkpoint on.

    Returns:
      Whether training came to its end; it does not if it is asked to stop.
    """
    part = worker.part(flags.train_batch_size)
    batches = Batches(len(windows), part, flags.seed)
    steps = batches.steps(flags.num_train_epochs)
    if not steps:
        raise UserError("{} sequences in batches of {} make no step in {} epochs".format(
            len(windows), flags.train_batch_size, flags.num_train_epochs))
    if worker.is_chief:
        print("training: {} sequences, {} steps of {} on {} worker(s) x {} replica(s) of {} "
              "stage(s), {} micro-batch(es) of {} each".format(
                  len(windows), steps, flags.train_batch_size, worker.number, part.num_replicas,
                  worker.stages, part.num_micro_batch, part.micro_batch), flush=True)
    # Workers may have output directories of their own; the checkpoint is in the chief's.
    last = first = int(worker.exchange.from_chief(np.int64(_steps_done(flags.output_dir))))
    start = time.time()
    if first < steps:
        data = TrainingData(windows, batches, flags.max_seq_length)
        with tf.Graph().as_default():
            _loop(flags, SquadModel(config, flags, worker), data, worker, range(first, steps))
        last = data.last_step
    if worker.is_chief:
        print("training took {}; checkpoint: {}".format(
            duration(time.time() - start), latest_checkpoint(flags.output_dir)), flush=True)
        _draw_loss(flags.output_dir)
        if last < steps:
            print("training was asked to stop at step {} of {}; the same command with the same "
                  "--output_dir goes on from there".format(last, steps), flush=True)
    return last >= steps


def _loop(flags: argparse.Namespace, model: SquadModel, data: TrainingData, worker: Worker,
          steps: range) -> None:
    """Build the model and train it in these steps, or until it is asked to stop."""
    tf.set_random_seed(flags.seed)
    step = tf.train.create_global_step()
    loss = model.loss(data.features())
    rate = optimization.learning_rate_at(step, flags.learning_rate, steps.stop,
                                         int(steps.stop * flags.warmup_proportion))
    train_op = optimization.create_train_op(loss, rate)
    if worker.on_train_op:
        worker.on_train_op()
    hooks = [data, tf.train.StopAtStepHook(last_step=steps.stop), tf.train.NanTensorHook(loss)]
    hooks += _timeline_hooks(flags, worker, steps)
    if worker.is_chief:
        hooks += [ProgressHook(loss, rate, steps.stop, flags.train_batch_size),
                  SummaryHook(loss, rate, flags.output_dir, flags.train_batch_size)]
    # Paths that are relative let the directory be moved.
    saver = tf.train.Saver(sharded=True, defer_build=True, save_relative_paths=True)
    with tf.train.MonitoredTrainingSession(
            checkpoint_dir=flags.output_dir, hooks=hooks, config=session_config(),
            scaffold=tf.train.Scaffold(saver=saver),
            save_checkpoint_steps=flags.save_checkpoints_steps, save_summaries_steps=None,
            save_summaries_secs=None, log_step_count_steps=None) as session:
        while not session.should_stop():
            session.run(train_op)


def _steps_done(directory: str) -> int:
    """The step of the last checkpoint in a directory, 0 if it has none."""
    path = latest_checkpoint(directory)
    return int(tf.train.load_variable(path, tf.GraphKeys.GLOBAL_STEP)) if path else 0


def _timeline_hooks(flags: argparse.Namespace, worker: Worker, steps: range) -> List[Any]:
    """The hook that `--profile` asks for; the first steps are slow, so it leaves them out."""
    if not flags.profile or not worker.timeline_hook:
        return []
    start = max(steps.start, min(steps.start + _STEPS_BEFORE_PROFILE,
                                 steps.stop - _PROFILED_STEPS))
    return [worker.timeline_hook(os.path.join(flags.output_dir, "timelines"),
                                 range(start, min(start + _PROFILED_STEPS, steps.stop)))]


def _draw_loss(directory: str) -> None:
    """Write the picture of the loss to the output directory, and say what became of it."""
    path = os.path.join(directory, "loss_curve.png")
    losses = summaries.read_losses(directory)
    if not loss_curve.can_draw():
        print("no {}: it needs matplotlib (pip install matplotlib)".format(path), flush=True)
    elif not losses:
        print("no {}: '{}' has no summaries of the loss".format(path, directory), flush=True)
    else:
        loss_curve.draw(losses, path)
        print("wrote {}".format(path), flush=True)
