# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What groups of operations cost: the units of a chain, or the stages of a pipeline.

    forward operation             --Groups.of-->  its group
    gradient --differentiated-->  the same

Sizes and FLOPs are from the shapes of the graph, times from a `Clock`.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Set

from epl import compat
from epl.errors import ConfigError
from epl.ir import feeds, flops
from epl.ir.provenance import Provenance
from epl.plan.costs import Chain, Crossing, Unit
from epl.rewrite import op_traits
from epl.rewrite.planning.clock import Clock
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


class Groups(NamedTuple):
    """What costs are counted for.

    Attributes:
      number: of groups, which are numbered from the data to the loss.
      of: forward operation -> its group.
      brought: those that bring data in to where it is read: it crosses nothing.
    """

    number: int
    of: Dict[Any, int]
    brought: Set[Any]


class Costs:
    """What a step costs.

    Attributes:
      step: the operations.
      clock: what operations take of a device's time.
    """

    def __init__(self, step: Step, clock: Clock, exact: bool):
        """Find out sizes.

        Args:
          step: the operations.
          clock: what operations take of a device's time.
          exact: sizes that are not known are refused; else something stands for them.
        """
        self.step, self.clock, self._exact = step, clock, exact
        self._ops = sorted(step.forward | step.backward, key=compat.op_id)
        self._copy = with_sizes(self._ops, None if exact else ROWS)
        self._flops = flops.count(self._copy.get_operations())[0]

    def chain(self, groups: Groups) -> Chain:
        """The groups, each as a unit, and what they hand on.

        Raises:
          ConfigError: sizes that are not known.
        """
        found, work = [0] * groups.number, [0] * groups.number
        for op in self._ops:
            group = self._group_of(op, groups)
            found[group] += self._flops.get(op.name, 0)
            work[group] += self.work(op)
        activations, state = self._activations(groups), self._state(groups)
        return Chain([Unit(found[n], work[n], activations[n], state[n])
                      for n in range(groups.number)], self._crossings(groups))

    def work(self, op: Any) -> int:
        """What an operation of the step takes of a device's time, in units of the clock."""
        written = sum(map(self._size, op.outputs)) if op.inputs else 0
        return self.clock.work(op, self._flops.get(op.name, 0), written)

    def _group_of(self, op: Any, groups: Groups) -> int:
        """The group of an operation; a gradient's is that of what it is the gradient of."""
        while op not in groups.of:
            target = self.step.provenance.differentiated(op)
            if target is None or target is op:
                return groups.number - 1
            op = target
        return groups.of[op]

    def _crossings(self, groups: Groups) -> List[Crossing]:
        """What groups hand on; handles go nowhere."""
        found = []
        for op, group in groups.of.items():
            for tensor in op.outputs if op not in groups.brought else ():
                until = max([groups.of[user] for user in tensor.consumers()
                             if user in groups.of] or [group])
                if until > group and not op_traits.is_handle(tensor):
                    found.append(Crossing(self._size(tensor), group, until))
        return found

    def _activations(self, groups: Groups) -> List[int]:
        """Bytes that each group's backward pass reads of its forward pass."""
        found = [0] * groups.number
        forward = Forward(self.step.forward, self.step.backward, self.step.provenance)
        sources = {t.name: t for t in (source_of(read.tensor) for read in forward.reads)}
        for tensor in sources.values():
            if tensor.op.inputs and not op_traits.reads_variable(tensor):
                found[groups.of[tensor.op]] += self._size(tensor)
        return found

    def _state(self, groups: Groups) -> List[int]:
        """Bytes of the variables of each group, of their gradients, and of what is beside them."""
        found = [0] * groups.number
        trained = {compat.variable_key(variable) for variable in self.step.trained}
        graph = self._ops[0].graph
        for variable in compat.global_variables(graph):
            op = compat.variable_key(variable)
            owner = op if op in groups.of else next(
                (t for t in compat.colocated_with(op) if t in groups.of), None)
            if owner is not None:
                elements = variable.shape.num_elements() or 1
                found[groups.of[owner]] += (1 + (op in trained)) * int(
                    elements * variable.dtype.base_dtype.size)
        return found

    def _size(self, tensor: Any) -> int:
        """Bytes of a tensor."""
        shape = self._copy.get_operation_by_name(tensor.op.name).outputs[tensor.value_index].shape
        if self._exact and not shape.is_fully_defined() and tensor.op in self.step.forward:
            raise ConfigError(
                "auto.memory_budget_mb is set, but the size of '{}' ({}) is not known before a "
                "step runs: give placeholders a shape, and batches a fixed size (dataset.batch("
                "..., drop_remainder=True)); or leave the budget out".format(tensor.name, shape))
        size = int(tensor.dtype.base_dtype.size or 0)
        for dimension in shape.as_list() if shape.ndims is not None else [ROWS]:
            size *= ROWS if dimension is None else dimension
        return size


def comes_in(op: Any) -> bool:
    """True for data and random numbers; a placeholder of fixed size may hold rows, too."""
    return op_traits.starts_batch(op) or (
        op.type in feeds.PLACEHOLDERS and feeds.is_undecided(op.outputs[0]))
