# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where each operation of a graph comes from: the script, a gradient of it, or the rewrite.

Operations are numbered as they are created, so most of this is intervals of numbers. What a pass
adds to the model counts as the rewrite's own machinery unless the pass says otherwise (`adopt`).
"""

import bisect
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from epl import compat
from epl.ir.annotations import Annotations
from epl.ir.assigned import AssignedStages


class RowGradient(NamedTuple):
    """The gradient by a tensor with rows of the batch."""

    tensor: Any
    gradient: Any


class GradientCall(NamedTuple):
    """What TensorFlow built in one call for gradients, of variables or of other tensors.

    Attributes:
      first, last: ids of the operations that were created.
      losses: the tensors whose gradients they are, through all calls before this one.
      results: the gradients by tensors with rows of the batch.
      entered: what was given as `grad_ys`.
    """

    first: int
    last: int
    losses: List[Any]
    results: List[RowGradient]
    entered: List[Any]


class GradientCalls:
    """The calls for gradients, in their order."""

    def __init__(self) -> None:
        self._calls: List[GradientCall] = []
        self._firsts: List[int] = []

    def add(self, call: GradientCall) -> None:
        """Note a call, later than those noted before."""
        self._calls.append(call)
        self._firsts.append(call.first)

    def __iter__(self) -> Iterator[GradientCall]:
        return iter(self._calls)

    def call_of(self, op: Any) -> Optional[GradientCall]:
        """The call that created an operation, or None."""
        op_id = compat.op_id(op)
        position = bisect.bisect_right(self._firsts, op_id) - 1
        found = self._calls[position] if position >= 0 else None
        return found if found is not None and op_id <= found.last else None


class _Intervals:
    """Operations by id, in intervals that do not overlap, each with a value."""

    def __init__(self) -> None:
        self._found: List[Tuple[int, int, Any]] = []

    def add(self, first: int, last: int, value: Any = True) -> None:
        """Note an interval; those inside of it, noted before, are part of it from now on."""
        if last >= first:
            begin = bisect.bisect_left(self._found, (first,))
            end = bisect.bisect_left(self._found, (last + 1,))
            self._found[begin:end] = [(first, last, value)]

    def of(self, op: Any, missing: Any = False) -> Any:
        op_id = compat.op_id(op)
        position = bisect.bisect_left(self._found, (op_id + 1,)) - 1
        if position < 0 or op_id > self._found[position][1]:
            return missing
        return self._found[position][2]


class Provenance:
    """The origins of one graph's operations.

    Attributes:
      annotations: the TaskGraphs of the script.
      calls: what TensorFlow built for gradients.
      first_gradient_id: the first operation that was built for gradients of variables, or None.
      assigned: the stages, where the script has left them to EPL and they are chosen, or None.
    """

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.calls = GradientCalls()
        self.first_gradient_id: Optional[int] = None
        self.assigned: Optional[AssignedStages] = None
        self._made, self._backward, self._adopted = _Intervals(), _Intervals(), _Intervals()
        self._starts: List[int] = []  # last op id before each interval of `_differentiated`
        self._differentiated: List[Any] = []

    def stage_of(self, op: Any) -> int:
        """The stage that a pass put `op` in, or that was chosen, or in whose interval it is."""
        stage = self._adopted.of(op, None)
        if stage is not None:
            return int(stage)
        if self.assigned is not None:
            return self.assigned.stage_of(op)
        return self.annotations.task_graph_of(compat.op_id(op))

    def is_gradient(self, op: Any) -> bool:
        """True for an operation that TensorFlow built for gradients."""
        return self.calls.call_of(op) is not None

    def is_backward(self, op: Any) -> bool:
        """True for an operation that computes gradients, also of tensors that are no variables."""
        return bool(self._backward.of(op))

    def is_made(self, op: Any) -> bool:
        """True for an operation that the rewrite made, not the script."""
        return bool(self._made.of(op)) and self._adopted.of(op, None) is None

    def differentiated(self, op: Any) -> Any:
        """The operation whose gradient `op` belongs to, or None."""
        position = bisect.bisect_left(self._starts, compat.op_id(op)) - 1
        return self._differentiated[position] if position >= 0 else None

    def before_first(self, op: Any) -> bool:
        """True for an operation that was created before any annotation."""
        return self.annotations.before_first(compat.op_id(op))

    def is_of_optimizer(self, op: Any) -> bool:
        """True for an operation that was created after gradients of variables were built."""
        first = self.first_gradient_id
        return first is not None and compat.op_id(op) >= first

    def begin_gradients(self, graph: Any) -> None:
        """Gradients of variables are built from here on."""
        if self.first_gradient_id is None:
            self.first_gradient_id = compat.last_id(graph) + 1

    def begin_gradient_of(self, graph: Any, op: Any) -> None:
        """What is created from here on belongs to the gradient of `op`; None: to none."""
        self._starts.append(compat.last_id(graph))
        self._differentiated.append(op)

    def note_made(self, first: int, last: int) -> None:
        """The rewrite made the operations with these ids."""
        self._made.add(first, last)

    def note_backward(self, first: int, last: int) -> None:
        """TensorFlow made the operations with these ids for gradients of whatever."""
        self._backward.add(first, last)

    def adopt(self, first: int, last: int, stage: int) -> None:
        """The operations with these ids count as the script's own, of a stage of the model."""
        self._adopted.add(first, last, stage)
