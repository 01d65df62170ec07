# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scripts of workers that hold one model replica together, a stage on each.

Usage: team_sessions.py sessions DIRECTORY | dies VICTIM
"""

import os
import signal
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs import common
from tests.graph import devices

ROWS = devices.ROWS


def build(rows=None):
    """A `Fit` in two stages; `rows`: a tensor to read them from."""
    tf.set_random_seed(1)
    return devices.fit(lambda number: epl.replicate(1, name="stage_{}".format(number)), x=rows)


class Reads(tf.train.SessionRunHook):
    """Reads a variable behind each step."""

    def __init__(self, weight):
        self.weight, self.seen = weight, []

    def after_run(self, run_context, run_values):
        self.seen.append(float(run_context.session.run(self.weight)))


def monitored(rank, directory, steps):
    """So many steps in a monitored session; only worker 1 fetches the loss, and has a hook."""
    with tf.Graph().as_default():
        model = build()
        hook = Reads(model.weight)
        losses, done = [], None
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=directory, save_checkpoint_steps=2,
                hooks=[hook] if rank == 1 else []) as session:
            begun = int(session.run(model.step))
            for _ in range(steps):
                fetches = {"train": model.train, "step": model.step}
                if rank == 1:
                    fetches["loss"] = model.loss
                found = session.run(fetches, {model.x: ROWS})
                losses += [float(found["loss"])] if rank == 1 else []
            done = [int(session.run(model.step)), float(session.run(model.weight))]
        return dict(begun=begun, losses=losses, seen=hook.seen, done=done)


def end_of_data():
    """Two steps of rows, then the end."""
    with tf.Graph().as_default():
        model = build(tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(
            np.tile(ROWS, 2)).batch(4)).get_next())
        done = 0
        with tf.train.MonitoredTrainingSession() as session:
            while not session.should_stop():
                session.run(model.train)
                done += 1
        return done


def plain_session(rank, directory):
    """What each worker does on its own between steps, in a plain session."""
    with tf.Graph().as_default():
        model = build()
        saver, path = tf.train.Saver(), os.path.join(directory, "own")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            first = session.run([model.weight, model.loss], {model.x: ROWS})
            session.run(model.train, {model.x: ROWS})
            saved = saver.save(session, path)
            session.run(model.train, {model.x: ROWS})
            if rank == 0:
                saver.restore(session, saved)  # the others learn of it
                chief = float(session.run(model.weight))
            else:
                chief = [float(session.run(model.weight)) for _ in range(2)]
                session.run(model.weight.initializer)  # alone: what the chief has counts
            session.run(model.train, {model.x: ROWS})
            last = float(session.run(model.weight))
            wrong = {}
            for name, act in {
                    "feed": lambda: session.run(model.train, {model.x: ROWS + rank}),
                    "rows": lambda: session.run(model.train, {model.x: ROWS[:3]}),
                    "step": lambda: session.run(tf.check_numerics(
                        model.loss, "not finite", name="check"), {model.x: ROWS * np.nan}),
            }.items():
                try:
                    act()
                except Exception as error:
                    wrong[name] = "{}: {}".format(type(error).__name__, error)
        return dict(first=[float(value) for value in first], chief=chief, last=last, wrong=wrong,
                    saved=saved)


def sessions(rank, directory):
    common.report(
        first=monitored(rank, directory, 3), second=monitored(rank, directory, 2),
        end_of_data=end_of_data(), plain=plain_session(rank, directory))


def dies(rank, victim):
    model = build()
    with tf.train.MonitoredTrainingSession() as session:
        for number in range(100):
            if rank == victim and number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            session.run(model.train, {model.x: ROWS})


def main():
    epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
    rank = epl.Env.get().cluster.worker_index
    if sys.argv[1] == "sessions":
        sessions(rank, sys.argv[2])
    else:
        dies(rank, int(sys.argv[2]))


if __name__ == "__main__":
    main()
