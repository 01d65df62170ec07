# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sessions, threads and hooks that do something else than the steps of all workers.

Usage: purposes.py KIND DIRECTORY
"""

import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import report, start

DIRECTORY = sys.argv[2]
RANK, WORKERS = start()
ROWS = np.random.RandomState(0).randn(64, 4).astype(np.float32)
LABELS = ROWS.sum(1, keepdims=True)


def model_fn(features, labels, mode):
    """Builds the training step in every mode that has labels; TensorFlow ignores it."""
    output = tf.layers.dense(features, 1)
    if labels is None:
        return tf.estimator.EstimatorSpec(
            mode, predictions=output,
            export_outputs={"serving_default": tf.estimator.export.PredictOutput(output)})
    loss = tf.reduce_mean(tf.square(output - labels))
    train = tf.train.AdamOptimizer(0.05).minimize(loss, tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train, predictions=output,
                                      eval_metric_ops={"still": tf.metrics.mean(1.0)})


def train_input():
    rows = tf.data.Dataset.from_tensor_slices((ROWS, LABELS)).shard(WORKERS, RANK)
    return rows.repeat().batch(8 // WORKERS)


def all_rows():
    return tf.data.Dataset.from_tensor_slices((ROWS, LABELS)).batch(16)


def serving_input():
    return tf.estimator.export.TensorServingInputReceiver(
        *[tf.placeholder(tf.float32, [None, 4])] * 2)


def estimator():
    """One worker evaluates and predicts between trainings; one is stopped early; exporters."""
    made = tf.estimator.Estimator(model_fn, DIRECTORY, tf.estimator.RunConfig(
        tf_random_seed=1, save_checkpoints_steps=4))
    early = tf.estimator.experimental.stop_if_no_decrease_hook(
        made, "still", max_steps_without_decrease=8, run_every_secs=None, run_every_steps=1)
    made.train(train_input, [early], steps=4)  # it has a variable, which checkpoints hold
    if RANK == WORKERS - 1:
        between = dict(made.evaluate(all_rows, name="between"))
        predictions = np.array(list(made.predict(all_rows)))
    else:
        between, predictions = {}, []
    exporters = [tf.estimator.LatestExporter("latest", serving_input),
                 tf.estimator.FinalExporter("final", serving_input)]
    lasts = []
    for max_steps, hooks in ((100, [early]), (20, [])):
        last, _ = tf.estimator.train_and_evaluate(
            made, tf.estimator.TrainSpec(train_input, max_steps, hooks),
            tf.estimator.EvalSpec(all_rows, throttle_secs=0, steps=None, exporters=exporters))
        lasts.append(last)
    exported = [name for name in ("latest", "final") if RANK == 0
                and os.listdir(os.path.join(DIRECTORY, "export", name))]
    report(between=between, predictions=predictions, lasts=lasts, exported=exported)


def fit_by_itself():
    """One weight, moved half the way to the mean of the workers' numbers 1, 2, ... by a step.

    Returns:
      (loss, (gradient, weight)) of one.
    """
    data = tf.data.Dataset.from_tensors([RANK + 1.0]).repeat()
    x = tf.data.make_one_shot_iterator(data).get_next()
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    loss = tf.reduce_mean(tf.square(weight - x))
    return loss, tf.train.GradientDescentOptimizer(0.25).compute_gradients(loss)[0]


def summaries_of(logdir):
    """All values of scalar summaries in a directory, by tag."""
    found = {}
    for name in sorted(os.listdir(logdir)):
        if "tfevents" in name:
            for event in tf.train.summary_iterator(os.path.join(logdir, name)):
                for value in event.summary.value:
                    found.setdefault(value.tag, []).append(value.simple_value)
    return found


def supervisor():
    """Its threads write summaries of gradients while the script trains; then slim's loop does."""
    loss, pair = fit_by_itself()
    norm = tf.global_norm([pair[0]])
    tf.summary.histogram("gradient", pair[0])
    tf.summary.scalar("norm", norm)
    tf.summary.scalar("loss", loss)
    step = tf.train.GradientDescentOptimizer(0.25).apply_gradients(
        [pair], tf.train.get_or_create_global_step())
    made = tf.train.Supervisor(is_chief=RANK == 0, logdir=DIRECTORY, save_summaries_secs=0.1)
    with made.managed_session() as session:
        for _ in range(30):
            session.run(step)
            time.sleep(0.05)
        weight, steps = session.run([pair[1], tf.train.get_global_step()])
    seen = summaries_of(DIRECTORY) if RANK == 0 else {}
    report(weight=weight, steps=steps, norms=seen.get("norm", []), by_slim=by_slim())


def by_slim():
    """The weight after 20 steps of slim.learning.train; None without slim (TensorFlow 2)."""
    try:
        from tensorflow.contrib import slim
    except ImportError:
        return None
    logdir = DIRECTORY + "_slim"
    with tf.Graph().as_default():
        loss, _ = fit_by_itself()
        train = slim.learning.create_train_op(loss, tf.train.GradientDescentOptimizer(0.25),
                                              summarize_gradients=True)
        slim.learning.train(train, logdir, number_of_steps=20, save_summaries_secs=0.05,
                            is_chief=RANK == 0, log_every_n_steps=1000)
    if RANK > 0:
        return None
    norms = [tag for tag in summaries_of(logdir) if "gradient" in tag]
    assert norms, summaries_of(logdir).keys()
    return tf.train.load_variable(logdir, "w")


class Asks(tf.train.SessionRunHook):
    """Counts runs; asks for a stop after the third, on the last worker alone."""

    def __init__(self, asks=True):
        self.runs = 0
        self._asks = asks

    def after_run(self, run_context, run_values):
        self.runs += 1
        if self._asks and self.runs == 3 and RANK == WORKERS - 1:
            run_context.request_stop()


def asked():
    """Hooks of one worker end training; it goes on in a session that knows nothing of it."""
    loss, pair = fit_by_itself()
    step = tf.train.GradientDescentOptimizer(0.25).apply_gradients(
        [pair], tf.train.get_or_create_global_step())
    runs = []
    for hooks in ([Asks()], [Asks(False), tf.train.StopAtStepHook(last_step=5 + 2 * RANK)],
                  [Asks(False), tf.train.StopAtStepHook(last_step=7)]):
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=DIRECTORY, save_checkpoint_steps=100, hooks=hooks) as session:
            while not session.should_stop():
                try:
                    session.run(step)
                except tf.errors.OutOfRangeError:  # a script may go on with the next epoch
                    pass
        runs.append(hooks[0].runs)
    report(runs=runs, weight=tf.train.load_variable(DIRECTORY, "w"))


if __name__ == "__main__":
    {"estimator": estimator, "supervisor": supervisor, "asked": asked}[sys.argv[1]]()
