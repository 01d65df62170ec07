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

from typing import Any, Iterable, List, NamedTuple, Sequence, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError
from epl.ir import feeds, flops
from epl.ir.provenance import Provenance
from epl.plan.costs import Chain, Crossing, Rates, Unit, work_of
from epl.rewrite import loops, op_traits
from epl.rewrite.partition import conditional
from epl.rewrite.recompute.forward import Forward, source_of
from epl.rewrite.recompute.planned import ROWS, with_sizes


class Step(NamedTuple):
    """What the gradients of a graph consist of.

    Attributes:
      forward: the operations behind the losses, and all of the loops among them.
      backward: what the gradients need beside them.
      provenance: where each operation comes from.
      trained: the variables that have gradients.
    """

    forward: Set[Any]
    backward: Set[Any]
    provenance: Provenance
    trained: Sequence[Any]


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

    def _following(self, in_order: List[Any]) -> List[Any]:
        """What follows from data or random numbers, and all of loops; not where these come in."""
        reached: Set[Any] = set()
        begin = {op for op in in_order if _comes_in(op)}
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


def _comes_in(op: Any) -> bool:
    """True for data and random numbers; a placeholder of fixed size may hold rows, too."""
    return op_traits.starts_batch(op) or (
        op.type in feeds.PLACEHOLDERS and feeds.is_undecided(op.outputs[0]))


def _stays_on_device(tensor: Any) -> bool:
    """True for what refers to something that lives as long as a step, on one device."""
    return tensor.dtype == tf.variant or op_traits.is_handle(tensor) \
        and op_traits.handle_origin(tensor).type in op_traits.STEP_SCOPED


class Costs:
    """What the units of a line cost."""

    def __init__(self, line: Line, step: Step, exact: bool):
        """Find out sizes.

        Args:
          line: the units.
          step: the operations.
          exact: sizes that are not known are refused; else something stands for them.
        """
        self._line, self._step, self._exact = line, step, exact
        self._ops = sorted(step.forward | step.backward, key=compat.op_id)
        self._copy = with_sizes(self._ops, None if exact else ROWS)
        self._flops = flops.count(self._copy.get_operations())[0]

    def chain(self, rates: Rates) -> Chain:
        """The units with what they cost on a device of such rates.

        Raises:
          ConfigError: sizes that are not known.
        """
        number = len(self._line.starts)
        found, operations, written = [0] * number, [0] * number, [0] * number
        for op in self._ops:
            unit = self._unit_of(op)
            found[unit] += self._flops.get(op.name, 0)
            operations[unit] += bool(op.inputs)
            written[unit] += sum(self._size(t) for t in op.outputs) if op.inputs else 0
        activations, state = self._activations(number), self._state(number)
        return Chain([Unit(found[n], work_of(found[n], operations[n], written[n], rates),
                           activations[n], state[n]) for n in range(number)], self._crossings())

    def _unit_of(self, op: Any) -> int:
        """The unit of an operation; a gradient's is that of what it is the gradient of."""
        while op not in self._line.unit:
            target = self._step.provenance.differentiated(op)
            if target is None or target is op:
                return len(self._line.starts) - 1
            op = target
        return self._line.unit[op]

    def _crossings(self) -> List[Crossing]:
        """What units hand on; data is brought to where it is read, handles go nowhere."""
        found = []
        in_line = set(self._line.ops)
        for op, unit in self._line.unit.items():
            brought = op not in in_line and _comes_in(op)
            for tensor in op.outputs if not brought else ():
                until = max([self._line.unit[user] for user in tensor.consumers()
                             if user in self._line.unit] or [unit])
                if until > unit and not op_traits.is_handle(tensor):
                    found.append(Crossing(self._size(tensor), unit, until))
        return found

    def _activations(self, number: int) -> List[int]:
        """Bytes that each unit's backward pass reads of its forward pass."""
        found = [0] * number
        forward = Forward(self._step.forward, self._step.backward, self._step.provenance)
        sources = {t.name: t for t in (source_of(read.tensor) for read in forward.reads)}
        for tensor in sources.values():
            if tensor.op.inputs and not op_traits.reads_variable(tensor):
                found[self._line.unit[tensor.op]] += self._size(tensor)
        return found

    def _state(self, number: int) -> List[int]:
        """Bytes of the variables of each unit, of their gradients, and of what is beside them."""
        found = [0] * number
        trained = {compat.variable_key(variable) for variable in self._step.trained}
        graph = self._line.ops[0].graph
        for variable in compat.global_variables(graph):
            op = compat.variable_key(variable)
            owner = op if op in self._line.unit else next(
                (t for t in compat.colocated_with(op) if t in self._line.unit), None)
            if owner is not None:
                elements = variable.shape.num_elements() or 1
                found[self._line.unit[owner]] += (1 + (op in trained)) * int(
                    elements * variable.dtype.base_dtype.size)
        return found

    def _size(self, tensor: Any) -> int:
        """Bytes of a tensor."""
        shape = self._copy.get_operation_by_name(tensor.op.name).outputs[tensor.value_index].shape
        if self._exact and not shape.is_fully_defined() and tensor.op in self._step.forward:
            raise ConfigError(
                "auto.memory_budget_mb is set, but the size of '{}' ({}) is not known before a "
                "step runs: give placeholders a shape, and batches a fixed size (dataset.batch("
                "..., drop_remainder=True)); or leave the budget out".format(tensor.name, shape))
        size = int(tensor.dtype.base_dtype.size or 0)
        for dimension in shape.as_list() if shape.ndims is not None else [ROWS]:
            size *= ROWS if dimension is None else dimension
        return size
