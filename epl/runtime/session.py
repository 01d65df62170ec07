# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How EPL takes part in session runs.

Each function stands in for a method of TensorFlow's `BaseSession`; the method itself comes as
`original`. In a graph whose gradients are not reduced over workers nothing is done.
"""

from typing import Any, Callable, List

from epl.env import Env
from epl.ir.graph_state import state_of
from epl.runtime import agreement
from epl.runtime.runs import describe
from epl.runtime.threads import session_config


def init(original: Callable[..., None], session: Any, target: str = "", graph: Any = None,
         config: Any = None) -> None:
    """`BaseSession.__init__`: the session gets this worker's share of the cores."""
    original(session, target, graph, session_config(config, Env.get()))


def do_run(original: Callable[..., List[Any]], session: Any, handle: Any, targets: List[Any],
           fetches: List[Any], feeds: Any, options: Any, run_metadata: Any) -> List[Any]:
    """`BaseSession._do_run`: every run comes through here, its fetches already flat.

    A training step is preceded by a meeting of the workers; it returns merged values for
    registered tensors and computes them on all workers.
    """
    if not state_of(session.graph).trains_with_others:
        return original(session, handle, targets, fetches, feeds, options, run_metadata)
    run = describe(session.graph, [t.op for t in fetches] + list(targets))
    if not run.step:
        try:
            return original(session, handle, targets, fetches, feeds, options, run_metadata)
        finally:
            if run.writes:
                agreement.mark_stale(session)
    if handle is not None:
        raise NotImplementedError("partial_run of a training step is not supported on several "
                                  "workers; use session.run")
    agreement.before_step(session, run.step)
    try:
        return original(session, handle, targets + run.extra_targets(), run.replaced(fetches),
                        feeds, options, run_metadata)
    except Exception as error:
        agreement.after_failure(error)
        raise


def make_callable(original: Callable[..., Any], session: Any, fetches: Any, feed_list: Any = None,
                  accept_options: bool = False) -> Any:
    """`BaseSession.make_callable`: the callable goes through `do_run` as well."""
    if feed_list is None and state_of(session.graph).trains_with_others:
        feed_list = []  # with a list, even an empty one, TensorFlow's callable uses session.run
    return original(session, fetches, feed_list, accept_options)


def make_callable_from_options(original: Callable[..., Any], session: Any, options: Any) -> Any:
    """`BaseSession._make_callable_from_options`, which Keras trains through."""
    graph = session.graph
    if not state_of(graph).trains_with_others:
        return original(session, options)
    fetches = [graph.get_tensor_by_name(name) for name in options.fetch]
    targets = [graph.as_graph_element(name, allow_tensor=False) for name in options.target]
    run = describe(graph, [t.op for t in fetches] + targets)
    if run.step:
        changed = type(options)()
        changed.CopyFrom(options)
        del changed.fetch[:]
        changed.fetch.extend(t.name for t in run.replaced(fetches))
        changed.target.extend(op.name for op in run.extra_targets())
        options = changed
    inner = original(session, options)

    def call(*args: Any, **kwargs: Any) -> Any:
        if run.step:
            agreement.before_step(session, run.step)
        try:
            return inner(*args, **kwargs)
        except Exception as error:
            if run.step:
                agreement.after_failure(error)
            raise
        finally:
            if run.writes and not run.step:
                agreement.mark_stale(session)

    return call
