# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How EPL takes part in session runs.

Each function stands in for a method of TensorFlow's `BaseSession`; the method itself comes as
`original`. In a graph whose gradients EPL does not aggregate nothing is done.
"""

import functools
from typing import Any, Callable, Dict, Iterable, List, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.checking import active
from epl.env import Env
from epl.ir.graph_state import GraphState, state_of
from epl.rewrite.rewriter import rewrite
from epl.runtime import agreement, feeds, progress
from epl.runtime.runs import Run, describe
from epl.runtime.settings import session_config

_KNOWN_ID = "_epl_known_id"  # the last operation that the session has been told of


def init(original: Callable[..., None], session: Any, target: str = "", graph: Any = None,
         config: Any = None) -> None:
    """`BaseSession.__init__`: the session gets this worker's share of the cores and its devices."""
    env = Env.get()
    if env.initialized:
        config = session_config(config, env.context_of(graph or tf.get_default_graph()))
    original(session, target, graph, config)


def run(original: Callable[..., Any], session: Any, handle: Any, fetches: Any, feed_dict: Any,
        *args: Any) -> Any:
    """`BaseSession._run`: what is fed is still as the script gave it here."""
    rewrite(session.graph)
    state = state_of(session.graph)
    if state.sources is None or len(state.sources.clones) == 1:
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
    if _is_step(session.graph, fetches):
        raise NotImplementedError("partial_run of a training step is not supported; use "
                                  "session.run")
    return original(session, fetches, *args, **kwargs)


def extend_graph(original: Callable[..., None], session: Any) -> None:
    """`BaseSession._extend_graph`: the session is told of new operations; none may change then."""
    rewrite(session.graph)
    _check_knows_graph(session)
    original(session)
    setattr(session, _KNOWN_ID, compat.last_id(session.graph))


def do_run(original: Callable[..., List[Any]], session: Any, handle: Any, targets: List[Any],
           fetches: List[Any], fed: Dict[Any, Any], options: Any, run_metadata: Any) -> List[Any]:
    """`BaseSession._do_run`: every run comes through here, its fetches already flat.

    A training step is preceded by a meeting of the workers. It divides what it is fed between the
    clones, returns merged values and computes them on all workers.
    """
    rewrite(session.graph)
    state = state_of(session.graph)
    run = describe(session.graph, [t.op for t in fetches] + list(targets))
    if not state.trains:
        progress.alive()
        return original(session, handle, targets, fetches, fed, options, run_metadata)
    if not run.step:
        progress.alive()
        feeds.check_whole()
        try:
            return original(session, handle, targets, fetches, fed, options, run_metadata)
        finally:
            if run.writes:
                agreement.mark_stale(session)
    _check_knows_graph(session)
    agreed = _to_agree(run, ((compat.fed_tensor(key), value) for key, value in fed.items()))
    divided = feeds.divide(fed, run, state)

    def execute(asked: List[Any], extra: List[Any]) -> List[Any]:
        return original(session, handle, targets + run.extra_targets(),
                        run.replaced(asked) + extra, divided, options, run_metadata)

    check = active.current()
    if check is not None:
        whole = {compat.fed_tensor(key).name: v for key, v in feeds.whole(fed).items()}
        return _step(session, run, agreed, functools.partial(
            check.step, session, run, fetches, targets, whole, execute))
    return _step(session, run, agreed, lambda: execute(fetches, []))


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
    fetches = [graph.get_tensor_by_name(name) for name in options.fetch]
    targets = [graph.as_graph_element(name, allow_tensor=False) for name in options.target]
    run = describe(graph, [t.op for t in fetches] + targets)
    if not state.trains:
        return original(session, options)
    fed = [graph.get_tensor_by_name(name) for name in options.feed]
    if run.step:
        changed = type(options)()
        changed.CopyFrom(options)
        del changed.fetch[:], changed.feed[:]
        changed.fetch.extend(t.name for t in run.replaced(fetches))
        changed.target.extend(op.name for op in run.extra_targets())
        # Which rows a clone gets is known when they come; to whom they go, already now.
        changed.feed.extend(t.name for t in fed)
        changed.feed.extend(t.name for t in feeds.further_tensors(fed, run, state))
        options = changed
    inner = original(session, options)

    def call(*args: Any, **kwargs: Any) -> Any:
        if run.step and active.current() is not None:  # which sees what comes through `do_run`
            return session.run(fetches + targets, dict(zip(fed, args)), **kwargs)[:len(fetches)]
        if run.step:
            values = feeds.divided(fed, args, run, state)
            return _step(session, run, _to_agree(run, zip(fed, args)),
                         lambda: inner(*values, **kwargs))
        try:
            return inner(*args, **kwargs)
        finally:
            if run.writes:
                agreement.mark_stale(session)

    return call


def _to_agree(run: Run, fed: Iterable[Tuple[Any, Any]]) -> List[Tuple[Any, Any]]:
    """The (tensor, value) among what a step is fed that have to be the same on all workers."""
    return [(t, value) for t, value in fed if t.op in run.to_agree] if run.to_agree else []


def _step(session: Any, run: Run, agreed: List[Tuple[Any, Any]],
          execute: Callable[[], Any]) -> Any:
    """Run a training step; with several workers, all of them or none."""
    if Env.get().cluster.worker_num == 1:
        progress.step_begins([])
        result = execute()
    else:
        agreement.before_step(session, run.step, agreed)
        if progress.is_reported():
            progress.step_begins(_collective_names(run, state_of(session.graph)))
        try:
            result = execute()
        except Exception as error:
            agreement.after_failure(error)
            raise
    progress.step_done()
    return result


def _collective_names(run: Run, state: GraphState) -> List[str]:
    """Under which names the workers meet in a step."""
    own = [c for group in run.groups for c in group.collectives]
    merged = [c for name in sorted(run.merged) for c in run.merged[name].collectives]
    return [c.name for c in own + state.statistics + merged]


def _is_step(graph: Any, fetches: Any) -> bool:
    """True if running `fetches`, as a script gives them, is a training step."""
    ops = []
    for fetch in tf.nest.flatten(fetches):
        try:
            element = graph.as_graph_element(fetch)
        except (TypeError, ValueError, KeyError):
            continue  # TensorFlow says what is wrong with it
        ops.append(element if isinstance(element, tf.Operation) else element.op)
    return bool(describe(graph, ops).step)


def _check_knows_graph(session: Any) -> None:
    """Raises RuntimeError if the session holds operations as they were before the rewrite."""
    known = getattr(session, _KNOWN_ID, 0)
    for last, lowest, name in state_of(session.graph).changes:
        if lowest <= known < last:
            raise RuntimeError(
                "a session ran this graph before the training step was built, and holds operations "
                "as they were then ('{}' is one): build the whole graph before the first "
                "session.run, or make a new session".format(name))
