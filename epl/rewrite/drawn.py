# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `drawn`: what a step draws or takes behind the gradients, it draws once for all workers.

    gradients --> | aggregated | ------> + --> clip --> update     the same on all workers
                    random numbers ----->+                         the chief's
                    tf.py_func ---------------> rate --^           the chief's

One device would draw once. Every worker draws for itself, so what reaches a variable is sent by the
chief. Operations that run in steps alone (see `leaving`) read what is sent; whatever else reads the
draw goes on to have this worker's own, as outside of a step nobody sends.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.functions import Library
from epl.rewrite.groups import Merged, groups_of
from epl.rewrite.leaving import Leaving
from epl.rewrite.walk import ancestors, value_ancestors, value_descendants
from epl.rewrite.whole import WholeBatch

_JOINS = frozenset(["Merge", "Exit"])  # what comes out of branches and loops


class _Sent:
    """Name of a tensor that is drawn behind the gradients -> the chief's value."""

    def __init__(self) -> None:
        self.values: Dict[str, Any] = {}


class Drawn(NamedTuple):
    """What reaches a variable without being the same on all workers.

    Attributes:
      draws: the operations that draw, call Python or take data that no loss reads.
      reached: these, and what lies between them and the writes.
    """

    draws: List[Any]
    reached: Set[Any]


def share_draws(graph: Any, state: GraphState) -> None:
    """Send the chief's draws to all workers, where a step writes variables from them."""
    in_steps = state.known(Leaving).once.union(state.known(WholeBatch).copies())
    writes = [op for op in in_steps if op_traits.written_variable(op) is not None]
    sent = True
    while sent:
        found = look(graph, state, writes)
        borders = [op for op in found.reached if op in found.draws or op not in in_steps]
        joins = [op for op in found.reached if op.type in _JOINS]
        sent = _send_all(graph, state, borders, found, in_steps) or _send_all(
            graph, state, joins, found, in_steps)


def look(graph: Any, state: GraphState, writes: Iterable[Any]) -> Drawn:
    """Find the draws that reach `writes`, as the graph is now."""
    known = set().union(*[group.sources for group in groups_of(state)])
    behind = value_ancestors(writes, _ends(graph, state, writes))
    library = Library(graph)
    exchanges = set(filter(context_of(graph).connection.is_collective, behind))
    draws = sorted((op for op in behind - known - state.known(Leaving).of_batch - exchanges
                    if op_traits.varies(op, library)), key=compat.op_id)
    reached = value_descendants(draws, behind) if draws else set()
    return Drawn(draws, reached - exchanges)


def left_apart(graph: Any, state: GraphState, writes: Iterable[Any]) -> List[Any]:
    """The draws that reach `writes` of a step and that are each worker's own."""
    found = look(graph, state, writes)
    for draw in found.draws[:1]:
        tf.logging.warning(
            "a training step writes variables from what operation '{}' ({}){} draws or takes, "
            "which is each worker's own: the chief's variables are brought to all workers before "
            "the next step, which costs time. The chief's draw is sent within the step if it is "
            "made outside of tf.while_loop and of a tf.cond that draws decide, and read by what "
            "depends on the gradients".format(draw.name, draw.type, compat.made_at(draw)))
    return found.draws


def _send_all(graph: Any, state: GraphState, ops: Iterable[Any], found: Drawn,
              in_steps: Set[Any]) -> bool:
    """Send what those of `ops` give that can be sent; False if there are none."""
    some = False
    for op in sorted(ops, key=compat.op_id):
        for tensor in op.outputs:
            users = [user for user in tensor.consumers() if user in in_steps]
            if users and _can_be_sent(tensor, users, found, in_steps):
                _send(graph, state, tensor, users)
                some = True
    return some


def _ends(graph: Any, state: GraphState, writes: Iterable[Any]) -> Set[Any]:
    """What is the same on all workers: gradients, and what was exchanged."""
    aggregated = {op for group in groups_of(state) for op in group.returned_ops}
    communicator = context_of(graph).connection
    aggregated.update(op for op in ancestors(writes, aggregated)
                      if communicator.is_collective(op))
    return aggregated


def _can_be_sent(tensor: Any, users: List[Any], found: Drawn, in_steps: Set[Any]) -> bool:
    """True unless some workers might not come to the exchange, or come more often.

    What decides a branch is read outside of steps as well, unless it follows from gradients: then
    what comes out of the branch is sent.
    """
    decides = tensor.op not in in_steps and any(
        op_traits.is_switch(user) and user.inputs[1] is tensor for user in users)
    if op_traits.is_handle(tensor) or decides:
        return False
    context = compat.control_flow_context(tensor.op)
    while context is not None:
        if not context.IsCondContext() or context.pred.op in found.reached:
            return False
        context = context.outer_context
    return True


def _send(graph: Any, state: GraphState, tensor: Any, users: List[Any]) -> None:
    """Let `users` read the chief's value of `tensor`."""
    name = "epl/drawn/{}".format(tensor.name.replace(":", "_"))
    sent = state.record(_Sent).values
    value = sent.get(tensor.name)
    if value is None:
        context = context_of(graph)
        with compat.inserted(graph, name):
            value, collective = context.connection.broadcast(tensor, name, context.workers)
        sent[tensor.name] = value
        owner = groups_of(state)[0]
        owner.on_demand[tensor.name + " of the chief"] = Merged(value, (collective,))
    for user in users:
        editor.replace_input(user, tensor, value)
