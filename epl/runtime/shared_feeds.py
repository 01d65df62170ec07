# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What all workers have to feed alike, or their variables would drift apart.

    feed ---> loss ---> gradient ---> aggregated ---> update     each worker its own
    feed ---------------------------------------> update     the same on all: a learning rate
    feed ---> rows of a table that all workers look up           the same on all
    declared with epl.share_feed                                 the same on all

Workers compare these before every step: a digest of them is part of what they say they are about to
do (see `runtime.coordination`).
"""

import hashlib
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from epl import compat
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits, sparse
from epl.rewrite.functions import Library
from epl.rewrite.groups import GradientGroup
from epl.rewrite.walk import ancestors, value_ancestors

_LONGEST = 60  # characters of a value in an error

Fed = Sequence[Tuple[Any, Any]]  # (tensor, array)


class Shown(NamedTuple):
    """A fed value as the other workers are told of it."""

    name: str
    digest: str
    text: str


def to_agree(graph: Any, state: GraphState, reached: Set[Any],
             groups: Sequence[GradientGroup]) -> FrozenSet[Any]:
    """The operations whose outputs, if a step is fed them, are to be the same on all workers.

    Args:
      graph: the graph.
      state: its record.
      reached: all operations that the step depends on.
      groups: the gradients that it computes.
    """
    rows = [indices.op for group in groups for gradient in group.gradients
            for indices in sparse.shared_rows(gradient.raw)]
    declared = {graph.get_tensor_by_name(name).op
                for name, axis in state.declared_feeds.items() if axis is None}
    aggregated = {op for group in groups for op in group.returned_ops}
    communicator = context_of(graph).connection
    aggregated.update(op for op in reached if communicator.combines(op))
    written = value_ancestors(writes(graph, reached), aggregated)
    return frozenset(ancestors(rows) | declared | written)


def digest(fed: Fed) -> str:
    """Of what is fed and to what; "" if nothing is."""
    if not fed:
        return ""
    found = hashlib.sha256()
    for shown in _each(fed):
        found.update(shown.encode())
    return found.hexdigest()


def shown(fed: Fed) -> List[Shown]:
    """The values for people."""
    return [Shown(tensor.name, one, _short(value) + compat.made_at(tensor.op))
            for (tensor, value), one in zip(_ordered(fed), _each(fed))]


def difference(workers: Sequence[Sequence[Shown]]) -> Optional[str]:
    """The error text if the workers feed different values; None if they do not.

    Args:
      workers: what each feeds.
    """
    by_name: Dict[str, List[Optional[Shown]]] = {}
    for number, fed in enumerate(workers):
        for value in fed:
            by_name.setdefault(value.name, [None] * len(workers))[number] = value
    for name, values in sorted(by_name.items()):
        if len({None if value is None else value.digest for value in values}) > 1:
            lines = ["worker {}: {}".format(number, "(nothing)" if value is None else value.text)
                     for number, value in enumerate(values)]
            return (
                "the workers feed different values to '{0}', which has to be the same on all: it "
                "reaches what is written to variables beside the aggregated gradients, or selects "
                "the rows that all workers look up, or is declared by epl.share_feed; their "
                "variables would drift apart:\n  {1}\nFeed the same on every worker. If it holds "
                "rows of the batch that select rows of a table, feed a tf.placeholder of shape "
                "[None, ...] or say epl.divide_feed('{0}' as a tensor)".format(
                    name, "\n  ".join(lines)))
    return None


def writes(graph: Any, reached: Set[Any]) -> List[Any]:
    """The operations that write global variables."""
    variables = {compat.variable_key(v) for v in compat.global_variables(graph)}
    library = Library(graph)
    return [op for op in reached if op_traits.written_variable(op) in variables or (
        any(op_traits.is_handle(t) and op_traits.handle_origin(t) in variables for t in op.inputs)
        and op_traits.calls_functions(op) and library.writing_node(op) is not None)]


def _ordered(fed: Fed) -> List[Tuple[Any, Any]]:
    return sorted(fed, key=lambda pair: pair[0].name)


def _each(fed: Fed) -> List[str]:
    return [_digest(tensor, value) for tensor, value in _ordered(fed)]


def _digest(tensor: Any, value: Any) -> str:
    array = np.asarray(value)
    data = repr(array.tolist()).encode() if array.dtype == object \
        else np.ascontiguousarray(array).tobytes()
    head = "{} {} {} ".format(tensor.name, array.dtype, array.shape).encode()
    return hashlib.blake2b(head + data, digest_size=16).hexdigest()


def _short(value: Any) -> str:
    array = np.asarray(value)
    text = " ".join(str(array.tolist() if array.size <= 20 else array).split())
    return text if len(text) <= _LONGEST else "{}... of shape {}".format(
        text[:_LONGEST], list(array.shape))
