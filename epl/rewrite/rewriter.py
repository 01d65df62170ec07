# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rewrite's driver: turn what a graph has noted into the parallel graph.

Runs when the graph is complete: before a session runs it, or when it is finalized. What is added to
the graph later (another optimizer, another registered tensor) is carried out before the next run.
What is done, and in which order, says the list of passes. What is fetched in a step is completed
when it is first fetched (`fetched`).
"""

import contextlib
import gc
import itertools
from typing import Any, Callable, Iterator, List, Optional

from epl import compat
from epl.ir import editor
from epl.ir.environment import context_of, intended_plan, is_remembered
from epl.ir.graph_state import GraphState, state_of
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import seats
from epl.rewrite.groups import GradientGroup, groups_of, recall
from epl.rewrite.passes import GRAPH, PASSES
from epl.rewrite.passes.place import place_model
from epl.rewrite.planning import chosen
from epl.rewrite.rewriting import Rewriting, families


def rewrite(graph: Any) -> None:
    """Carry out what is pending in `graph`; does nothing if nothing is.

    Raises:
      NotImplementedError, ConfigError, ValueError: what the script built cannot be run as the plan
        says; the message names the operation and the cure. Later calls raise it again.
    """
    if not is_remembered(graph) or not compat.is_top_level(graph):
        return
    state = state_of(graph)
    if state.rewritten_version == graph.version:
        return
    with state.lock:
        if state.rewritten_version == graph.version or graph.finalized:
            return
        if state.failure is not None:
            raise state.failure
        recall(state)
        plan = _plan(graph, state)
        check = context_of(graph).worker.check
        if plan is None and check is not None:
            check.unplanned(graph)
        if plan is not None:
            state.context = context_of(graph)
            try:
                with _made_by_rewrite(graph, state), _seen(graph):
                    _carry_out(Rewriting(graph, state, plan))
            except Exception as error:
                state.failure = error
                raise
        state.rewritten_version = graph.version


def cover(graph: Any, group: GradientGroup, tensors: List[Any],
          then: Callable[[], Any]) -> None:
    """Let every clone of a group's steps compute `tensors`, also in a graph that is finalized.

    Args:
      then: called afterwards; may add operations as well.
    """
    state = state_of(graph)
    with extended(graph, state):
        family = next(f for f in families(groups_of(state)) if group in f)
        rewriting = Rewriting(graph, state, state.known_plan)
        partition = rewriting.partition(family, tensors)
        rewriting.copy(family, partition)
        for member in family:
            member.partition = partition
        then()


@contextlib.contextmanager
def extended(graph: Any, state: GraphState) -> Iterator[None]:
    """Operations can be added to a graph that is rewritten already."""
    with state.lock:
        with _made_by_rewrite(graph, state):
            yield
        state.rewritten_version = graph.version


@contextlib.contextmanager
def _made_by_rewrite(graph: Any, state: GraphState) -> Iterator[None]:
    """What is added to the graph is the rewrite's."""
    first = compat.last_id(graph) + 1
    with _no_collection(), compat.reopened(graph):
        try:
            yield
            seats.take(graph, state)
        finally:
            state.provenance.note_made(first, compat.last_id(graph))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Python's cyclic collector rests: it would look through the growing graph again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _seen(graph: Any) -> Iterator[None]:
    """A check, if one is on, keeps the graph as the script built it."""
    check = context_of(graph).worker.check
    if check is None:
        yield
        return
    check.before_rewrite(graph)
    yield
    check.after_rewrite(graph)


def _plan(graph: Any, state: GraphState) -> Optional[ParallelPlan]:
    """The plan to carry out: that of the gradients, or one to place a model that is only run."""
    if groups_of(state):
        return chosen.settled(graph, intended_plan(graph))
    needed = sum(t.device_count for t in state.annotations.task_graphs) \
        // context_of(graph).config.pipeline.num_chunks
    fits = 1 < context_of(graph).cluster.gpu_num_per_worker >= needed
    plan = intended_plan(graph) if needed > 1 and fits else None
    return plan if plan is None or plan.teams is None else None  # each worker runs all of it


def _carry_out(rewriting: Rewriting) -> None:
    """Run all passes, then look at what they promise."""
    graph, groups = rewriting.graph, groups_of(rewriting.state)
    if not groups:
        with editor.working(graph, "place"):
            place_model(rewriting)
        return
    for over_graph, some in itertools.groupby(list(PASSES), lambda each: each.over == GRAPH):
        together = list(some)
        for unit in [rewriting.new] if over_graph else families(rewriting.new):
            for each in together:
                each.carry_out(rewriting, unit)
    with editor.working(graph, "verify"):
        for each in PASSES:
            each.verify(rewriting)
