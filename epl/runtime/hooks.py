# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every place where TensorFlow is patched, in two tables.

A patch puts a function of EPL before one of TensorFlow, which it gets as its first argument. It is
an entrance: the graph at hand remembers the environment in which it was first seen. What needs the
environment itself gets it as its second argument (`_with_env`). Patches are the process's, as
TensorFlow is. What every session run passes through is patched only once there is something to do:
a script that trains on one device runs at the speed of plain TensorFlow.
"""

import functools
import inspect
import os
import sys
import threading
from typing import Any, Callable, Dict, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.env import Env
from epl.errors import ConfigError
from epl.ir import static_shapes
from epl.ir.environment import intended_plan, remember
from epl.ir.feeds import note_sparse
from epl.ir.graph_state import state_of
from epl.rewrite.gradients import capture_gradients
from epl.rewrite.loss_scale import apply_gradients, scaled_gradients
from epl.rewrite.rewriter import rewrite
from epl.runtime import chief, monitored, session

_MARK = "_epl_patched"
_INSTALLING = threading.Lock()


def _run_config_init(original: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """`RunConfig.__init__` must not see TF_CONFIG: it would start parameter-server training."""
    call = inspect.signature(original).bind(*args, **kwargs)
    _drop_distribution(call.arguments)
    hidden = os.environ.pop("TF_CONFIG", None)
    try:
        original(*call.args, **call.kwargs)
    finally:
        if hidden is not None:
            os.environ["TF_CONFIG"] = hidden


def _run_config_replace(original: Callable[..., Any], config: Any, **kwargs: Any) -> Any:
    """`RunConfig.replace`."""
    _drop_distribution(kwargs)
    return original(config, **kwargs)


def _drop_distribution(arguments: Dict[str, Any]) -> None:
    """Two cannot distribute the same training: a strategy of TensorFlow's gives way to EPL's."""
    for name in ("train_distribute", "eval_distribute", "experimental_distribute"):
        if arguments.get(name) is not None:
            tf.logging.warning(
                "RunConfig(%s=%s) is left out: EPL distributes the training, as epl.init and "
                "epl.replicate say; take it out of the script, or leave out epl.init",
                name, type(arguments[name]).__name__)
            arguments[name] = None


def _gradients(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Gradients that EPL aggregates make session runs training steps."""
    graph = tf.get_default_graph()
    if tf.distribute.has_strategy() and intended_plan(graph) is not None:
        raise ConfigError(
            "gradients are built under {0}, a strategy of TensorFlow's, in a graph that EPL "
            "distributes: leave {0} out (a RunConfig that is made after epl.init does), or "
            "epl.init".format(type(tf.distribute.get_strategy()).__name__))
    return scaled_gradients(functools.partial(_captured, original), inspect.signature(original),
                            *args, **kwargs)


def _captured(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    graph = tf.get_default_graph()
    first = compat.last_id(graph) + 1
    result = capture_gradients(original, *args, **kwargs)
    state_of(graph).provenance.note_backward(first, compat.last_id(graph))
    static_shapes.forget(graph, first)
    monitored.note_gradients(graph)
    if state_of(graph).trains:
        _install(PATCHES_OF_RUNS)
    return result


def _optimizer_init(original: Callable[..., None], env: Env, optimizer: Any, *args: Any,
                    **kwargs: Any) -> None:
    """`Optimizer.__init__`: classes of scripts bring an `apply_gradients` of their own."""
    original(optimizer, *args, **kwargs)
    if env.context.config.amp.level:
        _install(tuple((owner, "apply_gradients", apply_gradients)
                       for owner in type(optimizer).__mro__ if "apply_gradients" in vars(owner)))


def _sparse_init(original: Callable[..., None], tensor: Any, *args: Any, **kwargs: Any) -> None:
    """`SparseTensor.__init__`: if its parts are fed, they are divided together."""
    original(tensor, *args, **kwargs)
    graph = None if tf.executing_eagerly() else getattr(tensor.indices, "graph", None)
    if graph is not None and compat.is_top_level(graph):
        note_sparse(tensor)


def _finalize(original: Callable[..., None], graph: Any) -> None:
    """`Graph.finalize`: what is pending has to be done before."""
    rewrite(graph)
    original(graph)


def _environment(args: Sequence[Any]) -> Env:
    """That of the graph at hand: of a session, the graph itself, or this thread's default graph."""
    graph = next((g for g in (getattr(arg, "graph", arg) for arg in args[:2])
                  if isinstance(g, tf.Graph)), None) or tf.get_default_graph()
    return remember(graph, Env.get()) if compat.is_top_level(graph) else Env.get()


def _with_env(replacement: Callable[..., Any]) -> Callable[..., Any]:
    """A replacement that gets the environment as well."""
    def replaced(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return replacement(original, _environment(args), *args, **kwargs)

    return replaced


_BASE_SESSION = compat.session_module.BaseSession
_MONITORED = compat.monitored_session_module

# (owner, attribute, what stands before it)
_Patches = Tuple[Tuple[Any, str, Callable[..., Any]], ...]

PATCHES: _Patches = (
    (compat.gradients_util, "_GradientsHelper", _gradients),
    (compat.ops_module.Graph, "finalize", _finalize),
    (tf.train.Optimizer, "__init__", _with_env(_optimizer_init)),
    (tf.SparseTensor, "__init__", _sparse_init),
    (compat.array_ops, "shape_internal", static_shapes.shape),
    (compat.array_ops, "size_internal", static_shapes.size),
    (compat.array_ops, "zeros_like_impl", static_shapes.zeros_like),
    (_BASE_SESSION, "__init__", _with_env(session.init)),
    (compat.saver_module.Saver, "save", _with_env(chief.save)),
    (compat.SavedModelBuilder, "add_meta_graph_and_variables", chief.add_to_saved_model),
    (compat.SavedModelBuilder, "add_meta_graph", chief.add_to_saved_model),
    (compat.summary_writer_module, "EventFileWriter", _with_env(chief.event_file_writer)),
    (compat.training_util, "write_graph", _with_env(chief.write_graph)),
    (_MONITORED.ChiefSessionCreator, "create_session",
     _with_env(chief.create_chief_session)),
    (_MONITORED.WorkerSessionCreator, "create_session", chief.create_worker_session),
    (compat.supervisor_module.Supervisor, "__init__", chief.create_supervisor),
    (compat.MonitoredSessionBase, "__init__", monitored.create),
    (compat.MonitoredSessionBase, "_close_internal", monitored.close),
)

if compat.HAS_ESTIMATOR:
    PATCHES += (
        (compat.CheckpointListenerForEvaluate, "_evaluate", _with_env(chief.evaluate_checkpoint)),
        (compat.EstimatorExecutor, "run_local", _with_env(chief.train_and_evaluate_locally)),
        (compat.RunConfig, "__init__", _run_config_init),
        (compat.RunConfig, "replace", _run_config_replace),
    )


PATCHES_OF_RUNS: _Patches = (
    (_BASE_SESSION, "_run", session.run),
    (_BASE_SESSION, "partial_run_setup", session.partial_run_setup),
    (_BASE_SESSION, "_extend_graph", session.extend_graph),
    (_BASE_SESSION, "_do_run", session.do_run),
    (_BASE_SESSION, "close", session.close),
    (_BASE_SESSION, "__del__", session.forgotten),
    (tf.Session, "__exit__", session.leave),
    (_BASE_SESSION, "make_callable", session.make_callable),
    (_BASE_SESSION, "_make_callable_from_options", session.make_callable_from_options),
)


def install(several_devices: bool) -> None:
    """Patch TensorFlow; once per process, however often it is called.

    Args:
      several_devices: the job has more than one device, so that session runs concern EPL.
    """
    _install(PATCHES)
    if several_devices:
        _install(PATCHES_OF_RUNS)


def _install(patches: _Patches) -> None:
    with _INSTALLING:
        for owner, attribute, replacement in patches:
            original = getattr(owner, attribute)
            if not hasattr(original, _MARK):
                setattr(owner, attribute, _before(replacement, original))


def _before(replacement: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    ending = sys.is_finalizing  # at the end Python takes the names of modules away, not this one

    @functools.wraps(original, updated=())
    def patched(*args: Any, **kwargs: Any) -> Any:
        # Not initialized: a test that has left what another had begun.
        if ending() or not _environment(args).initialized:
            return original(*args, **kwargs)
        return replacement(original, *args, **kwargs)

    setattr(patched, _MARK, True)
    return patched
