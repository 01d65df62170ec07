# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What memory operations take, and when they give it back, if a device runs them.

    in use   a      a b    b c    c        a --> b --> c --> d
             a run  b run  c run  d run    the memory of a is free once b has run

An operation takes memory for what it gives, and it is free again when the last that reads it has
run. Those that work element by element write into the memory of an input that nothing else will
read; views share it. They run in the order in which TensorFlow's executor finds them ready: first
come, first served. Measured beside TensorFlow 1.15 and 2.15 without their graph optimizer, peaks of
BERT come out within 0.2 %. Of what the optimizer does, two things are followed: what is only waited
for is not computed, and what follows from constants alone is a constant.
"""

import collections
from typing import Any, Callable, Collection, Deque, Dict, Iterable, List, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat

# Give their first input's elements, in the same memory.
_VIEWS = frozenset([
    "Enter", "Exit", "ExpandDims", "Identity", "Merge", "NextIteration", "PreventGradient",
    "Reshape", "Snapshot", "Squeeze", "StopGradient", "Switch"])

# Write into the memory of an input of the same size that nothing else reads.
_IN_PLACE = frozenset([
    "Abs", "Add", "AddN", "AddV2", "BiasAdd", "Ceil", "Div", "Elu", "Erf", "Exp", "Floor",
    "FloorDiv", "FloorMod", "FusedBatchNormGradV3", "Inv", "Log", "Log1p", "LogSoftmax",
    "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "Neg", "Pow", "RealDiv",
    "Reciprocal", "Relu", "Relu6", "ReluGrad", "Round", "Rsqrt", "RsqrtGrad", "Sigmoid",
    "SigmoidGrad", "Sign", "Softmax", "Sqrt", "SqrtGrad", "Square", "SquaredDifference", "Sub",
    "Tanh", "TanhGrad"])

_MOST_FOLDED = 10 << 20  # bytes: larger constants the graph optimizer does not make


class Again:
    """What is computed again for some operations, segment by segment.

    Attributes:
      tensors: name of a tensor that they read -> (the tensor whose memory it is, its segment).
      segments: segment -> the tensors that are there from when one of them is read.
    """

    def __init__(self, tensors: Dict[str, Tuple[Any, Any]], readers: Set[Any]):
        self.tensors, self._readers = tensors, readers
        self.segments: Dict[Any, Dict[Any, None]] = {}
        for source, segment in tensors.values():
            self.segments.setdefault(segment, {})[source] = None

    def concerns(self, op: Any, tensor: Any) -> bool:
        """True if `op` reads what is computed again in the place of `tensor`."""
        return tensor.name in self.tensors and op in self._readers

    def place(self, tensor: Any) -> str:
        """Whose memory what is computed again is in."""
        source, _ = self.tensors.get(tensor.name, (tensor, None))
        return "again: " + str(source.name)


class Lifetimes:
    """The memory of one device while it runs some operations, part by part.

    Attributes:
      in_use: bytes at this time; variables and constants are not counted.
    """

    def __init__(self, ops: Iterable[Any], size: Callable[[Any], int],
                 workspace: Callable[[Any], int] = lambda op: 0,
                 again: Optional[Again] = None):
        """Begin with nothing in use.

        Args:
          ops: all that the device is going to run.
          size: bytes of a tensor.
          workspace: bytes that an operation needs beside its inputs and outputs while it runs.
          again: what is computed again for some of them; None: nothing.
        """
        self._members = set(ops)
        self._size, self._workspace, self._again = size, workspace, again or Again({}, set())
        read = [(op, t) for op in self._members for t in op.inputs]
        self._uses = collections.Counter(
            t.name for op, t in read if not self._again.concerns(op, t))
        self._later = collections.Counter(
            self._again.tensors[t.name][0].name for op, t in read if self._again.concerns(op, t))
        self._constant: Dict[Any, bool] = {}
        self._memory: Dict[str, Optional[str]] = {}  # tensor -> whose memory it is in
        self._readers: Dict[str, int] = collections.Counter()  # of such memory, still to run
        self._bytes: Dict[str, int] = {}
        self.in_use = 0

    def run(self, ops: Collection[Any]) -> int:
        """Run some of the operations; what they read of others is received before.

        Returns:
          The most bytes that were in use at a time.
        """
        peak = self.in_use
        for op in _as_they_get_ready(ops):
            for tensor in op.inputs:
                if self._again.concerns(op, tensor):
                    self._compute_again(tensor)
                elif tensor.op not in self._members and tensor.name not in self._memory:
                    self._give(tensor, None)
            for tensor in op.outputs:
                self._give(tensor, op)
            peak = max(peak, self.in_use + self._workspace(op))
            for tensor in op.inputs:
                self._release(self._again.place(tensor) if self._again.concerns(op, tensor)
                              else self._memory.get(tensor.name))
            for tensor in op.outputs:
                self._release(self._memory[tensor.name])
        return peak

    def receive(self, tensors: Iterable[Any]) -> None:
        """Let tensors of others be there before an operation asks for them."""
        for tensor in tensors:
            if self._uses[tensor.name]:
                self._give(tensor, None)

    def _compute_again(self, tensor: Any) -> None:
        """Let all be there that is computed again with a tensor."""
        _, segment = self._again.tensors[tensor.name]
        for source in self._again.segments.pop(segment, ()):
            place = self._again.place(source)
            self._readers[place] = self._later[source.name]
            if self._readers[place]:
                self._bytes[place] = self._size(source)
                self.in_use += self._bytes[place]

    def _give(self, tensor: Any, op: Optional[Any]) -> None:
        """Memory for a tensor; `op`, which gives it, is one of its readers until it has run."""
        place = self._place(tensor, op)
        self._memory[tensor.name] = place
        if place is not None:
            self._readers[place] += self._uses[tensor.name] + (op is not None)

    def _place(self, tensor: Any, op: Optional[Any]) -> Optional[str]:
        """Whose memory a tensor is in; None for none that counts."""
        if compat.is_ref(tensor) or tensor.dtype in (tf.resource, tf.variant) \
                or self._is_constant(tensor.op):
            return None
        if tensor.op.type == "ReadVariableOp":
            return None
        if op is not None:
            if op.type in _VIEWS and op.inputs:
                return self._memory.get(op.inputs[0].name)
            size = self._size(tensor)
            for before in op.inputs if op.type in _IN_PLACE else ():
                place = self._memory.get(before.name)
                if place is not None and self._readers[place] == 1 and self._bytes[place] == size:
                    return place
        self._bytes[tensor.name] = self._size(tensor)
        self.in_use += self._bytes[tensor.name]
        return str(tensor.name)

    def _release(self, place: Optional[str]) -> None:
        if place is None:
            return
        self._readers[place] -= 1
        if not self._readers[place]:
            self.in_use -= self._bytes[place]

    def _is_constant(self, op: Any) -> bool:
        """True if the graph optimizer computes `op` before anything runs."""
        if op not in self._constant:
            self._constant[op] = op.type == "Const" or (
                bool(op.inputs) and not op.control_inputs and op.op_def is not None
                and not op.op_def.is_stateful
                and sum(self._size(t) for t in op.outputs) < _MOST_FOLDED
                and all(self._constant.get(t.op, t.op.type == "Const") for t in op.inputs))
        return self._constant[op]


def computed(ends: Iterable[Any]) -> Set[Any]:
    """What runs for some operations: what they read, and what is waited for that does something.

    A value that is only waited for (TensorFlow's gradients make such edges, between the two
    gradients of a product) is not computed: the graph optimizer sees to that.
    """
    found: Set[Any] = set()
    pending = list(ends)
    while pending:
        op = pending.pop()
        if op not in found:
            found.add(op)
            pending.extend(t.op for t in op.inputs)
            pending.extend(c for c in op.control_inputs if _does_something(c))
    return found


def _does_something(op: Any) -> bool:
    return not op.outputs or op.op_def is None or op.op_def.is_stateful \
        or any(compat.is_ref(t) for t in op.inputs)


def _as_they_get_ready(ops: Collection[Any]) -> List[Any]:
    """`ops` in the order in which an executor with one thread runs them; a loop's once."""
    members = set(ops)
    missing, followers = {}, collections.defaultdict(list)
    ordered = sorted(members, key=compat.op_id)
    for op in ordered:
        before = [t.op for t in op.inputs if t.op.type not in ("NextIteration", "RefNextIteration")]
        before = [b for b in before + list(op.control_inputs) if b in members]
        missing[op] = len(before)
        for each in before:
            followers[each].append(op)
    ready: Deque[Any] = collections.deque(op for op in ordered if not missing[op])
    found = []
    while ready:
        op = ready.popleft()
        found.append(op)
        for follower in followers[op]:
            missing[follower] -= 1
            if not missing[follower]:
                ready.append(follower)
    return found
