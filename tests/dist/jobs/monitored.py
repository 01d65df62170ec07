# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""MonitoredTrainingSession with hooks, checkpoints and a resume.

Usage: monitored.py SHARED_DIRECTORY
Five steps that write checkpoints to the shared directory; then, in a new graph, five more. In the
second part only the chief has the checkpoints: the other worker's directory is its own, and empty.
"""

import os
import sys

import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import report, start
from tests.support import models, training

RANK, WORKERS = start()


class Steps(tf.train.SessionRunHook):
    """Remembers the global step after every run."""

    def __init__(self):
        self.seen = []

    def begin(self):
        self._step = tf.train.get_global_step()

    def before_run(self, run_context):
        return tf.train.SessionRunArgs(self._step)

    def after_create_session(self, session, coord):
        self.seen.append(int(session.run(self._step)))


def part(directory, hook, is_chief):
    """Five steps on this worker's rows; returns (losses, variables at the end)."""
    columns = models.data("mlp_embedding")
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        share = models.GLOBAL_BATCH // WORKERS
        rows = tf.data.Dataset.from_tensor_slices(columns).shard(WORKERS, RANK)
        batch = tf.data.make_one_shot_iterator(rows.batch(share).repeat()).get_next()
        with tf.variable_scope("model", use_resource=True):
            loss = models.MODELS["mlp_embedding"](batch)
        step = tf.train.get_or_create_global_step()
        train = training.optimizer("adam").minimize(loss, step)
        saver = tf.train.Saver(name="own")
        found = {v.name: v for v in tf.global_variables()}
        hooks = [tf.train.StopAtStepHook(num_steps=5), hook]
        if RANK == 0:  # a hook, and with it a fetch, that only the chief has
            hooks.append(tf.train.LoggingTensorHook({"loss": loss}, every_n_iter=1))
        losses = []
        with tf.train.MonitoredTrainingSession(
                is_chief=is_chief, checkpoint_dir=directory, save_checkpoint_steps=2,
                save_summaries_steps=1, hooks=hooks) as session:
            while not session.should_stop():
                losses.append(session.run([loss, train])[0])
                if not session.should_stop():
                    raw = session._tf_sess()  # without hooks, which would read another batch
                    values = raw.run(found)
                    path = saver.save(raw, os.path.join(os.environ["EPL_OUTPUT_DIR"], "mine"),
                                      global_step=step)
        return losses, {name: float(abs(value).sum()) for name, value in values.items()}, path


def main():
    shared = sys.argv[1]
    hooks = [Steps(), Steps()]
    first = part(shared, hooks[0], is_chief=True)
    own = os.path.join(os.environ["EPL_OUTPUT_DIR"], "empty")
    # is_chief as scripts for several machines pass it
    second = part(shared if RANK == 0 else own, hooks[1], is_chief=RANK == 0)
    report(losses=[first[0], second[0]], variables=second[1], started_at=[h.seen for h in hooks],
           paths=[first[2], second[2]])


if __name__ == "__main__":
    main()
