# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How EPL takes part in session runs.

Each function stands in for a method of TensorFlow's `BaseSession`; the method itself comes as
`original`. In a graph whose gradients EPL does not aggregate nothing is done.
"""

import functools
import threading
from typing import Any, Callable, Dict, Iterable, List, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.context import Context
from epl.env import Env
from epl.ir.environment import context_of, remember
from epl.ir.graph_state import state_of
from epl.rewrite import unequal
from epl.rewrite.looks import Looks
from epl.rewrite.place import Devices
from epl.rewrite.rewriter import rewrite
from epl.rewrite.sources import Sources
from epl.runtime import (
    control_plane,
    coordination,
    explained,
    feeds,
    held_state,
    requests,
    shared_feeds,
    teams,
    warming,
)
from epl.runtime.runs import Run, as_whole, describe, is_step
from epl.runtime.settings import session_config
from epl.shared import progress

_KNOWN_ID = "_epl_known_id"  # the last operation that the session has been told of
_MADE_FOR = "_epl_made_for"  # how many devices the worker had when the session was made
_PLACED = "_epl_placed"  # the devices of the graph, once the session was found to have them


def init(original: Callable[..., None], env: Env, session: Any, target: str = "",
         graph: Any = None, config: Any = None) -> None:
    """`BaseSession.__init__`: the session gets this worker's share of the cores and its devices."""
    known = graph or tf.get_default_graph()
    remember(known, env)
    context = context_of(known)
    process = context.of_process
    if process.communicator is not None:
        target = process.communicator.session_target(target, config)
    config = session_config(config, process)
    spans = context.teams is not None and process.communicator is not None  # else it is planned
    if spans:
        config = _seeing_team(config, context)
    setattr(session, _MADE_FOR, context.cluster.gpu_num_per_worker)
    original(session, target, graph, config)
    if spans:
        requests.register(session)


def _seeing_team(config: Any, context: Context) -> Any:
    """A configuration of a session that has the devices of all workers of this one's team."""
    result = tf.ConfigProto()
    result.CopyFrom(config or result)
    assert context.teams is not None
    context.of_process.connection.see(result, context.teams.members(context.cluster.worker_index))
    return result


def run(original: Callable[..., Any], session: Any, handle: Any, fetches: Any, feed_dict: Any,
        *args: Any) -> Any:
    """`BaseSession._run`: what is fed is still as the script gave it here."""
    if warming.is_apart():
        return original(session, handle, fetches, feed_dict, *args)
    rewrite(session.graph)
    state = state_of(session.graph)
    sources = state.find(Sources)
    if sources is None or len(sources.clones) == 1:
        return original(session, handle, fetches, feed_dict, *args)
    feed_dict = feed_dict or {}  # a run inside of a step is fed nothing of the step's
    refusal = feeds.indivisible(feed_dict, session.graph)
    if refusal and _is_step(session.graph, fetches):
        raise NotImplementedError(refusal)
    with feeds.first_shares(feed_dict, session.graph, state) as accepted:
        return original(session, handle, fetches, accepted, *args)


def partial_run_setup(original: Callable[..., Any], session: Any, fetches: Any,
                      *args: Any, **kwargs: Any) -> Any:
    """`BaseSession.partial_run_setup`: a step is run as a whole."""
    rewrite(session.graph)
    if _is_step(session.graph, fetches) or context_of(session.graph).teams is not None:
        raise NotImplementedError("partial_run of a training step, or of a graph that lies on "
                                  "several workers, is not supported; use session.run")
    return original(session, fetches, *args, **kwargs)


def extend_graph(original: Callable[..., None], session: Any) -> None:
    """`BaseSession._extend_graph`: the session is told of new operations; none may change then."""
    rewrite(session.graph)
    _check_knows_graph(session)
    _check_devices(session)
    original(session)
    setattr(session, _KNOWN_ID, compat.last_id(session.graph))


def do_run(original: Callable[..., List[Any]], session: Any, handle: Any, targets: List[Any],
           fetches: List[Any], fed: Dict[Any, Any], options: Any, run_metadata: Any) -> List[Any]:
    """`BaseSession._do_run`: every run comes through here, its fetches already flat.

    A training step is preceded by a meeting of the workers. It divides what it is fed between the
    clones, returns merged values and computes them on all workers.
    """
    if warming.is_apart():
        return original(session, handle, targets, fetches, fed, options, run_metadata)
    rewrite(session.graph)
    state = state_of(session.graph)
    fetches = as_whole(session.graph, fetches)
    run = describe(session.graph, fetches, targets)
    if not state.trains:
        progress.alive()
        return original(session, handle, targets, fetches, fed, options, run_metadata)
    context = context_of(session.graph)
    if context.teams is not None and not requests.is_inside():
        return teams.run(
            session, run, fetches, targets, fed, _to_agree(run, (
                (compat.fed_tensor(key), value) for key, value in fed.items())),
            lambda asked, also: do_run(original, session, handle, also, asked, fed, options,
                                       run_metadata))
    if run.step and _is_beside(context):
        looks = state.record(Looks).values
        fetches = [looks.get(tensor.name, tensor) for tensor in fetches]
        run = describe(session.graph, fetches, targets)
        _check_look(run)
    if not run.step:
        progress.alive()
        feeds.check_whole()
        try:
            return held_state.run_beside(
                session, run, coordination.ask_for_state, fetches, fed,
                lambda asked, with_state, ran: original(
                    session, handle, ran, asked, with_state, options, run_metadata))
        finally:
            if run.writes:
                coordination.mark_stale(session)
    _check_knows_graph(session)
    agreed = _to_agree(run, ((compat.fed_tensor(key), value) for key, value in fed.items()))
    divided = feeds.divide(fed, run, state)

    def execute(asked: List[Any], extra: List[Any]) -> List[Any]:
        said = describe(session.graph, asked, targets)
        with explained.told(session.graph, run, fed):
            return original(session, handle, list(said.targets), list(said.fetches) + extra,
                            divided, options, run_metadata)

    check = context.worker.check
    if check is not None:
        whole = {compat.fed_tensor(key).name: v for key, v in feeds.whole(fed).items()}
        return _step(context, session, run, agreed, functools.partial(
            check.step, session, run, fetches, targets, whole, execute))
    return _step(context, session, run, agreed, lambda: _told_of_rows(run, execute, fetches))


def _told_of_rows(run: Run, execute: Callable[..., List[Any]], fetches: List[Any]) -> List[Any]:
    """What `fetches` are in a step; the script is told once if its parts are unequal."""
    watched = [group for group in run.counted if not group.warned]
    values = execute(fetches, [group.counts for group in watched])
    for group, counts in zip(watched, values[len(fetches):]):
        unequal.warn_once(group, counts)
    return values[:len(fetches)]


def close(original: Callable[..., None], session: Any) -> None:
    """`BaseSession.close`: what only this worker holds is there until all workers close theirs."""
    if _is_held(session) and not held_state.is_failing():
        coordination.state_released(session)
    original(session)


def leave(original: Callable[..., None], session: Any, exception_type: Any,
          *args: Any) -> None:
    """`Session.__exit__`: it is closed by another thread, which does not wait for ever."""
    if _is_held(session):
        if exception_type is None or held_state.is_end(exception_type):
            coordination.state_released(session)
        else:
            coordination.release(session)
    original(session, exception_type, *args)


def forgotten(original: Callable[..., None], session: Any) -> None:
    """`BaseSession.__del__`: nobody closes it; what only this worker held is lost."""
    if _is_held(session):
        coordination.release(session)
    original(session)


def _is_held(session: Any) -> bool:
    """True for a session that other workers may still ask for something."""
    return held_state.is_held(session) or requests.is_held(session)


def make_callable(original: Callable[..., Any], session: Any, fetches: Any, feed_list: Any = None,
                  accept_options: bool = False) -> Any:
    """`BaseSession.make_callable`: the callable goes through `do_run` as well."""
    if feed_list is None and state_of(session.graph).trains:
        feed_list = []  # with a list, even an empty one, TensorFlow's callable uses session.run
    return original(session, fetches, feed_list, accept_options)


def make_callable_from_options(original: Callable[..., Any], session: Any, options: Any) -> Any:
    """`BaseSession._make_callable_from_options`, which Keras trains through."""
    graph = session.graph
    rewrite(graph)
    state = state_of(graph)
    if context_of(graph).teams is not None:  # which `do_run` sees to
        names = list(options.fetch) + list(options.target)
        return lambda *args, **kwargs: session.run(
            names, dict(zip(options.feed, args)), **kwargs)[:len(options.fetch)]
    fetches = as_whole(graph, [graph.get_tensor_by_name(name) for name in options.fetch])
    targets = [graph.as_graph_element(name, allow_tensor=False) for name in options.target]
    run = describe(graph, fetches, targets)
    if not state.trains:
        return original(session, options)
    fed = [graph.get_tensor_by_name(name) for name in options.feed]
    if run.step:
        changed = type(options)()
        changed.CopyFrom(options)
        del changed.fetch[:], changed.feed[:], changed.target[:]
        changed.fetch.extend(t.name for t in run.fetches)
        changed.target.extend(op.name for op in run.targets)
        # Which rows a clone gets is known when they come; to whom they go, already now.
        changed.feed.extend(t.name for t in fed)
        changed.feed.extend(t.name for t in feeds.further_tensors(fed, run, state))
        options = changed
    inner = original(session, options)

    def call(*args: Any, **kwargs: Any) -> Any:
        context = context_of(graph)
        beside = run.touched.read or run.touched.given  # which other workers hold rows of
        if beside or run.step and context.worker.check is not None:  # which `do_run` sees to
            return session.run(fetches + targets, dict(zip(fed, args)), **kwargs)[:len(fetches)]
        if run.step:
            values = feeds.divided(fed, args, run, state)
            return _step(context, session, run, _to_agree(run, zip(fed, args)),
                         lambda: inner(*values, **kwargs))
        try:
            return inner(*args, **kwargs)
        finally:
            if run.writes:
                coordination.mark_stale(session)

    return call


def _to_agree(run: Run, fed: Iterable[Tuple[Any, Any]]) -> List[Tuple[Any, Any]]:
    """The (tensor, value) among what a step is fed that have to be the same on all workers."""
    return [(t, value) for t, value in fed if t.op in run.to_agree] if run.to_agree else []


def _step(context: Context, session: Any, run: Run, agreed: List[Tuple[Any, Any]],
          execute: Callable[[], Any]) -> Any:
    """Run a training step; with several workers, all of them or none."""
    if context.teams is not None:  # all workers have met for it
        result = execute()
    elif context.cluster.worker_num == 1:
        progress.step_begins([])
        result = execute()
    else:
        with context.worker.steps:
            result = _together(context, session, run, agreed, execute)
        if run.levels:
            coordination.mark_stale(session)
    coordination.note_step(session)
    progress.step_done()
    return result


def _together(context: Context, session: Any, run: Run, agreed: shared_feeds.Fed,
              execute: Callable[[], Any]) -> Any:
    """Run a step of several workers."""
    coordination.before_step(session, run.step, agreed)
    if progress.is_reported():
        progress.step_begins(list(run.collectives))
    try:
        with context.connection.running(control_plane.end_in_step):
            return execute()
    except Exception as error:
        coordination.after_failure(context, error)
        raise


def _is_beside(context: Context) -> bool:
    """True in a thread that repeats something beside the training, as a Supervisor's do.

    With several workers its runs can be no steps: those of the others come at other times.
    """
    return context.of_process.cluster.worker_num > 1 \
        and isinstance(threading.current_thread(), tf.train.LooperThread)


def _check_look(run: Run) -> None:
    """Raises RuntimeError for a step in a thread beside the training."""
    if run.step:
        raise RuntimeError(
            "a thread beside the training (a tf.train.LooperThread, such as those of "
            "tf.train.Supervisor) is about to {}: steps of several workers cannot be run on a "
            "timer; fetch it with the training operation in your loop, and give the Supervisor "
            "summary_op=None if its summaries are meant".format(run.step))


def _is_step(graph: Any, fetches: Any) -> bool:
    """True if running `fetches`, as a script gives them, is a training step."""
    ops = []
    for fetch in tf.nest.flatten(fetches):
        try:
            element = graph.as_graph_element(fetch)
        except (TypeError, ValueError, KeyError):
            continue  # TensorFlow says what is wrong with it
        ops.append(element if isinstance(element, tf.Operation) else element.op)
    return is_step(graph, ops)


def _check_knows_graph(session: Any) -> None:
    """Raises RuntimeError if the session holds operations as they were before the rewrite."""
    known, changes = getattr(session, _KNOWN_ID, 0), state_of(session.graph).changes
    if changes and changes[-1][0] <= known:
        return
    for last, changed, name in changes:
        if changed <= known < last:
            raise RuntimeError(
                "a session ran this graph before the training step was built, and holds operations "
                "as they were then ('{}' is one): build the whole graph before the first "
                "session.run, or make a new session".format(name))


def _check_devices(session: Any) -> None:
    """Raises RuntimeError if the session lacks devices that its graph is placed on."""
    devices = state_of(session.graph).find(Devices)
    communicator = context_of(session.graph).of_process.communicator
    if devices is not None and communicator is not None \
            and not communicator.serves(tf.compat.as_str_any(session.sess_str)):
        raise RuntimeError(
            "the session was made before epl.init() connected this worker with the others, and its "
            "graph has exchanges with them; call epl.init() first, and make the session afterwards")
    if devices is None or getattr(session, _PLACED, None) is devices:
        return
    needed = devices.names()
    present = {device.name if devices.leader else "/device:" + device.name.rsplit("/device:", 1)[-1]
               for device in session.list_devices()} if needed else set()
    missing = [name for name in needed if name not in present]
    if missing:
        early = getattr(session, _MADE_FOR, 0) < len(needed)
        raise RuntimeError(
            "the session has no device {}, on which a part of its graph is placed: {}".format(
                ", ".join(missing),
                "it was made before epl.init() gave this worker {} devices; call epl.init() first, "
                "and make the session afterwards".format(len(needed)) if early else
                "its ConfigProto (device_count, gpu_options.visible_device_list) hides some of "
                "this worker's {} devices; leave these out".format(len(needed))))
    setattr(session, _PLACED, devices)
