# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is recorded of a graph whose optimizer state is shared out."""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from epl.communicators.base import Collective
from epl.ir.ownership import Rows
from epl.rewrite import restored
from epl.rewrite.gathered import Parameters
from epl.rewrite.gradient_parts import Part
from epl.rewrite.groups import Gradient
from epl.rewrite.updates import Unit


class Shared(NamedTuple):
    """A unit of updates that is shared out.

    Attributes:
      received: runs when every variable of it has its new value.
      updates: what stands for a variable -> its update.
      writes: operation -> the variable that it updates, of those that no run may ask for alone.
      ends: the first operations behind the branches that updates are in.
      asked: what waits for updates -> the variables that these are of.
      assigned: the operations that give variables the values of others.
      after: what stands for a variable of which all hold all -> its new value.
      collectives: in which values are exchanged.
    """

    received: Any
    updates: Unit
    writes: Dict[Any, Any]
    ends: Set[Any]
    asked: Dict[Any, Set[Any]]
    assigned: Set[Any]
    after: Dict[Any, Any]
    collectives: List[Collective]


class Zero:
    """What is shared out in one graph.

    Attributes:
      units: its updates.
      reads: what stands for a variable whose rows are shared out -> this worker's rows.
      given: an assignment of such a variable -> the value that the script gives it.
      restored: such an assignment -> the value in a checkpoint that it gives.
      sources: name of what such assignments read -> (the value that the script gives, what stands
        for the variables that get it).
      inside: the operations that work on this worker's rows in a step.
      planned: what stands for a variable that is trained -> the rows of its state that each worker
        holds.
      parts: what the script got as a gradient -> of which each worker has these rows.
      numbers: what makes numbers of such rows -> the numbers of all rows.
      exchanges: in which these are put together.
      parameters: the variables that are shared out themselves.
    """

    def __init__(self) -> None:
        self.parameters = Parameters()
        self.units: List[Shared] = []
        self.reads: Dict[Any, Any] = {}
        self.given: Dict[Any, Any] = {}
        self.restored: Dict[Any, restored.Source] = {}
        self.sources: Dict[str, Tuple[Any, List[Any]]] = {}
        self.inside: Set[Any] = set()
        self.planned: Dict[Any, List[Rows]] = {}
        self.parts: Dict[Any, Part] = {}
        self.numbers: Dict[Any, Any] = {}
        self.exchanges: List[Collective] = []

    @property
    def collectives(self) -> List[Collective]:
        """All exchanges of values, and of numbers."""
        return [c for unit in self.units for c in unit.collectives] + self.exchanges + [
            each.collective for each in self.parameters.exchanges]

    def rows_of(self, gradient: Gradient) -> Optional[List[Rows]]:
        """The rows of a gradient that each worker has; None if all have all."""
        part = None if isinstance(gradient.returned, tf.IndexedSlices) \
            else self.parts.get(gradient.returned.op)
        return None if part is None else list(part.rows)

    @property
    def borders(self) -> Set[Any]:
        """What stands between a step's own operations and the updates that are shared out."""
        return {op for unit in self.units for op in unit.ends | {unit.received}}
