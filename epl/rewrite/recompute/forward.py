# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The forward pass of a loss, in an order, and what the backward pass reads of it."""

from typing import Any, Container, Dict, List, NamedTuple, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds
from epl.ir.provenance import Provenance
from epl.rewrite import loops, op_traits
from epl.rewrite.functions import Library
from epl.rewrite.partition import conditional

# Operations that call functions of the graph's library, and keep no state if these keep none.
_CALLS = frozenset(["PartitionedCall", "StatelessCase", "StatelessIf", "StatelessWhile"])

_CONTROL_FLOW = frozenset(["Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"])

# What gives its input's elements, in the same memory.
_VIEWS = frozenset(["ExpandDims", "Identity", "PreventGradient", "Reshape", "Snapshot", "Squeeze",
                    "StopGradient"])


class Read(NamedTuple):
    """An operation of the backward pass reads a tensor of the forward pass.

    Attributes:
      reader: the operation.
      tensor: what it reads.
      position: of the forward operation whose gradient the reader belongs to.
    """

    reader: Any
    tensor: Any
    position: int


class Forward:
    """What is computed for some losses, and for their gradients.

    Attributes:
      ops: the forward operations, each behind all that it depends on.
      position: of each of them, the place in `ops`.
      backward: the operations that only the gradients need, in the order of their creation.
      reads: what these read of the forward pass, but for its shapes.
    """

    def __init__(self, ops: Set[Any], backward: Set[Any], provenance: Provenance,
                 apart: Container[Any] = ()):
        """Put the operations in order.

        Args:
          ops: the forward operations.
          backward: what is computed for the gradients beside them.
          provenance: where each operation comes from.
          apart: forward operations that are never computed again.
        """
        everything = loops.successors(ops | backward)
        in_order, frames = loops.topological(everything), loops.frames(everything)
        self._loop = {op: stack[0] for op, stack in frames.items()}
        self._inner = {op for op, stack in frames.items() if len(stack) > 1}
        self._conditional = conditional(in_order, self._loop)
        self.ops = [op for op in in_order if op in ops]
        self.position = {op: number for number, op in enumerate(self.ops)}
        self.backward = sorted(backward, key=compat.op_id)
        self._provenance, self._apart = provenance, apart
        self._library = Library(self.ops[0].graph)
        self._again: Dict[Any, bool] = {}
        late = self._of_gradients(in_order)
        self.reads = [Read(op, tensor, self.place_of(op)) for op in self.backward
                      if op in late and op.type not in op_traits.SHAPES
                      for tensor in {t.name: t for t in op.inputs}.values()
                      if tensor.op in self.position]

    def _of_gradients(self, in_order: List[Any]) -> Set[Any]:
        """What computes gradients, or something of them.

        Gradients may wait for what does not: updates of moving averages, which read the forward
        pass while it runs.
        """
        found: Set[Any] = set()
        within = set(self.backward)
        for op in in_order:
            if op in within and (self._provenance.is_gradient(op)
                                 or any(t.op in found for t in op.inputs)):
                found.add(op)
        return found

    def place_of(self, op: Any) -> int:
        """The position of the forward operation that one of the backward pass is the gradient of.

        The last one, if it is not known.
        """
        target = self._provenance.differentiated(op)
        return self.position.get(target, len(self.ops) - 1)

    def may_be_awaited(self, op: Any) -> bool:
        """False for what may not run in every step, in a branch or a loop."""
        if op in self._conditional or op_traits.is_switch(op):
            return False
        return op not in self._loop or (loops.is_exit(op) and op not in self._inner)

    def is_in_loop(self, op: Any) -> bool:
        """True for an operation of a v1 loop, its Enters and Exits among them."""
        return op in self._loop

    def can_repeat(self, op: Any) -> bool:
        """True if a copy of a forward operation gives the same, whenever it runs, and does no more.
        """
        if op not in self._again:
            self._again[op] = self._can_repeat(op)
        return self._again[op]

    def _can_repeat(self, op: Any) -> bool:
        if op in self._apart or op.type in _CONTROL_FLOW or op.type in op_traits.SHAPES \
                or op in self._conditional or op in self._loop:
            return False
        if op.type in feeds.PLACEHOLDERS or op.type == "PlaceholderWithDefault" or any(
                feeds.is_declared(t) for t in op.outputs):
            return False
        if any(op_traits.is_handle(t) or t.dtype == tf.variant
               for t in list(op.inputs) + list(op.outputs)):
            return False  # state, or the lists that a loop of functions fills
        if op_traits.calls_functions(op):
            return op.type in _CALLS and not op_traits.varies(op, self._library)
        return bool(op.inputs) and not op_traits.is_stateful(op)


def source_of(tensor: Any) -> Any:
    """The tensor whose memory `tensor` is."""
    while tensor.op.type in _VIEWS and not op_traits.is_handle(tensor.op.inputs[0]):
        tensor = tensor.op.inputs[0]
    return tensor
