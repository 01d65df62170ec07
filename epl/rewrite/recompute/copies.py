# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Copies of forward operations, for the backward pass to read.

    segment 0                segment 1
    a --> b --> c            d --> e --> f        the script's
          |     kept               |     kept
          B0                       B1             reads of the backward pass, before
    a' -> b' -> B0           d' -> e' -> B1       now
    ^                        ^
    +-- end of B1, and c     +-- end of what is behind, and f

What a copy waits for is a `NoOp` with control edges from the end of the backward pass of the
segment behind, as far as this does not need the copies itself. Without these edges the copies would
run with the forward pass, or TensorFlow's graph optimizer would take them for what they are copies
of.
"""

from typing import Any, Dict, List, NamedTuple, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.provenance import Provenance
from epl.rewrite import loops, op_traits
from epl.rewrite.recompute.forward import Forward, source_of
from epl.rewrite.recompute.kept import Kept


class Copies(NamedTuple):
    """What was made for the backward pass of a group.

    Attributes:
      copies: forward operation -> its copy.
      waiting: what a segment waits for -> the copies that it begins with.
    """

    copies: Dict[Any, Any]
    waiting: Dict[Any, List[Any]]


class Builder:
    """Builds the copies of one group."""

    def __init__(self, graph: Any, provenance: Provenance, scope: str, forward: Forward,
                 kept: Kept, stages: Dict[Any, int], updates: Dict[Any, List[Any]]):
        """Prepare to build.

        Args:
          graph: the script's graph.
          provenance: where each operation comes from.
          scope: absolute name scope of what is added.
          forward: the forward pass.
          kept: what is kept of it.
          stages: stage of each of its operations.
          updates: variable -> operations that hand on gradients of it that are others' than these.
        """
        self._graph, self._provenance, self._scope = graph, provenance, scope
        self._forward, self._kept, self._stages = forward, kept, stages
        self._updates = updates
        self._snapshots: Dict[str, Any] = {}
        self._segment = {op: kept.segment_of(forward.place_of(op)) for op in forward.backward}
        # What is behind the last cut needs these at once.
        self._held = {read.tensor.name for read in forward.reads
                      if self._segment[read.reader] == len(kept.cuts)}
        self.made = Copies({}, {})

    def build(self) -> Copies:
        """Copy what the backward pass needs again, and let it read that."""
        segments: Dict[int, List[Any]] = {}
        found = self._needed()
        for op in self._forward.ops:
            if op in found:
                segments.setdefault(found[op], []).append(op)
        for number in sorted(segments, reverse=True):  # a copy may read those of later segments
            self._copy(number, segments[number])
        for read in self._forward.reads:
            if self._is_repeated(read.tensor):
                editor.replace_input(read.reader, read.tensor, self._copy_of(read.tensor))
        for number in sorted(segments, reverse=True):
            self._let_wait(number, segments[number])
        return self.made

    def _needed(self) -> Dict[Any, int]:
        """Operations to copy -> the segment whose backward pass first needs them."""
        found: Dict[Any, int] = {}
        pending = [(read.tensor, self._segment[read.reader]) for read in self._forward.reads]
        while pending:
            tensor, number = pending.pop()
            if self._is_repeated(tensor) and found.get(tensor.op, -1) < number:
                found[tensor.op] = number
                pending.extend((t, number) for t in tensor.op.inputs)
        return found

    def _is_repeated(self, tensor: Any) -> bool:
        return tensor.op in self._kept.repeated and tensor.name not in self._kept.tensors \
            and tensor.name not in self._held and self._forward.can_repeat(tensor.op)

    def _copy_of(self, tensor: Any) -> Any:
        """What a copy reads in place of `tensor`."""
        if self._is_repeated(tensor):
            return self.made.copies[tensor.op].outputs[tensor.value_index]
        updates = self._updates.get(op_traits.aliased_variable(source_of(tensor)))
        return self._snapshot(tensor, updates) if updates else tensor

    def _snapshot(self, tensor: Any, updates: List[Any]) -> Any:
        """What `tensor` is before the variable, whose memory it is, is changed in place.

        Who changes it after other gradients cannot wait for copies that these have nothing to do
        with, and that it would let run.
        """
        if tensor.name not in self._snapshots:
            first = compat.last_id(self._graph) + 1
            with compat.inserted(self._graph, "{}/recompute/kept/{}".format(
                    self._scope, tensor.name.replace(":", "_"))), tf.device(tensor.device or None):
                self._snapshots[tensor.name] = tf.raw_ops.DeepCopy(x=tensor)
            self._provenance.adopt(first, compat.last_id(self._graph), self._stages[tensor.op])
            for update in updates:
                editor.wait_for(update, [self._snapshots[tensor.name].op])
        return self._snapshots[tensor.name]

    def _copy(self, number: int, ops: List[Any]) -> None:
        scope = "{}/recompute/segment_{}".format(self._scope, number)
        definition = tf.GraphDef()
        definition.versions.CopyFrom(self._graph.graph_def_versions)
        members, feeds = set(ops), {}
        for op in ops:
            node = definition.node.add()
            node.CopyFrom(op.node_def)
            node.attr.pop("_class", None)  # names the original; the device says where a copy is
            del node.input[:]
            for tensor in op.inputs:
                key = tensor.name if tensor.value_index else tensor.op.name
                if tensor.op not in members or not self._is_repeated(tensor):
                    key = "outside/" + key
                    feeds[key] = self._copy_of(tensor)
                node.input.append(key)
        first = compat.last_id(self._graph) + 1
        with compat.inserted(self._graph, self._scope), \
                compat.plain_imports(self._graph, [scope + "/" + op.name for op in ops]):
            tf.import_graph_def(definition, feeds, name=scope + "/")
        self.made.copies.update((op, self._graph.get_operation_by_name(scope + "/" + op.name))
                                for op in ops)
        self._provenance.adopt(first, compat.last_id(self._graph), self._stages[ops[-1]])

    def _let_wait(self, number: int, ops: List[Any]) -> None:
        """Let the copies of a segment wait for the backward pass of the one behind it."""
        own = {self.made.copies[op] for op in ops}
        entries = [self.made.copies[op] for op in ops
                   if not any(t.op in own for t in self.made.copies[op].inputs)]
        ends = self._ends_behind(number, own)
        first = compat.last_id(self._graph) + 1
        with compat.inserted(self._graph, "{}/recompute".format(self._scope)):
            barrier = tf.no_op("before_segment_{}".format(number))
        self._provenance.adopt(first, compat.last_id(self._graph), self._stages[ops[-1]])
        editor.wait_for(barrier, ends)
        for entry in entries:
            editor.wait_for(entry, [barrier])
        self.made.waiting[barrier] = entries

    def _ends_behind(self, number: int, own: Set[Any]) -> List[Any]:
        """What ends the backward pass of the next segment that has one, and the forward pass."""
        after = self._after(own)
        behind = [op for op in self._forward.backward if self._segment[op] > number
                  and op not in after and self._forward.may_be_awaited(op)]
        nearest = min([self._segment[op] for op in behind] or [0])
        successors = loops.successors(op for op in behind if self._segment[op] == nearest)
        found = [op for op, users in successors.items() if not users]
        at_cut = self._forward.ops[self._kept.cuts[number]]
        if self._forward.may_be_awaited(at_cut):
            found.append(at_cut)
        return found

    def _after(self, ops: Set[Any]) -> Set[Any]:
        """What depends on `ops`, of all that the gradients are computed by."""
        within = set(self._forward.backward).union(self.made.copies.values(), self.made.waiting)
        found, pending = set(ops), list(ops)
        while pending:
            op = pending.pop()
            for user in [u for t in op.outputs for u in t.consumers()] + compat.control_outputs(op):
                if user in within and user not in found:
                    found.add(user)
                    pending.append(user)
        return found
