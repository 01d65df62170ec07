# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How EPL takes part in monitored training sessions, those of `tf.estimator` included.

`create` and `close` stand in for methods of TensorFlow's `_MonitoredSession`; the method itself
comes as `original`.
"""

from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from epl.env import Env
from epl.ir.graph_state import state_of
from epl.runtime import agreement, progress, stop

_DIFFERENTIATED = "_epl_differentiated"


def note_gradients(graph: Any) -> None:
    """Gradients were built in `graph`: a monitored session of it is one that trains."""
    setattr(graph, _DIFFERENTIATED, True)


class _TrainingHook(tf.train.SessionRunHook):
    """Stops the session when that is agreed; reports steps in graphs that EPL leaves alone."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        self._alone = _worker_num() == 1
        self._counts = not state_of(session.graph).trains
        if self._alone:
            progress.session_ready()
        if self._stopping():
            coord.request_stop()

    def after_run(self, run_context: Any, run_values: Any) -> None:
        del run_values
        if self._counts:
            progress.step_done()
        if self._stopping():
            run_context.request_stop()

    def _stopping(self) -> bool:
        if self._alone:
            stop.agree(stop.wish())
        return stop.agreed() is not stop.Wish.NONE


def create(original: Callable[..., None], session: Any, session_creator: Any, hooks: Any,
           *args: Any, **kwargs: Any) -> None:
    """`_MonitoredSession.__init__`: a session that trains can be stopped."""
    if not _trains(tf.get_default_graph()):
        original(session, session_creator, hooks, *args, **kwargs)
        return
    stop.arm()
    try:
        original(session, session_creator, _with_own(hooks), *args, **kwargs)
    except BaseException:
        stop.disarm()
        raise


def close(original: Callable[..., None], session: Any, exception_type: Any = None) -> None:
    """`_MonitoredSession._close_internal`: workers end a training session together."""
    graph = session.graph
    if not _trains(graph):
        original(session, exception_type)
        return
    try:
        original(session, exception_type)
        if not exception_type:
            if state_of(graph).trains and _worker_num() > 1:
                agreement.training_ended()
            progress.finished()
    finally:
        stop.disarm()


def _trains(graph: Any) -> bool:
    return Env.get().initialized and getattr(graph, _DIFFERENTIATED, False)


def _worker_num() -> int:
    return Env.get().cluster.worker_num


def _with_own(hooks: Sequence[Any]) -> Sequence[Any]:
    return list(hooks or []) + [_TrainingHook()]
