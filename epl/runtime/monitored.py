# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How EPL takes part in monitored sessions, those of `tf.estimator` included.

One that restores a named checkpoint, or that TensorFlow counts evaluations in, is no training,
even if its graph holds a training step (a `model_fn` may build one in every mode): each worker runs
it on its own. It becomes one if it runs a step. All other ones are trainings if their graph can be.

`create` and `close` stand in for methods of TensorFlow's `_MonitoredSession`; the method itself
comes as `original`.
"""

import sys
from typing import Any, Callable, Optional

import tensorflow.compat.v1 as tf

from epl.context import Wish
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.runtime import coordination, stop
from epl.shared import progress

_DIFFERENTIATED = "_epl_differentiated"
_HOOK = "_epl_hook"  # of a monitored session


def note_gradients(graph: Any) -> None:
    """Gradients were built in `graph`: a monitored session of it may be one that trains."""
    setattr(graph, _DIFFERENTIATED, True)


def evaluates(creator: Any, graph: Any) -> bool:
    """True for a session that is made to evaluate or to predict.

    Args:
      creator: a `SessionCreator`, or None for TensorFlow's default.
      graph: its graph.
    """
    if getattr(creator, "_checkpoint_filename_with_path", None):
        return True
    counted = graph.get_collection(tf.GraphKeys.EVAL_STEP)
    return bool(counted) and not getattr(creator, "_checkpoint_dir", None)


class _TrainingHook(tf.train.SessionRunHook):
    """Stops the session when that is agreed; reports steps in graphs that EPL leaves alone.

    Attributes:
      trains: the session belongs to training.
      handled: the exception that was being dealt with when the session was made.
      asked: a hook or a thread has asked for the end of the session.
    """

    def __init__(self, graph: Any, trains: bool):
        self.graph = graph
        self.trains = trains
        self.handled = sys.exc_info()[1]
        self.asked = False
        context = context_of(graph)
        self._worker = context.worker
        self._alone = context.of_process.cluster.worker_num == 1
        self._counts = trains and not state_of(graph).trains

    def after_create_session(self, session: Any, coord: Any) -> None:
        coordination.can_be_ended(session, coord)
        if not self.trains:
            return
        if self._alone:
            progress.session_ready()
        if self._stopping():
            coord.request_stop()

    def after_run(self, run_context: Any, run_values: Any) -> None:
        del run_values
        if not self.trains and coordination.has_trained(run_context.session):
            self.trains = True
            stop.arm()
        if self._counts:
            progress.step_done()
        if self.trains and self._stopping():
            run_context.request_stop()

    def end(self, session: Any) -> None:
        coordination.is_ending(session, self.asked)

    def _stopping(self) -> bool:
        if self._alone:
            stop.agree(self._worker, stop.wish(self._worker))
        return self._worker.agreed is not Wish.NONE


def create(original: Callable[..., None], session: Any, session_creator: Any,
           hooks: Any, *args: Any, **kwargs: Any) -> None:
    """`_MonitoredSession.__init__`: a session that trains can be stopped."""
    graph = tf.get_default_graph()
    if not getattr(graph, _DIFFERENTIATED, False):
        original(session, session_creator, hooks, *args, **kwargs)
        return
    hook = _TrainingHook(graph, trains=not evaluates(session_creator, graph))
    if hook.trains:
        stop.arm()
    try:
        original(session, session_creator, list(hooks or []) + [hook], *args, **kwargs)
    except BaseException:
        stop.disarm()
        raise
    setattr(session, _HOOK, hook)


def close(original: Callable[..., None], session: Any,
          exception_type: Any = None) -> None:
    """`_MonitoredSession._close_internal`: workers end a training session together."""
    hook: Optional[_TrainingHook] = getattr(session, _HOOK, None)
    if hook is None:
        original(session, exception_type)
        return
    hook.asked, failed = _asked_to_stop(session), exception_type or _is_failing(hook)
    try:
        original(session, exception_type)
        if hook.trains and not failed:
            context = context_of(hook.graph)
            if state_of(hook.graph).trains and context.of_process.cluster.worker_num > 1:
                coordination.training_ended(context, hook.asked)
            progress.finished()
    finally:
        if hook.trains:
            stop.disarm()


def _is_failing(hook: _TrainingHook) -> bool:
    """True if the session is closed because an exception is on its way, as in `finally:`.

    That exception is what there is to report, not that the others are about to do something else.
    """
    error = sys.exc_info()[1]
    ends = (tf.errors.OutOfRangeError, StopIteration)
    return isinstance(error, Exception) and error is not hook.handled \
        and not isinstance(error, ends)


def _asked_to_stop(session: Any) -> bool:
    """True if a hook or a thread has asked for the end of this session."""
    try:
        return bool(session.should_stop())
    except Exception:  # what it raises, closing it raises again
        return False
