# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which of a worker's graphs a step is of.

Graphs of the same script may have variables, shapes and collectives of the same names: models that
are compared, each trained in a thread of its own. Steps of theirs would go together on two workers
as well as those of one graph. So every graph that is trained gets a number, the same on all
workers, when these compare their programs, and a step is one of that number.

    worker 0   A (1)   B (2)                     worker 0   A   B
    worker 1   A (1)   B (2)      numbered       worker 1   B   A      an error at the second
"""

import hashlib
import threading
import weakref
from typing import Any, Dict, List, NamedTuple

from epl import compat
from epl.context import Context
from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.rewrite.groups import groups_of, parts
from epl.rewrite.walk import ancestors
from epl.runtime import control_plane

_MIXED = (
    "the workers train several graphs that have the same variables and steps, and these come in "
    "another order here than there ({}): EPL can't tell which step of one worker belongs to which "
    "of another. Train these graphs in one thread, or build each in a tf.variable_scope of its "
    "own, by whose name they are told apart; and let their steps come in the same order on all "
    "workers")

# What is another one in every process, or for every graph.
_OF_PROCESS = frozenset(["_class", "container", "shared_name", "token"])


class _Known(NamedTuple):
    """A graph that has come to be trained.

    Attributes:
      graph: weak reference to it.
      thread: weak reference to the thread that came with its first step.
      program: digest of what all workers have to have alike.
    """

    graph: Any
    thread: Any
    program: str


class _Number:
    """The number of a graph; 0 before it has one."""

    def __init__(self) -> None:
        self.value = 0


def number_of(graph: Any) -> int:
    """The number that all workers know `graph` by; 0 before they have compared it."""
    return state_of(graph).record(_Number).value


def named(what: str, graph: Any) -> str:
    """`what` a step is, and of which graph, if that is not the first."""
    number = number_of(graph)
    return what if number < 2 else "{} of graph {}".format(what, number)


def agree(graph: Any, program: str) -> None:
    """Give a graph its number; all workers come with theirs, of which `program` is the same.

    Raises:
      ConfigError: it cannot be told whether these are the same graph; on all workers alike.
    """
    context, state = context_of(graph), state_of(graph)
    plane = control_plane.of(context)
    others = _others(context, graph, program)
    own = {"number": number_of(graph), "next": context.worker.graphs_numbered + 1,
           "several": bool(others)}
    facts = plane.all_gather_object(own)
    if any(fact["several"] for fact in facts):
        _check(plane.all_gather_object({
            "digest": _digest(state), "others": [_digest(state_of(o)) for o, _ in others],
            "races": any(thread is not None and thread is not threading.current_thread()
                         and thread.is_alive() for _, thread in others)}))
    number = max(fact["number"] for fact in facts) or max(fact["next"] for fact in facts)
    if not number_of(graph):
        state.record(_Number).value = number
        context.worker.graphs.append(_Known(
            weakref.ref(graph), weakref.ref(threading.current_thread()), program))
    context.worker.graphs_numbered = max(number, context.worker.graphs_numbered)


def _others(context: Context, graph: Any, program: str) -> List[Any]:
    """(graph, thread of its first step or None) of other graphs of the same program."""
    context.worker.graphs = [known for known in context.worker.graphs if known.graph() is not None]
    return [(known.graph(), known.thread()) for known in context.worker.graphs
            if known.program == program and known.graph() is not graph]


def _check(facts: List[Dict[str, Any]]) -> None:
    """Raise an error unless the graphs that the workers came with are the same one of theirs."""
    digests = [fact["digest"] for fact in facts]
    for worker, fact in enumerate(facts):
        swapped = next((n for n, digest in enumerate(digests)
                        if digest != fact["digest"] and digest in fact["others"]), None)
        if swapped is not None:
            raise ConfigError(_MIXED.format("worker {} comes with one that worker {} came with "
                                            "before".format(swapped, worker)))
    if any(fact["races"] for fact in facts) and (len(set(digests)) > 1 or any(
            fact["digest"] in fact["others"] for fact in facts)):
        raise ConfigError(_MIXED.format(
            "or may come so: " + ("they differ between the workers" if len(set(digests)) > 1
                                  else "they are equal in all but what they are fed")))


def _digest(state: GraphState) -> str:
    """Of what a graph computes its gradients by, constants included."""
    raw = [part.op for group in groups_of(state) for g in group.gradients for part in parts(g.raw)]
    found = hashlib.sha256()
    for op in sorted(ancestors(raw), key=compat.op_id):
        node = op.node_def
        said = ["{}={}".format(name, value.SerializeToString(deterministic=True).hex())
                for name, value in sorted(node.attr.items())
                if name not in _OF_PROCESS and value.WhichOneof("value") != "func"]
        found.update("\n".join([op.type, op.name] + said).encode())
    return found.hexdigest()[:16]
