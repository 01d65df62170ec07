# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which of a graph's sessions a step is of.

Each session has variables of its own, and nothing but the order of their steps tells the sessions
of one graph apart. So every session that is trained gets a number, the same on all workers, when
the chief's variables come to it, and a step is one of that number.

    worker 0   A (1)   B (2)   A   B             worker 0   A      in threads
    worker 1   A (1)   B (2)   B   A             worker 1   B
                    an error at the third step        an error, as soon as B comes
"""

import threading
import weakref
from typing import Any, Dict, List, NamedTuple

from epl import compat
from epl.context import Context
from epl.errors import ConfigError
from epl.ir.graph_state import state_of
from epl.runtime import control_plane

_MIXED = (
    "the workers train several sessions of one graph, and these come in another order here than "
    "there ({}): EPL can't tell which session of one worker belongs to which of another. Train "
    "them in one thread, in the same order on all workers, close a session that is not needed any "
    "more before another one takes its place, or build a graph for each in a tf.variable_scope of "
    "its own")

_NUMBER = "_epl_number"


class _Known(NamedTuple):
    """Weak references to a session that is trained, and to the thread that came with it first."""

    session: Any
    thread: Any


class _Trained:
    """The sessions of a graph that have a number."""

    def __init__(self) -> None:
        self.known: List[_Known] = []
        self.count = 0


def named(what: str, session: Any) -> str:
    """`what` a step is, and of which session, if that is not the first of its graph."""
    number = _number_of(session)
    return what if number < 2 else "{} in session {}".format(what, number)


def agree(context: Context, session: Any, trains: bool) -> None:
    """Give a session its number; all workers come with theirs.

    Args:
      context: that of its graph.
      session: this worker's.
      trains: it comes for a step, or to be made for some; not only to read what others hold.

    Raises:
      ConfigError: it cannot be told which sessions go together; on all workers alike.
    """
    trained = state_of(session.graph).record(_Trained)
    others = [] if not trains else _others(trained, session)
    facts = control_plane.of(context).all_gather_object({
        "trains": trains, "number": _number_of(session), "next": trained.count + 1,
        "others": [_number_of(known.session()) for known in others],
        "races": not _number_of(session) and any(_is_elsewhere(known) for known in others)})
    facts = [fact for fact in facts if fact["trains"]]
    if not facts:
        return
    number = max(fact["number"] for fact in facts) or max(fact["next"] for fact in facts)
    _check(facts, number)
    if trains and not _number_of(session):
        setattr(session, _NUMBER, number)
        trained.known.append(_Known(weakref.ref(session),
                                    weakref.ref(threading.current_thread())))
    trained.count = max(number, trained.count)


def _number_of(session: Any) -> int:
    return int(getattr(session, _NUMBER, 0))


def _others(trained: _Trained, session: Any) -> List[_Known]:
    """The other sessions of its graph that may still be trained."""
    trained.known = [known for known in trained.known
                     if known.session() is not None and not compat.is_closed(known.session())]
    return [known for known in trained.known if known.session() is not session]


def _is_elsewhere(known: _Known) -> bool:
    """True if its thread is another one, which may come with it at any time."""
    thread = known.thread()
    return thread is not None and thread is not threading.current_thread() and thread.is_alive()


def _check(facts: List[Dict[str, Any]], number: int) -> None:
    """Raise an error unless the sessions that the workers came with belong together."""
    if len({fact["number"] for fact in facts} - {0}) > 1:
        raise ConfigError(_MIXED.format("a worker comes with another one than the others"))
    if any(not fact["number"] and number in fact["others"] for fact in facts):
        raise ConfigError(_MIXED.format("one comes with a second, others with their first"))
    if any(fact["races"] for fact in facts):
        raise ConfigError(_MIXED.format("or may come so: they are trained in several threads"))
