# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where workers hold a replica together, every operation says on which of them it is.

What belongs to a stage has its device already. The rest TensorFlow would put anywhere on these
workers:

    colocated with what has a worker, or works in place on it    stays with it
    read by the operations of one worker alone, without state    is there too
    all other                                                    is with the leader

So the arithmetic of an optimizer is where its variable is, and the input pipeline, counters and
savers are with the leader.
"""

from typing import Any, Dict, Iterable, List, Set

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
        self._of: Dict[Any, str] = {}  # of a group, by its first operation
        self._bound: Set[Any] = set()

    def take(self) -> None:
        """Give each operation its worker."""
        for op in self._ops:
            for other in _bound(op):
                self._join(op, other)
        for op in self._ops:
            seat = _worker(op.device)
            if seat:
                self._of[self._root(op)] = seat
        for op in reversed(self._ops):
            if op not in self._bound and op not in self._of:
                self._of[op] = self._of_readers(op)
        for op in self._ops:
            if not _worker(op.device):
                seat = self._of.get(self._root(op), self._leader)
                editor.put_on(op, seat + _within(op.device))

    def _of_readers(self, op: Any) -> str:
        """The worker that all readers of `op` are on; the leader if there are several, or none."""
        if op_traits.is_stateful(op) or compat.control_flow_context(op) is not None:
            return self._leader
        found = {self._of.get(self._root(reader)) or _worker(reader.device) or self._leader
                 for tensor in op.outputs for reader in tensor.consumers()}
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


def _bound(op: Any) -> Iterable[Any]:
    """What TensorFlow wants on the same device as `op`."""
    return compat.colocated_with(op) + [t.op for t in op.inputs if op_traits.is_handle(t)]


def _worker(device: str) -> str:
    """The worker in a device's name; "" if there is none."""
    return device.partition("/device:")[0] if "/job:" in device else ""


def _within(device: str) -> str:
    """The part of a device's name that says which of a worker's it is."""
    spec = tf.DeviceSpec.from_string(device)
    return "" if spec.device_type is None else "/device:{}:{}".format(
        spec.device_type, spec.device_index if spec.device_index is not None else "*")
