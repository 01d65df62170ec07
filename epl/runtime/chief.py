# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Only the chief writes, and restoring on the chief is enough.

Each function stands in for one of TensorFlow's; the function itself comes as `original`, and the
environment in which it is called as `env` where it is not that of a graph.
"""

import inspect
from typing import Any, Callable

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.context import Wish
from epl.env import Env
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.ir.ownership import divided_variables, ownership_of
from epl.rewrite.walk import ancestors
from epl.runtime import control_plane, coordination, monitored, requests
from epl.shared import progress

_HAS_CREATED = "_epl_has_created"  # a session creator has made its session


def _trains_with_others(graph: Any) -> bool:
    """True if training steps of `graph` involve other workers."""
    return state_of(graph).trains and context_of(graph).of_process.cluster.worker_num > 1


def save(original: Callable[..., str], env: Env, saver: Any, sess: Any, save_path: str,
         global_step: Any = None, *args: Any, **kwargs: Any) -> str:
    """`Saver.save`: other workers write nothing and return the path that the chief writes.

    Raises:
      NotImplementedError: the chief has not all the values that the checkpoint would need.
    """
    _check_held_by_chief(saver, sess.graph)
    if env.context.cluster.is_chief:
        return original(saver, sess, save_path, global_step, *args, **kwargs)
    if global_step is None:
        return save_path
    if not isinstance(global_step, (int, np.integer)):
        global_step = tf.train.global_step(sess, global_step)
    return "{}-{}".format(save_path, global_step)


def _check_held_by_chief(saver: Any, graph: Any) -> None:
    divided = divided_variables(graph)
    if not divided or saver.saver_def is None:
        return
    saved = ancestors([graph.as_graph_element(saver.saver_def.save_tensor_name).op])
    for variable in divided:
        if compat.variable_key(variable) in saved:
            raise NotImplementedError(
                "variable '{}' is held {}: the chief, which writes the checkpoint, has one of its "
                "values only; leave it out of the tf.train.Saver's var_list".format(
                    variable.name, ownership_of(graph).describe(compat.variable_key(variable))))


def write_graph(original: Callable[..., Any], env: Env, *args: Any, **kwargs: Any) -> Any:
    """The `graph.pbtxt` of TensorFlow's checkpoint hook."""
    return original(*args, **kwargs) if env.context.cluster.is_chief else None


def add_to_saved_model(original: Callable[..., Any], builder: Any, *args: Any,
                       **kwargs: Any) -> Any:
    """`SavedModelBuilder.add_meta_graph*`: where it is served there may be one device only."""
    call = inspect.signature(original).bind(builder, *args, **kwargs)
    if context_of(tf.get_default_graph()).cluster.gpu_num_per_worker > 1:
        call.arguments["clear_devices"] = True
    return original(*call.args, **call.kwargs)


class SilentEventWriter:
    """Stands in for an event file writer on workers that write no summaries."""

    def __init__(self, logdir: str):
        self._logdir = logdir

    def get_logdir(self) -> str:
        return self._logdir

    def add_event(self, event: Any) -> None:
        del event

    def flush(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Nothing to close."""

    def reopen(self) -> None:
        """Nothing to open."""


def event_file_writer(original: Callable[..., Any], env: Env, logdir: str, *args: Any,
                      **kwargs: Any) -> Any:
    """`EventFileWriter`, as `tf.summary.FileWriter` makes it."""
    if env.context.cluster.is_chief:
        return original(logdir, *args, **kwargs)
    tf.gfile.MakeDirs(logdir)  # which the script may look into, though it holds nothing
    return SilentEventWriter(logdir)


def create_chief_session(original: Callable[[Any], Any], env: Env, creator: Any) -> Any:
    """`ChiefSessionCreator.create_session`: all workers start a training session alike.

    Other workers than the chief leave checkpoints alone (theirs may be missing, or be written at
    this moment) and get the chief's variables before any hook looks at them.
    """
    graph = tf.get_default_graph()
    if not _trains_with_others(graph) or monitored.evaluates(creator, graph):
        return original(creator)
    _check_is_first(creator, graph)
    if env.context.cluster.is_chief:
        session = original(creator)
    else:
        with compat.without_checkpoint(creator):
            session = original(creator)
    coordination.session_created(session)
    return session


def _check_is_first(creator: Any, graph: Any) -> None:
    """Raises NotImplementedError if `creator` makes a session in place of one that was lost."""
    if context_of(graph).teams is not None and getattr(creator, _HAS_CREATED, False):
        raise NotImplementedError(
            "this worker has lost its session (TensorFlow's AbortedError or UnavailableError), and "
            "another one in its place is not available where model replicas lie on several "
            "workers: end the script on that error, and let epl-launch --max_restarts start all "
            "workers again from the last checkpoint")
    setattr(creator, _HAS_CREATED, True)


def create_worker_session(original: Callable[[Any], Any], creator: Any) -> Any:
    """`WorkerSessionCreator.create_session`: every worker initializes its own variables.

    With `is_chief=False` TensorFlow would wait for a chief to do it, who cannot reach them.
    """
    if not _trains_with_others(tf.get_default_graph()):
        return original(creator)
    return compat.as_chief(creator).create_session()


def create_supervisor(original: Callable[..., None], supervisor: Any, *args: Any,
                      **kwargs: Any) -> None:
    """`Supervisor.__init__`: every worker initializes its own variables.

    With `is_chief=False` TensorFlow would wait for a chief to do it, who cannot reach them.
    """
    call = inspect.signature(original).bind(supervisor, *args, **kwargs)
    given = call.arguments.get("graph")
    graph = given if isinstance(given, tf.Graph) else tf.get_default_graph()
    if _trains_with_others(graph):
        if context_of(graph).teams is not None:
            raise NotImplementedError(
                "tf.train.Supervisor with model replicas that lie on several workers is not "
                "available yet in this version of EPL; use tf.train.MonitoredTrainingSession")
        call.arguments["is_chief"] = True
    original(*call.args, **call.kwargs)


def evaluate_checkpoint(original: Callable[..., Any], env: Env, listener: Any,
                        global_step: int) -> Any:
    """The evaluation inside `tf.estimator.train_and_evaluate`: the chief's task.

    After SIGTERM there is no time for it.
    """
    if env.context.cluster.is_chief and env.worker.agreed is not Wish.SIGTERM:
        with requests.alone():
            return original(listener, global_step)
    compat.note_evaluation(listener, global_step)
    return None


def train_and_evaluate_locally(original: Callable[..., Any], env: Env, executor: Any) -> Any:
    """The body of `tf.estimator.train_and_evaluate`: all workers return the chief's metrics."""
    result = original(executor)
    if env.context.cluster.worker_num > 1:
        progress.waiting("the chief's metrics of train_and_evaluate")
        result = control_plane.of(env.context).broadcast_object(_plain(result))
        progress.finished()
    return result


def _plain(value: Any) -> Any:
    """`value` as it can be sent: what an exporter returns may be anything, and is sent as text."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) \
            else tuple(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    plain = value is None or isinstance(value, (str, bytes, bool, int, float, np.generic,
                                                np.ndarray))
    return value if plain else str(value)
