# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Variables of which each worker holds some rows (`rewrite.zero`), outside of training steps.

    chief     step 7 | save: asks for rows | step 8          a meeting like any other
    worker 1  step 7 |      gives them     | step 8

A run that reads such a variable gets the rows of the others at a meeting: they come to it before
their next step, or when they end, and their rows are those after the last step until then. What a
run on the chief assigns is kept until the next meeting, at which each worker gets its rows; what it
restores is read once more then, variable by variable. So a session that holds rows is closed by
all workers together.
"""

import sys
import weakref
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.context import Context
from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.ir.ownership import Rows, ownership_of
from epl.rewrite.restored import Stored
from epl.rewrite.zero import Zero
from epl.runtime import control_plane, streamed_save
from epl.runtime.runs import Run

_CHUNK_BYTES = 64 << 20
_RECEIVING = "_epl_receiving"  # of a session: true while it is given what this worker holds
_GIVEN = "_epl_given"  # of a session: name of a variable -> the value assigned; None: initialized
_ASSIGNED = "assigned"  # in place of a value that only the chief keeps


def run_beside(session: Any, run: Run, ask: Callable[..., None],
               fetches: List[Any], fed: Dict[Any, Any],
               execute: Callable[[List[Any], Dict[Any, Any], List[Any]], List[Any]]) -> List[Any]:
    """Run what is no step: it reads whole variables, and assigns whole ones.

    Args:
      session: the session.
      run: what it does.
      ask: hands out whole values of variables, by their names.
      fetches: what is to come back.
      fed: what it is fed.
      execute: runs fetches with feeds, and other operations beside them.

    Returns:
      The values of `fetches`.
    """
    targets = list(run.targets)
    if not run.touched.read and not run.touched.given or getattr(session, _RECEIVING, False):
        return execute(fetches, fed, targets)
    save = streamed_save.find(session.graph, run, fetches)
    if save is not None:
        prefix = next((value for key, value in fed.items()
                       if compat.fed_tensor(key) is save.name), None)
        if prefix is None:
            prefix = execute([save.name], fed, targets)[0]
        name = tf.compat.as_bytes(np.asarray(prefix).item())
        streamed_save.write(session, save, name.decode(), ask)
        return [name] * len(fetches)
    zero = state_of(session.graph).known(Zero)
    fed, loaded = _fed_whole(zero, fed)
    given = {key: loaded.get(key, value) for key, value in run.touched.given.items()}
    stored = _stored(session.graph, run, fed, execute)
    values, fed = _values_read(
        run.touched.read, given, stored, lambda *what: ask(session, *what), fed, execute)
    is_chief = context_of(session.graph).cluster.is_chief
    kept = [key for key, value in given.items()
            if value is not None and is_chief and key not in stored]
    # What an assignment returns is what it was given, not the rows that it has kept of it.
    targets += [t.op for t in fetches if t.op in zero.given]
    # What is fed does not run; what it would have waited for does.
    targets += [op for tensors in run.touched.read.values() for t in tensors
                for op in t.op.control_inputs]
    values.update((t.name, stored[key].read()) for t in fetches if t.op in zero.restored
                  for key in stored if zero.restored[t.op] is run.touched.restored[key])
    asked = [zero.given.get(t.op, t) for t in fetches if t.name not in values]
    wanted = asked + [given[key] for key in kept]
    found = _found(wanted, fed, targets, execute)
    noted = {key.name: value for key, value in zip(kept, found[len(asked):])}
    noted.update((key.name, value) for key, value in stored.items() if is_chief)
    _note(session, {key.name: key in run.touched.first and key not in loaded for key in given},
          noted)
    rest = iter(found)
    return [values[t.name] if t.name in values else next(rest) for t in fetches]


def _stored(graph: Any, run: Run, fed: Dict[Any, Any], execute: Callable[..., List[Any]]
            ) -> Dict[Any, Stored]:
    """What stands for a variable that the run restores -> what the checkpoint holds of it."""
    sources = run.touched.restored
    prefixes = _found([source.prefix for source in sources.values()], fed, [], execute)
    return {key: Stored(tf.compat.as_str(np.asarray(prefix).item()), source.name,
                        compat.variable_of(graph, key).shape.as_list())
            for (key, source), prefix in zip(sources.items(), prefixes)}


def _note(session: Any, given: Dict[str, bool], values: Dict[str, Any]) -> None:
    """A run has assigned variables of which workers hold some rows.

    Args:
      session: the session.
      given: name of each -> true if that was its first value.
      values: on the chief, name -> the whole value, or where it is stored; none for a first value
        that all know.
    """
    noted = dict(getattr(session, _GIVEN, {}))
    for name, first in given.items():
        if name in values:
            noted[name] = values[name]
        elif first or name not in noted:
            noted[name] = None if first else _ASSIGNED
    setattr(session, _GIVEN, noted)


def _found(wanted: List[Any], fed: Dict[Any, Any], targets: List[Any],
           execute: Callable[..., List[Any]]) -> List[Any]:
    """The values of `wanted`; those that are fed are not fetched, which TensorFlow refuses."""
    known = {compat.fed_tensor(key).name: value for key, value in fed.items()}
    asked = [t for t in wanted if t.name not in known]
    rest = iter(execute(asked, fed, targets) if asked or targets else [])
    return [known[t.name] if t.name in known else next(rest) for t in wanted]


def _fed_whole(zero: Zero, fed: Dict[Any, Any]) -> Tuple[Dict[Any, Any], Dict[Any, Any]]:
    """Feeds of what assignments read, as feeds of what the script gives them (`Variable.load`).

    Returns:
      The feeds; what stands for a variable -> the tensor that is fed its whole value.
    """
    found: Dict[Any, Any] = {}
    loaded: Dict[Any, Any] = {}
    for key, value in fed.items():
        source, variables = zero.sources.get(compat.fed_tensor(key).name, (None, ()))
        found[key if source is None else compat.feed_key(source)] = value
        loaded.update((variable, source) for variable in variables)
    return found, loaded


def _values_read(read: Dict[Any, List[Any]], given: Dict[Any, Any], stored: Dict[Any, Stored],
                 ask: Callable[..., None], fed: Dict[Any, Any], execute: Callable[..., List[Any]]
                 ) -> Tuple[Dict[str, Any], Dict[Any, Any]]:
    """Whole values of what a run reads: of all workers, or what the same run assigns.

    Returns:
      Name of a tensor -> its value; the feeds, with these among them.
    """
    whole: Dict[str, Any] = {}
    assigned = [key for key in sorted(read, key=compat.op_id) if given.get(key) is not None]
    others = sorted(key.name for key in read if key not in assigned)
    if others:
        ask(others, whole.__setitem__)
    fed, values = dict(fed), {}
    for key in sorted(read, key=lambda key: (key in assigned, compat.op_id(key))):
        if key in stored:
            whole[key.name] = stored[key].read()
        elif key in assigned:
            whole[key.name] = _found([given[key]], fed, [], execute)[0]
            fed[compat.feed_key(given[key])] = whole[key.name]
        for tensor in read[key]:
            values[tensor.name] = fed[compat.feed_key(tensor)] = whole[key.name]
    return values, fed


def is_held(session: Any) -> bool:
    """True if `session` holds rows that other workers may ask for."""
    return _place(session) is not None


def _place(session: Any) -> Optional[int]:
    """The number of `session` among those that hold rows, the same on all workers; the last one."""
    held = context_of(session.graph).worker.held
    places = [number for number, each in enumerate(held) if each is not None and each() is session]
    return places[-1] if places else None


def is_failing() -> bool:
    """True while an exception is on its way that is not the end of the data."""
    error = sys.exc_info()[0]
    return error is not None and not is_end(error)


def is_end(error: type) -> bool:
    """True for an exception that says that the data has ended."""
    return issubclass(error, (tf.errors.OutOfRangeError, StopIteration))


def release(session: Any) -> None:
    """`session`, which held rows, is to be closed."""
    held = context_of(session.graph).worker.held
    held[:] = [None if each is None or each() is session else each for each in held]


def holds(context: Context) -> bool:
    """True if a session of this worker holds rows that other workers may ask for."""
    return any(each is not None for each in context.worker.held)


def serve(context: Context, session: Any = None, names: Sequence[str] = (),
          take: Callable[[str, Any], None] = lambda name, value: None) -> None:
    """Give all workers what any of them asks for; all have to call this.

    Args:
      context: of the job.
      session: the one that is to read what it asks for.
      names: of what stands for the variables that this worker asks for.
      take: gets the name and the whole value of each of these, one after the other.
    """
    plane = control_plane.of(context)
    every = plane.all_gather_object((_place(session) if names else None, list(names)))
    for place in sorted({place for place, asked in every if asked}):
        held = context.worker.held[place]
        there = held() if held is not None else None
        if not all(plane.all_gather_object(there is not None)):
            raise ConfigError(
                "the values of '{}' are shared out (zero.level), and a worker has closed the "
                "session that held its rows: read and save them before it is closed".format(
                    next(asked[0] for at, asked in every if at == place)))
        _give(plane, there, sorted({name for at, asked in every if at == place
                                    for name in asked}), set(names), take)


def _give(plane: control_plane.ControlPlane, session: Any, names: List[str], wanted: Set[str],
          take: Callable[[str, Any], None]) -> None:
    """Exchange the rows of variables, some bytes at a time."""
    parts: Dict[str, List[List[Any]]] = {}
    for turn in _turns(session, names):
        every = plane.all_gather_object([_own_rows(session, *piece) for piece in turn])
        for number, (name, _, _) in enumerate(turn):
            if name in wanted:
                parts.setdefault(name, []).append([given[number] for given in every])
        done = [name for name in parts if name != turn[-1][0]]
        for name in done:
            take(name, _joined(parts.pop(name)))
    for name in sorted(parts):
        take(name, _joined(parts.pop(name)))


def _joined(parts: List[List[Any]]) -> Any:
    """The rows of all workers, of which each has given some at a time."""
    return np.concatenate([each[rank] for rank in range(len(parts[0])) for each in parts
                           if each[rank] is not None])


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
    is_chief, placed = context.cluster.is_chief, _place(session) is not None
    every = plane.all_gather_object([name for name in sorted(own)
                                     if is_chief or own[name] is None or not placed])
    by_name = {compat.variable_key(v).name: v for v in compat.global_variables(graph)}
    held = {key.name: ownership_of(graph).rows(key) or () for key in zero.reads}
    for name in sorted(held):
        _check_not_lost(name, held[name], every)
    initial = plane.broadcast_object([name for name in sorted(own) if own[name] is None])
    given = plane.broadcast_object([(name, own[name].shape) for name in sorted(own)
                                    if is_chief and own[name] is not None])
    again = [by_name[name].initializer for name in initial if name not in own
             and held[name][context.cluster.worker_index].number]
    setattr(session, _RECEIVING, True)
    try:
        if again:
            session.run(again)
        for name, shape in given:
            mine = _received(session, by_name[name], held[name][context.cluster.worker_index],
                             shape, _whole(own[name]) if is_chief else None)
            if mine:
                assign(session, {by_name[name]: np.concatenate(mine)})
            own[name] = None  # so much less is in memory twice
    finally:
        setattr(session, _RECEIVING, False)
    setattr(session, _GIVEN, {})
    places = plane.all_gather_object(_place(session))
    if None in places or len(set(places)) > 1:
        context.worker.held.append(weakref.ref(session))


def _whole(value: Any) -> Any:
    return value.read() if isinstance(value, Stored) else value


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


def _turns(session: Any, names: List[str]) -> Iterator[List[Tuple[str, int, int]]]:
    """What each worker gives at a time: (name, first of its own rows, number of rows)."""
    ownership = ownership_of(session.graph)
    turn: List[Tuple[str, int, int]] = []
    filled = 0
    for name in names:
        key = session.graph.get_operation_by_name(name)
        variable = compat.variable_of(session.graph, key)
        step = _rows_at_a_time(variable.shape.as_list(), variable.dtype)
        most = max(each.number for each in ownership.rows(key) or ())
        for begin in range(0, most, step):
            turn.append((name, begin, step))
            filled += min(step, most - begin) * (_CHUNK_BYTES // step)
            if filled >= _CHUNK_BYTES:
                yield turn
                turn, filled = [], 0
    if turn:
        yield turn


def _own_rows(session: Any, name: str, begin: int, size: int) -> Any:
    graph = session.graph
    key = graph.get_operation_by_name(name)
    if ownership_of(graph).own_rows(key).number <= begin:
        return None
    return session.run(state_of(graph).known(Zero).reads[key])[begin:begin + size]


def _rows_at_a_time(shape: Any, dtype: Any) -> int:
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.base_dtype.size
    return max(1, _CHUNK_BYTES // max(1, row))
