# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where workers hold a replica together, every operation says on which of them it is.

What belongs to a stage has its device already. The rest TensorFlow would put anywhere on these
workers:

    works in place on what has a worker, or is colocated with it    is with it
    is read by the operations of one worker alone, without state    is there too
    all other                                                       is with the leader

So the arithmetic of an optimizer is where its variable is, and the input pipeline, counters and
savers are with the leader.
"""

from typing import Any, Dict, List, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.place import Devices


class _Taken:
    """Up to which operation a graph has seats: its number."""

    def __init__(self) -> None:
        self.last_id = 0


def take(graph: Any, state: GraphState) -> None:
    """Give the operations of `graph` that are new since the last call a worker each."""
    devices, taken = state.find(Devices), state.record(_Taken)
    if devices is None or not devices.leader:
        return
    ops = compat.operations_from(graph, taken.last_id + 1)
    with editor.working(graph, "seats"):
        _Seats(ops, devices.leader).take()
    taken.last_id = compat.last_id(graph)


class _Seats:
    """The workers of operations."""

    def __init__(self, ops: List[Any], leader: str):
        self._ops, self._leader = ops, leader
        self._first: Dict[Any, Any] = {}
        self._of: Dict[Any, str] = {}  # of what works on the same state, by one of them
        self._bound: Set[Any] = set()

    def take(self) -> None:
        """Give each operation its worker."""
        self._find_state()
        for op in self._ops:
            if _worker(op.device):
                self._of[self._root(op)] = _worker(op.device)
        while any([self._follows(op) for op in self._ops]):
            pass
        for op in reversed(self._ops):
            if op not in self._bound and op not in self._of:
                self._of[op] = self._of_readers(op)
        for op in self._ops:
            if not _worker(op.device):
                editor.put_on(op, self._seat(op) + _within(op.device))
            if any(self._seat(other) != self._seat(op) for other in compat.colocated_with(op)):
                editor.forget_colocation(op)

    def _find_state(self) -> None:
        """Join what works on the same state, which TensorFlow wants in one place."""
        for op in self._ops:
            for tensor in op.inputs:
                if tensor.dtype == tf.resource or (
                        compat.is_ref(tensor) and op_traits.takes_reference(op)):
                    self._join(op, tensor.op)

    def _seat(self, op: Any) -> str:
        return self._of.get(self._root(op)) or _worker(op.device) or self._leader

    def _follows(self, op: Any) -> bool:
        """True if `op` has got the worker of what it is colocated with, and had none before."""
        others = compat.colocated_with(op)
        self._bound.update([op] if others else [])
        root = self._root(op)
        found = next((each for each in (
            self._of.get(self._root(other)) or _worker(other.device) for other in others)
            if each), "") if root not in self._of else ""
        if found:
            self._of[root] = found
        return bool(found)

    def _of_readers(self, op: Any) -> str:
        """The worker that all readers of `op` are on; the leader if there are several, or none."""
        if op_traits.is_stateful(op) or compat.control_flow_context(op) is not None:
            return self._leader
        found = {self._seat(reader) for tensor in op.outputs for reader in tensor.consumers()}
        return found.pop() if len(found) == 1 else self._leader

    def _join(self, one: Any, other: Any) -> None:
        self._bound.update((one, other))
        one, other = self._root(one), self._root(other)
        if one is not other:
            self._first[one] = other

    def _root(self, op: Any) -> Any:
        while self._first.get(op, op) is not op:
            self._first[op] = self._first.get(self._first[op], self._first[op])
            op = self._first[op]
        return op


def _worker(device: str) -> str:
    """The worker in a device's name; "" if there is none."""
    return device.partition("/device:")[0] if "/job:" in device else ""


def _within(device: str) -> str:
    """The part of a device's name that says which of a worker's it is."""
    spec = tf.DeviceSpec.from_string(device)
    return "" if spec.device_type is None else "/device:{}:{}".format(
        spec.device_type, spec.device_index if spec.device_index is not None else "*")
