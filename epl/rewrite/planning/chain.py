# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The forward pass of a graph as a chain of units, which `plan.division` cuts into stages.

What follows from the data is put in a line, each operation behind all that it depends on; of
several that could come next the one that was created first does. A unit is what lies between two
places where the line may be cut:

    x -> conv -> relu -> [Enter .. loop .. Exit] -> dense -> [Switch .. Merge] -> loss
    unit   0       1                2                 3              4             5

A loop is not cut, nor are the branches of a condition, nor what hands on something that lives on
one device (a tensor array, a list). Variables stand where they are first read, and what follows
from them alone with them; constants, random numbers and data stand where they are first used. Where
a loss is computed from gradients, they and all behind them are one unit.
"""

from typing import Any, Iterable, List, Set

import tensorflow.compat.v1 as tf

from epl.errors import ConfigError
from epl.rewrite import loops, op_traits
from epl.rewrite.partition import conditional
from epl.rewrite.planning.costs import Groups, Step, comes_in


class Line:
    """The forward pass in an order, and where it may be cut.

    Attributes:
      ops: what follows from the data, each behind all that it depends on.
      unit: of every forward operation.
      starts: the first operation of each unit.
    """

    def __init__(self, step: Step):
        """Put the operations in order.

        Raises:
          ConfigError: nothing follows from data.
        """
        self._step = step
        self._successors = loops.successors(step.forward)
        in_order = loops.topological(self._successors)
        self._loop = loops.outermost_loops(self._successors)
        self.ops = self._following(in_order)
        if not self.ops:
            raise ConfigError("auto.auto_parallel: the loss follows from no data, so there is "
                              "nothing to cut into stages; leave the key out")
        self._position = {op: number for number, op in enumerate(self.ops)}
        self._place_others(in_order)
        barred = self._barred(in_order)
        number, units = 0, [0]
        for position in range(1, len(self.ops)):
            number += not barred[position]
            units.append(number)
        self.unit = {op: units[position] for op, position in self._position.items()}
        self.starts = [op for position, op in enumerate(self.ops) if not barred[position]]

    @property
    def groups(self) -> Groups:
        """The units as what costs are counted for; data goes to where it is read."""
        in_line = set(self.ops)
        return Groups(len(self.starts), self.unit, {
            op for op in self.unit if op not in in_line and comes_in(op)})

    def _following(self, in_order: List[Any]) -> List[Any]:
        """What follows from data or random numbers, and all of loops; not where these come in."""
        reached: Set[Any] = set()
        begin = {op for op in in_order if comes_in(op)}
        for op in in_order:
            before = [t.op for t in op.inputs] + list(op.control_inputs)
            if op in self._loop or any(b in reached or b in begin for b in before):
                reached.add(op)
        return [op for op in in_order if op in reached]

    def _place_others(self, in_order: List[Any]) -> None:
        """Give positions to what is not in the line."""
        for op in reversed(in_order):
            if op not in self._position:
                self._position[op] = min([self._position[user] for user in self._successors[op]
                                          if user in self._position] or [len(self.ops) - 1])
        in_line = set(self.ops)
        for op in in_order:
            before = [t.op for t in op.inputs] + list(op.control_inputs)
            if op not in in_line and any(b in self._position for b in before):
                self._position[op] = max(self._position[b] for b in before if b in self._position)

    def _barred(self, in_order: List[Any]) -> List[bool]:
        """For each position, whether no cut may be in front of it."""
        change = [0] * (len(self.ops) + 1)

        def hold_together(ops: Iterable[Any]) -> None:
            positions = [self._position[op] for op in ops]
            change[min(positions) + 1] += 1
            change[max(positions) + 1] -= 1

        for members in loops.members(self._loop).values():
            hold_together(members)
        branches = conditional(in_order, self._loop)
        for op in in_order:
            for tensor in op.inputs:
                if _stays_on_device(tensor):
                    hold_together([tensor.op, op])
            for before in [t.op for t in op.inputs] + list(op.control_inputs):
                if before in branches or op_traits.is_switch(before):
                    hold_together([before, op])
        gradients = [op for op in in_order if self._step.provenance.is_gradient(op)]
        hold_together(gradients[:1] + self.ops[-1:])
        held, found = 0, []
        for number in change[:-1]:
            held += number
            found.append(held > 0)
        return found


def _stays_on_device(tensor: Any) -> bool:
    """True for what refers to something that lives as long as a step, on one device."""
    return tensor.dtype == tf.variant or op_traits.is_handle(tensor) \
        and op_traits.handle_origin(tensor).type in op_traits.STEP_SCOPED
