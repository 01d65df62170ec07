# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Variables of which each worker holds some rows (`rewrite.zero`), outside of training steps.

    chief     step 7 | save: asks for rows | step 8          a meeting like any other
    worker 1  step 7 |      gives them     | step 8

A run that reads such a variable gets the rows of the others at a meeting: they come to it before
their next step, or when they end, and their rows are those after the last step until then. What a
run on the chief assigns (it has restored a checkpoint) is kept until the next meeting, at which
each worker gets its rows. So a session that holds rows is closed by all workers together.
"""

import sys
import weakref
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.context import Context
from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.ir.ownership import Rows, ownership_of
from epl.rewrite.zero import Zero
from epl.runtime import control_plane
from epl.runtime.runs import Run

_CHUNK_BYTES = 64 << 20
_GIVEN = "_epl_given"  # of a session: name of a variable -> the value assigned; None: initialized


def run_beside(session: Any, run: Run, ask: Callable[[Any, List[str]], Dict[str, Any]],
               fetches: List[Any], fed: Dict[Any, Any],
               execute: Callable[[List[Any], Dict[Any, Any]], List[Any]]) -> List[Any]:
    """Run what is no step: it reads whole variables, and assigns whole ones.

    Args:
      session: the session.
      run: what it does.
      ask: gives whole values of variables by their names.
      fetches: what is to come back.
      fed: what it is fed.
      execute: runs other fetches with other feeds.

    Returns:
      The values of `fetches`.
    """
    read, given = run.touched
    if not read and not given:
        return execute(fetches, fed)
    values: Dict[str, Any] = {}
    if read:
        whole = ask(session, sorted(key.name for key in read))
        values = {tensor.name: whole[key.name] for key, tensors in read.items()
                  for tensor in tensors}
        fed = dict(fed)
        for key, tensors in read.items():
            fed.update((compat.feed_key(tensor), whole[key.name]) for tensor in tensors)
    is_chief = context_of(session.graph).cluster.is_chief
    kept = [key for key, value in given.items() if value is not None and is_chief]
    asked = [t for t in fetches if t.name not in values]
    wanted = asked + [given[key] for key in kept]
    found = execute(wanted, fed) if wanted or run.targets else []
    noted = dict.fromkeys(key.name for key in given)
    noted.update((key.name, value) for key, value in zip(kept, found[len(asked):]))
    setattr(session, _GIVEN, dict(getattr(session, _GIVEN, {}), **noted))
    rest = iter(found)
    return [values[t.name] if t.name in values else next(rest) for t in fetches]


def is_held(session: Any) -> bool:
    """True if `session` holds rows that other workers may ask for."""
    held = context_of(session.graph).worker.held
    return held is not None and held() is session


def is_failing() -> bool:
    """True while an exception is on its way that is not the end of the data."""
    error = sys.exc_info()[0]
    return error is not None and not is_end(error)


def is_end(error: type) -> bool:
    """True for an exception that says that the data has ended."""
    return issubclass(error, (tf.errors.OutOfRangeError, StopIteration))


def release(context: Context) -> None:
    """The session that held rows is to be closed, on all workers."""
    context.worker.held = None


def serve(context: Context, wanted: List[str]) -> Dict[str, Any]:
    """Give all workers what any of them asks for; all have to call this.

    Args:
      context: of the job.
      wanted: names of what stands for variables that this worker asks for.

    Returns:
      name -> the whole value of what this worker asked for.
    """
    plane = control_plane.of(context)
    held = context.worker.held() if context.worker.held is not None else None
    names = sorted(set().union(*plane.all_gather_object(wanted)))
    here = set(plane.all_gather_object(held is not None))
    if here != {True}:
        raise ConfigError(
            "the values of '{}' are shared out (zero.level), and a worker has closed the session "
            "that held its rows: read and save them before the session is closed".format(names[0]))
    found: Dict[str, Any] = {}
    for name in names:
        parts: List[List[Any]] = []
        for begin, size in _turns(held, name):
            parts.append(plane.all_gather_object(_own_rows(held, name, begin, size)))
            if name not in wanted:
                parts.pop()
        if name in wanted:
            by_rank = [[each[rank] for each in parts] for rank in range(len(parts[0]))]
            found[name] = np.concatenate([rows for each in by_rank for rows in each
                                          if rows is not None])
    return found


def distribute(session: Any, assign: Callable[[Any, Dict[Any, Any]], None]) -> None:
    """Give each worker its rows of what the chief was given; all have to call this.

    Args:
      session: the session.
      assign: assigns values to variables in it.

    Raises:
      ConfigError: a worker has lost what only it held.
    """
    graph = session.graph
    zero = state_of(graph).find(Zero)
    if zero is None or not zero.reads:
        return
    context = context_of(graph)
    plane = control_plane.of(context)
    own: Dict[str, Any] = getattr(session, _GIVEN, {})
    every = plane.all_gather_object(sorted(own))
    by_name = {compat.variable_key(v).name: v for v in compat.global_variables(graph)}
    held = {key.name: ownership_of(graph).rows(key) or () for key in zero.reads}
    for name in sorted(held):
        _check_not_lost(name, held[name], every)
    initial = plane.broadcast_object([name for name in sorted(own) if own[name] is None])
    given = plane.broadcast_object([(name, own[name].shape) for name in sorted(own)
                                    if own[name] is not None])
    again = [by_name[name].initializer for name in initial if name not in own
             and held[name][context.cluster.worker_index].number]
    if again:
        session.run(again)
    for name, shape in given:
        mine = _received(session, by_name[name], held[name][context.cluster.worker_index],
                         shape, own.get(name))
        if mine:
            assign(session, {by_name[name]: np.concatenate(mine)})
        own[name] = None  # so much less is in memory twice
    setattr(session, _GIVEN, {})
    context.worker.held = weakref.ref(session)


def _check_not_lost(name: str, rows: Any, given: List[List[str]]) -> None:
    lost = [rank for rank, each in enumerate(rows)
            if each.number and name in given[rank] and name not in given[0]]
    if lost:
        raise ConfigError(
            "worker {} has made its session anew, and with it lost its rows of '{}', which no "
            "other worker holds (zero.level): start the job again from its last checkpoint "
            "(epl-launch --max_restarts does)".format(lost[0], name))


def _received(session: Any, variable: Any, rows: Rows, shape: Any, value: Any) -> List[Any]:
    """This worker's `rows` of what the chief has, `value`; as many exchanges on all."""
    plane = control_plane.of(context_of(session.graph))
    mine: List[Any] = []
    step = _rows_at_a_time(shape, variable.dtype)
    for begin in range(0, shape[0], step):
        chunk = plane.broadcast_object(None if value is None else value[begin:begin + step])
        first, last = max(begin, rows.first), min(begin + step, rows.first + rows.number)
        if first < last:
            mine.append(chunk[first - begin:last - begin])
    return mine


def _turns(session: Any, name: str) -> Iterator[Tuple[int, int]]:
    """(first, number) of the rows that each worker gives at a time, as many turns on all."""
    variable = next(v for v in compat.global_variables(session.graph)
                    if compat.variable_key(v).name == name)
    rows = ownership_of(session.graph).rows(compat.variable_key(variable))
    step = _rows_at_a_time(variable.shape.as_list(), variable.dtype)
    most = max(each.number for each in rows or ())
    return ((begin, step) for begin in range(0, most, step))


def _own_rows(session: Any, name: str, begin: int, size: int) -> Any:
    graph = session.graph
    key = graph.get_operation_by_name(name)
    if ownership_of(graph).own_rows(key).number <= begin:
        return None
    return session.run(state_of(graph).known(Zero).reads[key])[begin:begin + size]


def _rows_at_a_time(shape: Any, dtype: Any) -> int:
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.base_dtype.size
    return max(1, _CHUNK_BYTES // max(1, row))
