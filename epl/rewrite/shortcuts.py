# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Branches that the batch decides about, and that come to the same.

    cond(time < min(lengths), new, select(time >= lengths, old, new))

If no row's sequence has ended, the second branch is the first one, row by row: a part of the batch
may go another way than the whole. So `tf.nn.static_rnn` and its like spare a selection.
"""

from typing import Any, Optional, Tuple

import tensorflow.compat.v1 as tf

# What hands on its first input as it is, or as another type of number.
_ALIKE = frozenset(["Cast", "Enter", "Identity", "RefSwitch", "Switch"])
# Comparisons, and what they are called with their sides changed.
_TURNED = {"Greater": "Less", "LessEqual": "GreaterEqual"}
_OF_ALL = {"Less": "Min", "GreaterEqual": "Max"}
_SELECTS = frozenset(["Select", "SelectV2"])


def is_shortcut(condition: Any) -> bool:
    """True for a condition that says of all rows what a selection in a branch asks each row."""
    kind, number, extremum = _compared(_origin(condition).op)
    reduced = None if extremum is None else _origin(extremum).op
    if reduced is None or reduced.type != _OF_ALL.get(kind):
        return False
    lengths = _origin(reduced.inputs[0])
    return any(_asks(user, number, lengths) for user in _users(lengths))


def _asks(op: Any, number: Any, lengths: Any) -> bool:
    """True for `number >= lengths`, of which a selection of rows depends."""
    kind, left, right = _compared(op)
    return (kind == "GreaterEqual" and _same(left, number) and _origin(right) is lengths
            and any(user.type in _SELECTS and _origin(user.inputs[0]).op is op
                    for user in _users(op.outputs[0])))


def _compared(op: Any) -> Tuple[str, Any, Any]:
    """(kind, left, right) of a comparison, as "Less" or "GreaterEqual" if it can be told so."""
    if op.type in _TURNED:
        return _TURNED[op.type], op.inputs[1], op.inputs[0]
    return (op.type, op.inputs[0], op.inputs[1]) if op.type in _OF_ALL else ("", None, None)


def _same(one: Any, other: Any) -> bool:
    first, second = _number(one), _number(other)
    return _origin(one) is _origin(other) or (first is not None and first == second)


def _number(tensor: Any) -> Optional[float]:
    value = tf.get_static_value(_origin(tensor))
    return float(value) if value is not None and value.ndim == 0 else None


def _origin(tensor: Any) -> Any:
    while tensor.op.type in _ALIKE:
        tensor = tensor.op.inputs[0]
    return tensor


def _users(tensor: Any) -> Any:
    """The operations that take `tensor`, in branches as well."""
    found, pending = [], [tensor]
    for value in pending:  # grows
        for user in value.consumers():
            found.append(user)
            if user.type in _ALIKE and user.inputs[0] is value:
                pending.extend(user.outputs)
    return found
