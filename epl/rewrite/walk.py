# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Walks over a graph's edges, data and control."""

from typing import Any, Container, Iterable, Set


def ancestors(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """`ops` and every operation that they depend on; the walk does not look behind `ends`."""
    seen = set(ops)
    stack = list(seen)
    while stack:
        op = stack.pop()
        if op in ends:
            continue
        for source in [tensor.op for tensor in op.inputs] + list(op.control_inputs):
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return seen


def data_ancestors(ops: Iterable[Any], ends: Container[Any] = ()) -> Set[Any]:
    """As `ancestors`, along data edges alone."""
    seen = set(ops)
    stack = list(seen)
    while stack:
        op = stack.pop()
        if op in ends:
            continue
        for tensor in op.inputs:
            if tensor.op not in seen:
                seen.add(tensor.op)
                stack.append(tensor.op)
    return seen


def descendants(ops: Iterable[Any]) -> Set[Any]:
    """`ops` and every operation that depends on them."""
    seen = set(ops)
    stack = list(seen)
    while stack:
        op = stack.pop()
        users = [user for tensor in op.outputs for user in tensor.consumers()]
        for user in users + list(op._control_outputs):
            if user not in seen:
                seen.add(user)
                stack.append(user)
    return seen
