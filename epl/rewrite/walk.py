# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Walks over a graph's edges, data and control."""

from typing import Any, Callable, Container, Dict, Iterable, List, Set

from epl import compat
from epl.ir import static_shapes


def ancestors(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """`ops` and every operation that they depend on; the walk does not look behind `ends`."""
    return _walk(ops, lambda op: _inputs(op) + list(op.control_inputs), ends)


def counted_ancestors(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """As `ancestors`, and what constants stand for that count it."""
    return _walk(ops, lambda op: _inputs(op) + list(op.control_inputs) + _counted(op), ends)


def data_ancestors(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """As `ancestors`, along data edges alone."""
    return _walk(ops, _inputs, ends)


def value_ancestors(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """As `data_ancestors`, and what decides whether an operation in a v1 `tf.cond` runs at all."""
    return _walk(ops, lambda op: _inputs(op) + _predicates(op), ends)


def descendants(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """`ops` and every operation that depends on them; the walk does not look behind `ends`."""
    return _walk(ops, lambda op: _consumers(op) + list(compat.control_outputs(op)), ends)


def data_descendants(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """As `descendants`, along data edges alone; the walk does not look behind `ends`."""
    return _walk(ops, _consumers, ends)


def value_descendants(ops: Iterable[Any], within: Set[Any]) -> Set[Any]:
    """`ops` and those of `within` whose `value_ancestors` they are."""
    successors: Dict[Any, List[Any]] = {}
    for op in within:
        for before in _inputs(op) + _predicates(op):
            successors.setdefault(before, []).append(op)
    return _walk(ops, lambda op: successors.get(op, []))


def _inputs(op: Any) -> List[Any]:
    return [tensor.op for tensor in op.inputs]


def _counted(op: Any) -> List[Any]:
    """What the constant `op` is the shape of."""
    found = static_shapes.behind(op)
    return [] if found is None else [found.tensor.op]


def _predicates(op: Any) -> List[Any]:
    """What decides whether `op` runs; a variable that is made in a branch is there anyway."""
    found: List[Any] = []
    if op.type in ("Variable", "VariableV2", "VarHandleOp"):
        return found
    context = compat.inner_context(op)
    while context is not None:
        if context.IsCondContext():
            found.append(context.pred.op)
        context = context.outer_context
    return found


def decisions(op: Any) -> List[Any]:
    """What decides which of its inputs `op` hands on, if it is where branches meet again."""
    if op.type not in ("Merge", "RefMerge"):
        return []
    contexts = [compat.control_flow_context(t.op) for t in op.inputs]
    decided = [context.pred for context in contexts[:1] if context is not None
               and context.IsCondContext()]
    # An identity made for branches that take nothing else leads nowhere.
    return [t.op.inputs[0] if t.op.type == "Identity" else t for t in decided]


def _consumers(op: Any) -> List[Any]:
    return [user for tensor in op.outputs for user in tensor.consumers()]


def _walk(ops: Iterable[Any], neighbours: Callable[[Any], List[Any]],
          ends: Container[Any] = ()) -> Set[Any]:
    seen = set(ops)
    stack = list(seen)
    while stack:
        op = stack.pop()
        if op in ends:
            continue
        for neighbour in neighbours(op):
            if neighbour not in seen:
                seen.add(neighbour)
                stack.append(neighbour)
    return seen
