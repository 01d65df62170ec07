# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a session run does: is it a training step, does it write variables?

Found by walking the graph once per set of fetches, then remembered.
"""

from typing import Any, Dict, FrozenSet, List, NamedTuple, Sequence

from epl import compat
from epl.ir.graph_state import GraphState, state_of
from epl.rewrite.merge import Merged, group_sources, sources_of
from epl.rewrite.walk import ancestors

# What only looks at a variable that it gets by reference or by handle.
_READERS = frozenset(["IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp",
                      "ResourceGather", "ResourceGatherNd", "VariableShape"])


class Run(NamedTuple):
    """What running a set of fetches does.

    Attributes:
      step: names the training step that it is, or "" if no collective is reached.
      writes: it writes global variables.
      merged: name of a registered tensor -> its merged value, for what the step merges.
    """

    step: str
    writes: bool
    merged: Dict[str, Merged]

    def replaced(self, fetches: Sequence[Any]) -> List[Any]:
        """`fetches` with registered tensors replaced by their merged values."""
        return [self.merged[t.name].value if t.name in self.merged else t for t in fetches]

    def extra_targets(self) -> List[Any]:
        """Operations that this step runs on every worker, fetched or not."""
        return [self.merged[name].value.op for name in sorted(self.merged)]


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
    names = [c.name for c in state.collectives if c.op in reached]
    if not names:
        return Run("", _writes_variables(graph, reached), {})
    return Run("run the step of " + ", ".join(names), True, _merged_with(state, reached))


def _merged_with(state: GraphState, reached: Any) -> Dict[str, Merged]:
    """The registered tensors that a step merges: those fed by the same data as its gradients."""
    groups = [g for g in state.groups if any(c.op in reached for c in g.collectives)]
    sources = set(sources_of(c.op for c in state.statistics if c.op in reached))
    sources = sources.union(*[group_sources(g) for g in groups])
    return {name: m for name, m in state.merged.items() if m.belongs_to(sources)}


def _writes_variables(graph: Any, reached: Any) -> bool:
    variables = {compat.variable_key(v) for v in compat.global_variables(graph)}
    return any(_may_write(op) and any(t.op in variables for t in op.inputs) for op in reached)


def _may_write(op: Any) -> bool:
    if op.type in _READERS:
        return False
    handles = any(t.dtype.name == "resource" for t in op.inputs)
    return handles or compat.writes_through_ref(op)
