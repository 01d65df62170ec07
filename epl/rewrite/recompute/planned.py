# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the forward pass is cut if the script does not say it: by bytes and operations.

What is computed is put in an order, stage by stage, with its sizes; `plan.checkpoints` then
chooses. Names, layers and types of operations make no difference.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from epl.errors import ConfigError
from epl.ir import flops, known_shapes
from epl.plan.action import KINDS, Action
from epl.plan.checkpoints import Activation, Cuts, Stretch, choose_cuts
from epl.rewrite import op_traits
from epl.rewrite.recompute.forward import Forward, source_of
from epl.rewrite.recompute.kept import Kept, borders, with_smallest

ROWS = 32  # what stands for sizes of data that nothing says, where only ratios matter


class Planned(NamedTuple):
    """What was chosen.

    Attributes:
      kept: what is kept.
      cuts: stage -> where it is cut.
    """

    kept: Kept
    cuts: Dict[int, Cuts]


class Planner:
    """Chooses what is kept of one forward pass."""

    def __init__(self, forward: Forward, stages: Dict[Any, int], actions: Any,
                 budget: Optional[int]):
        """Find out what is to be known of the forward pass.

        Args:
          forward: the forward pass.
          stages: stage of each of its operations.
          actions: of every stage, in the order in which they run.
          budget: bytes of each stage; None: about as few as possible.

        Raises:
          ConfigError: there is a budget, but the sizes of the data are not known.
        """
        self._forward, self._stages, self._actions = forward, stages, actions
        self._budget = budget
        self._copy = with_sizes(forward.ops, None if budget is not None else ROWS)
        self._costs = flops.count(self._copy.get_operations())[0]
        self._bound = with_smallest(forward, Kept(borders(forward, stages), [], set())).tensors
        self._sizes: Dict[str, int] = {}
        self._read = self._reads()

    def plan(self, last_stage: int) -> Planned:
        """What is kept, if nothing is computed again in stages behind `last_stage`.

        Raises:
          ConfigError: the budget is too small for a stage.
        """
        positions: Set[int] = set()
        names: Set[str] = set()
        repeated: Set[Any] = set()
        chosen: Dict[int, Cuts] = {}
        activations = [each for each in self._read.values()
                       if each[0].op in self._stages and self._is_chosen_of(each[0])]
        for stage in range(min(last_stage, max(self._stages.values())) + 1):
            members = [op for op in self._forward.ops if self._stages[op] == stage]
            own = [each for each in activations if self._stages[each[0].op] == stage]
            if not members:
                continue
            cuts = chosen[stage] = self._cut(stage, members, own)
            if not cuts.positions:
                continue
            ends = [self._forward.position[members[p]] for p in cuts.positions]
            positions.update(ends)
            if stage < max(self._stages.values()):
                positions.add(self._forward.position[members[-1]])
            repeated.update(op for op in members if self._forward.position[op] <= ends[-1])
            names.update(tensor.name for tensor, until, _ in own if any(
                self._forward.position[tensor.op] <= end < until for end in ends))
        return Planned(Kept(frozenset(names) | self._bound, sorted(positions), repeated), chosen)

    def _reads(self) -> Dict[str, Tuple[Any, int, bool]]:
        """Name -> (tensor, last position at which it is read, whether the backward pass reads it).

        Of all that the backward pass reads, or that is read where such a tensor is computed again;
        tensors in the same memory are one.
        """
        position = self._forward.position
        found: Dict[str, Tuple[Any, int, bool]] = {}
        seen: Set[Any] = set()
        pending = [(read.tensor, read.position, True) for read in self._forward.reads]
        while pending:
            tensor, until, needed = pending.pop()
            if tensor.op not in seen and tensor.op in position \
                    and self._forward.can_repeat(tensor.op) and tensor.name not in self._bound:
                seen.add(tensor.op)
                pending.extend((t, position[tensor.op], False) for t in tensor.op.inputs)
            tensor = source_of(tensor)
            _, before, was_needed = found.get(tensor.name, (tensor, -1, False))
            found[tensor.name] = tensor, max(before, until), needed or was_needed
        return found

    def _cut(self, stage: int, members: List[Any],
             own: List[Tuple[Any, int, bool]]) -> Cuts:
        place = {self._forward.position[op]: number for number, op in enumerate(members)}
        last = self._forward.position[members[-1]]
        activations = [Activation(
            self._size(tensor), place[self._forward.position[tensor.op]],
            _place_of(until, place, last), needed) for tensor, until, needed in own]
        stretch = Stretch([self._costs.get(op.name, 0) for op in members], activations,
                          range(len(members)), self._always(stage),
                          most_in_flight(self._actions[stage]))
        cuts = choose_cuts(stretch, self._budget)
        if self._budget is not None and cuts.peak > self._budget:
            raise ConfigError(
                "gradient_checkpoint.budget_mb = {}, but the activations of stage {} need {} MiB "
                "at least, whatever is computed again: use that or more, a smaller batch, or more "
                "micro-batches".format(self._budget >> 20, stage, -(-cuts.peak // 2 ** 20)))
        return cuts

    def _always(self, stage: int) -> int:
        """Bytes of what the backward pass of a stage needs and that can't be computed again."""
        return sum(self._size(tensor) for tensor, _, _ in self._read.values()
                   if self._stages.get(tensor.op) == stage and not self._is_chosen_of(tensor)
                   and tensor.op.inputs and not op_traits.reads_variable(tensor))

    def _is_chosen_of(self, tensor: Any) -> bool:
        """True for what is kept or not, as is chosen."""
        return tensor.name not in self._bound and self._forward.can_repeat(tensor.op)

    def _size(self, tensor: Any) -> int:
        """Bytes of a tensor of the forward pass."""
        if tensor.name not in self._sizes:
            shape = self._copy.get_operation_by_name(tensor.op.name).outputs[
                tensor.value_index].shape
            if self._budget is not None and not shape.is_fully_defined():
                raise ConfigError(
                    "gradient_checkpoint.budget_mb is set, but the size of '{}' ({}) is not known "
                    "before a step runs: give placeholders a shape, and batches a fixed size "
                    "(dataset.batch(..., drop_remainder=True)); or leave the budget out".format(
                        tensor.name, shape))
            size = int(tensor.dtype.base_dtype.size or 0)
            for dimension in shape.as_list() if shape.ndims is not None else [ROWS]:
                size *= ROWS if dimension is None else dimension
            self._sizes[tensor.name] = size
        return self._sizes[tensor.name]


def with_sizes(ops: List[Any], rows: Optional[int]) -> Any:
    """A copy of the forward pass with sizes, as far as they are known or can be made up."""
    try:
        return known_shapes.shapes_of(ops, rows)
    except ValueError:  # the script has another size in mind, which only its constants have
        return known_shapes.shapes_of(ops, None)


def most_in_flight(actions: Iterable[Action]) -> int:
    """Micro-batches whose activations a device holds at a time, at most."""
    most = number = 0
    for action in actions:
        number += KINDS[action.kind].opens
        most = max(most, number)
        number -= KINDS[action.kind].closes
    return max(1, most)


def _place_of(until: int, place: Dict[int, int], last: int) -> int:
    """Where a stage is when the operation at position `until` runs, which may be another's."""
    if until in place:
        return place[until]
    if until > last:
        return len(place)
    before = [number for position, number in place.items() if position <= until]
    return max(before) if before else 0
