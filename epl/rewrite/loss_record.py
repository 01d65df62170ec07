# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the losses of a graph are of the whole batch, and what is exchanged for that."""

from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from epl.communicators.base import Collective
from epl.ir.graph_state import GraphState
from epl.rewrite.weights import Weight


class Statistic(NamedTuple):
    """A number that follows from the data, as the gradients read it.

    Attributes:
      read: what the gradients read, an identity.
      of_part: its value for one clone, which `read` reads until `of_whole_batch` is done.
      losses: names of those whose gradients read it.
      collectives: what a step runs for it.
    """

    read: Any
    of_part: Any
    losses: FrozenSet[str]
    collectives: List[Collective]


class WholeLosses:
    """What was made of the losses of one graph.

    Attributes:
      statistics: numbers of the data that gradients read.
      values: name of a loss -> what is that of the whole batch if the clones' are averaged.
      weights: name of a loss -> how much a part counts in its average, where parts may have other
        numbers of rows. The gradients by it are weighed already.
      read: name of a loss whose parts may have other numbers of rows -> those that are read for it.
    """

    def __init__(self) -> None:
        self.statistics: List[Statistic] = []
        self.values: Dict[str, Any] = {}
        self.weights: Dict[str, Weight] = {}
        self.read: Dict[str, Weight] = {}


def averaged_as(loss: Any, state: GraphState) -> Any:
    """What is `loss` of the whole batch if the clones' values are averaged."""
    return state.record(WholeLosses).values.get(loss.name, loss)


def weight_of(loss: Any, state: GraphState) -> Optional[Weight]:
    """How much a part counts in the average of `loss`; None: all parts alike."""
    return state.record(WholeLosses).weights.get(loss.name)


def is_unequal(loss: Any, state: GraphState) -> bool:
    """True if parts of the batch that `loss` is computed from may have other numbers of rows."""
    return loss.name in state.record(WholeLosses).read


def rows_read(loss: Any, state: GraphState) -> Weight:
    """How much a part counts by the rows that are read for `loss`, where these may differ."""
    return state.record(WholeLosses).read[loss.name]


def asked(own: Iterable[Any], others: Iterable[Any], state: GraphState) -> List[Any]:
    """The tensors that the clones of a family have to compute for losses.

    Args:
      own: those that the family differentiates.
      others: those of other families.
      state: the graph's record.
    """
    own = list(own)
    names = {y.name for y in own}
    whole = state.record(WholeLosses)
    return [whole.values[y.name] for y in own + list(others) if y.name in whole.values] + [
        statistic.of_part for statistic in whole.statistics if names & statistic.losses]


def exchanged_for(loss: Any, state: GraphState) -> Tuple[Collective, ...]:
    """What a step runs for the value of a loss, beside what it runs for its gradients."""
    return tuple(c for s in state.record(WholeLosses).statistics if loss.name in s.losses
                 for c in s.collectives)
