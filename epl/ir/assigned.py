# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stages that nobody annotated: each operation's was chosen, whenever it was created.

What is created later, or was not looked at, belongs to the last stage that it takes something from.
"""

from typing import Any, Dict

from epl import compat


class AssignedStages:
    """The stage of every operation of a graph."""

    def __init__(self, chosen: Dict[Any, int]):
        """`chosen`: operation -> stage."""
        self._stage = dict(chosen)
        self._looked_at = 0  # all operations up to this number have a stage

    def stage_of(self, op: Any) -> int:
        """The stage of an operation."""
        if op not in self._stage:
            for each in compat.operations_from(op.graph, self._looked_at + 1):
                if each not in self._stage:
                    before = [t.op for t in each.inputs] + list(each.control_inputs)
                    self._stage[each] = max([self._stage.get(b, 0) for b in before] or [0])
            self._looked_at = compat.last_id(op.graph)
        return self._stage[op]
