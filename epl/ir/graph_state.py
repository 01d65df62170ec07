# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything that EPL remembers about one `tf.Graph`, kept on the graph itself.

The graph owns it, so it is collected with the graph, and two graphs never mix.
"""

from typing import Any, Dict, List, NamedTuple, Set, Tuple

from epl.ir.annotations import Annotations

_ATTRIBUTE = "_epl_state"


class Collective(NamedTuple):
    """One operation that exchanges data with the other workers.

    Attributes:
      op: the TensorFlow operation.
      kind: "all_reduce" or "all_gather".
      name: the name under which the workers meet; unique in the graph.
      dtype: name of the element type.
      shape: static shape as text.
    """

    op: Any
    kind: str
    name: str
    dtype: str
    shape: str

    def describe(self) -> str:
        return "{} {} {}{}".format(self.kind, self.name, self.dtype, self.shape)


class GradientGroup:
    """What one call of `tf.gradients` was turned into.

    Attributes:
      name: name scope and prefix of the collectives.
      collectives: those of this group.
      replaced: (raw tensor, aggregated tensor) pairs, to undo the aggregation.
    """

    def __init__(self, name: str):
        self.name = name
        self.collectives: List[Collective] = []
        self.replaced: List[Tuple[Any, Any]] = []


class GraphState:
    """The record of one graph.

    Attributes:
      annotations: its TaskGraphs.
      registered: collection key -> tensors put there by `epl.add_to_collection`.
      groups: gradient groups, in the order of the calls that made them.
      gradient_calls: how many groups were ever made (names stay unique after a withdrawal).
      statistics: collectives that average what UPDATE_OPS assign.
      averaged_updates: UPDATE_OPS assignments that are averaged already.
      varied_seeds: random operations whose seed was made this worker's own.
      merged: name of a registered tensor -> its merged value (see `rewrite.merge.Merged`).
      verified_collectives: how many collectives the workers have compared.
      runs: what is known of the session runs of this graph (see `runtime.runs`).
    """

    def __init__(self) -> None:
        self.annotations = Annotations()
        self.registered: Dict[str, List[Any]] = {}
        self.groups: List[GradientGroup] = []
        self.gradient_calls = 0
        self.statistics: List[Collective] = []
        self.averaged_updates: Set[Any] = set()
        self.varied_seeds: Set[Any] = set()
        self.merged: Dict[str, Any] = {}
        self.verified_collectives = 0
        self.runs: Any = None

    @property
    def collectives(self) -> List[Collective]:
        """Every collective that a step may run, in the order of creation."""
        found = [c for group in self.groups for c in group.collectives]
        return found + list(self.statistics)

    @property
    def trains_with_others(self) -> bool:
        """True if the graph holds gradients that are reduced over workers."""
        return bool(self.groups)


def state_of(graph: Any) -> GraphState:
    """The record of `graph`, made on first use."""
    state = getattr(graph, _ATTRIBUTE, None)
    if state is None:
        state = GraphState()
        setattr(graph, _ATTRIBUTE, state)
    return state
