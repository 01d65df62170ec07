# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Jobs that are to stop early.

Usage: stops.py KIND DIRECTORY
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.runtime import control_plane, coordination
from epl.shared import progress
from tests.dist.jobs import launched
from tests.dist.jobs.common import line_fit, report, start

DIRECTORY = sys.argv[2]
RANK = int(os.environ.get("EPL_WORKER_INDEX", "0"))


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


class AtStep(tf.train.SessionRunHook):
    """Calls `function` after the run number `step`, on worker `rank` alone."""

    def __init__(self, step, function, rank=1):
        self._step, self._function, self._rank = step, function, rank
        self.runs = 0

    def after_run(self, run_context, run_values):
        self.runs += 1
        if self.runs == self._step and RANK == self._rank:
            self._function()


def train(hook, last_step=None):
    """Train line_fit in a monitored session, for ever if nobody stops it."""
    with tf.Graph().as_default():
        x, _, loss = line_fit()
        step = tf.train.get_or_create_global_step()
        train_op = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)
        hooks = [hook] + ([tf.train.StopAtStepHook(last_step=last_step)] if last_step else [])
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=DIRECTORY, save_checkpoint_steps=1000, hooks=hooks) as session:
            while not session.should_stop():
                session.run(train_op, {x: [1.0]})


def sigterm():
    """SIGTERM on worker 1 after its third step; a second training follows in the script."""
    hooks = AtStep(3, terminate), AtStep(1, terminate)
    train(hooks[0])
    train(hooks[1])
    report(runs=[hook.runs for hook in hooks], status=launched.status()._asdict())


def forever():
    """Nobody in the script stops it."""
    hook = AtStep(-1, None)
    train(hook)
    report(runs=[hook.runs])


def request():
    """The script itself asks, on the chief."""
    hook = AtStep(3, epl.request_stop, rank=0)
    train(hook)
    report(runs=[hook.runs])


def alone():
    """One worker, whose graph EPL leaves alone."""
    class Alone(AtStep):
        def before_run(self, run_context):
            states.append(launched.status().state)

    states = []
    hook = Alone(3, terminate, rank=0)
    train(hook)
    report(runs=[hook.runs], states=states, status=launched.status()._asdict())


def without_launcher():
    """Nobody has told the worker where to report."""
    train(AtStep(3, terminate, rank=0))
    report(survived=True)


def make_estimator(evaluations):
    """An estimator of one weight, and its input: a generator without end."""
    def model_fn(features, labels, mode):
        weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.square(weight - features))
        step = tf.train.get_or_create_global_step()
        if mode == tf.estimator.ModeKeys.EVAL:
            evaluations.append(1)
            return tf.estimator.EstimatorSpec(mode, loss=loss)
        return tf.estimator.EstimatorSpec(
            mode, loss=loss,
            train_op=tf.train.GradientDescentOptimizer(0.25).minimize(loss, step))

    def rows():
        while True:
            yield np.float32(1.0)

    def input_fn():
        return tf.data.Dataset.from_generator(rows, tf.float32, []).batch(2).map(
            lambda batch: (batch, batch)).prefetch(2)

    return tf.estimator.Estimator(model_fn, DIRECTORY, tf.estimator.RunConfig(
        save_checkpoints_steps=1000, log_step_count_steps=1000)), input_fn


def train_and_evaluate(hook):
    """As long as nobody stops it."""
    evaluations = []
    estimator, input_fn = make_estimator(evaluations)
    result = tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(input_fn, max_steps=100000, hooks=[hook]),
        tf.estimator.EvalSpec(input_fn, steps=1, throttle_secs=0))
    report(runs=[hook.runs], evaluations=len(evaluations), result=result)


def estimator():
    """SIGTERM on the chief while train_and_evaluate trains."""
    train_and_evaluate(AtStep(3, terminate, rank=0))


def estimator_forever():
    """Nobody in the script stops train_and_evaluate."""
    train_and_evaluate(AtStep(-1, None))


def estimator_train_forever():
    """Nor Estimator.train; the second one is not begun."""
    hooks = AtStep(-1, None), AtStep(-1, None)
    built, input_fn = make_estimator([])
    for hook in hooks:
        built.train(input_fn, hooks=[hook])
    report(runs=[hook.runs for hook in hooks])


def plain():
    """A loop around a plain session cannot be stopped: SIGTERM ends the process."""
    x, _, loss = line_fit()
    step = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(5):
            session.run(step, {x: [1.0]})
            if number == 2:
                terminate()
    report(survived=True)


def own_handler():
    """The script's own handler is called, and nothing else happens."""
    calls = []
    signal.signal(signal.SIGTERM, lambda *_: calls.append(1))
    hook = AtStep(3, terminate, rank=0)
    train(hook, last_step=5)
    report(runs=[hook.runs], calls=len(calls),
           kept=signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN))


def hangs():
    """The third step never ends."""
    def value():
        if hook.runs == 2:
            launched.wait_for_release()
        return np.float32(1.0)

    hook = AtStep(-1, None)
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    x = tf.py_func(value, [], tf.float32)
    step = tf.train.get_or_create_global_step()
    train_op = tf.train.GradientDescentOptimizer(0.25).minimize(tf.square(weight - x), step)
    with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
        while not session.should_stop():
            session.run(train_op)


def forked():
    """A child that was forked while SIGTERM means a stop dies of it, and reports nothing."""
    codes = []

    def fork():
        for number in range(20):  # half of them get it while they are being born
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[60])
            child.start()
            time.sleep(0.1 if number % 2 else 0.0)
            child.terminate()
            child.join(5)
            codes.append(child.exitcode)
            child.kill()

    train(AtStep(2, fork, rank=0), last_step=3)
    report(codes=codes, status=launched.status()._asdict(), pid=os.getpid())


def _leave():
    epl.Env.get().context.communicator.disconnect()
    time.sleep(8)


def lost_after_sigterm():
    """SIGTERM asks worker 0 for a stop; it then finds that worker 1 has left."""
    hook = AtStep(3, terminate if RANK == 0 else _leave, rank=RANK)
    with mock.patch.object(coordination, "OTHER_ERROR_SECONDS", 3600.0), \
            mock.patch.object(control_plane, "PRECEDENCE_SECONDS", 3600.0):
        try:
            train(hook)
        except epl.WorkerLostError:
            report(lost=True)


def lost_before_sigterm():
    """SIGTERM comes to worker 0 when it has noticed that worker 1 has left."""
    def watch():
        while launched.status().state != progress.LOST:
            time.sleep(0.01)
        terminate()

    if RANK == 0:
        threading.Thread(target=watch, daemon=True).start()
    train(AtStep(3, _leave))


def dies_once():
    """Worker 1 dies after three steps in the first attempt; ten steps in all."""
    def die():
        mark = os.path.join(DIRECTORY, "died")
        if not os.path.exists(mark):
            os.mkdir(mark)
            os._exit(7)

    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        step = tf.train.get_or_create_global_step()
        train_op = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)
        hooks = [tf.train.StopAtStepHook(last_step=10), AtStep(3, die)]
        values = []
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=DIRECTORY, save_checkpoint_steps=2, hooks=hooks) as session:
            first = session._tf_sess().run(step)
            while not session.should_stop():
                values.append(session.run([loss, train_op], {x: [RANK + 1.0]})[0])
    report(first=int(first), last_loss=float(values[-1]))


KINDS = {f.__name__: f for f in (
    sigterm, forever, request, alone, without_launcher, estimator, estimator_forever,
    estimator_train_forever, plain, own_handler, hangs, forked, lost_after_sigterm,
    lost_before_sigterm, dies_once)}

if __name__ == "__main__":
    if sys.argv[1] != "without_launcher":
        launched.listen()
    if sys.argv[1] in ("alone", "without_launcher"):
        tf.logging.set_verbosity(tf.logging.ERROR)
        epl.init()
    else:
        start()
    KINDS[sys.argv[1]]()
