# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a session run does: is it a training step, does it write variables?

Found by walking the graph once per set of fetches, then remembered.
"""

import hashlib
from typing import Any, Dict, FrozenSet, List, NamedTuple, Sequence

from epl import compat
from epl.env import Env
from epl.ir.graph_state import GradientGroup, GraphState, state_of
from epl.rewrite import kinds
from epl.rewrite.merge import Merged
from epl.rewrite.walk import ancestors
from epl.runtime import shared_feeds, unseen

_SHOWN = 3  # variables that are named


class Run(NamedTuple):
    """What running a set of fetches does.

    Attributes:
      step: names the training step that it is, and what it writes; "" if it is none.
      writes: it writes global variables.
      groups: the gradients that it computes.
      merged: name of a tensor -> its merged value, for what the step merges.
      copies: name of a tensor -> what stands for it in each clone, as far as it was asked for.
      to_agree: operations; what the step is fed of their outputs is the same on all workers.
    """

    step: str
    writes: bool
    groups: Sequence[GradientGroup]
    merged: Dict[str, Merged]
    copies: Dict[str, List[List[Any]]]
    to_agree: FrozenSet[Any] = frozenset()

    def replaced(self, fetches: Sequence[Any]) -> List[Any]:
        """`fetches` with their merged values where there are some."""
        return [self.merged[t.name].value if t.name in self.merged else t for t in fetches]

    def extra_targets(self) -> List[Any]:
        """Operations that this step runs on every worker, fetched or not."""
        return [self.merged[name].value.op for name in sorted(self.merged)
                if self.merged[name].collectives]


class _Memory:
    """The runs known of one version of a graph."""

    def __init__(self, version: int):
        self.version = version
        self.known: Dict[FrozenSet[str], Run] = {}


def describe(graph: Any, fetched_ops: Sequence[Any]) -> Run:
    """What a run of `graph` that fetches or runs `fetched_ops` does."""
    state = state_of(graph)
    if state.runs is None or state.runs.version != graph.version:
        state.runs = _Memory(graph.version)
    key = frozenset(op.name for op in fetched_ops)
    if key not in state.runs.known:
        state.runs.known[key] = _walked(graph, state, fetched_ops)
    return state.runs.known[key]


def _walked(graph: Any, state: GraphState, fetched_ops: Sequence[Any]) -> Run:
    reached = ancestors(fetched_ops)
    groups = [g for g in state.groups if not reached.isdisjoint(
        g.returned_ops + [merged.value.op for merged in g.merged.values()])]
    names = [g.name for g in groups] + [c.name for c in state.statistics if c.op in reached]
    written = _written_variables(graph, reached)
    if not names:
        unseen.check(graph, reached)
        return Run("", bool(written), [], {}, {})
    merged: Dict[str, Merged] = {}
    for group in reversed(groups):  # of two groups the first one's value
        merged.update(group.merged)
    step = "run the step of {}, writing {}".format(", ".join(names), _listed(written))
    several = Env.get().cluster.worker_num > 1
    return Run(step, True, groups, merged, {},
               shared_feeds.to_agree(graph, state, reached, groups) if several else frozenset())


def _written_variables(graph: Any, reached: Any) -> List[str]:
    """Names of the global variables that a run writes: workers that write others run another step.
    """
    variables = {compat.variable_key(v) for v in compat.global_variables(graph)}
    origins = {kinds.handle_origin(tensor) for op in reached if kinds.takes_state(op)
               for tensor in op.inputs if kinds.is_handle(tensor)}
    return sorted(op.name for op in origins & variables)


def _listed(names: List[str]) -> str:
    """All of `names`, in few words that no other names have."""
    if not names:
        return "no variable"
    if len(names) <= _SHOWN:
        return ", ".join(names)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    return "{} and {} more variables ({})".format(
        ", ".join(names[:_SHOWN]), len(names) - _SHOWN, digest)
