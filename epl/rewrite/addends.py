# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a loss is added up from: scripts print these as well.

    loss = cross_entropy + 0.1 * distance + decay       cross_entropy, distance
    loss of the whole batch = those of the whole batch, added up in the same way

A loss is averaged over the parts of a batch, or what stands for it (see `loss_record`), so that the
average is that of the whole batch; as it is linear in what it is added up from, so are these.
"""

from typing import Any, Callable, Iterator, List, Tuple

from epl.ir.feeds import PLACEHOLDERS
from epl.ir.graph_state import GraphState
from epl.rewrite.groups import GradientGroup, sources_of
from epl.rewrite.registered import is_number

_ADDS = frozenset(["Add", "AddN", "AddV2", "Identity", "Neg", "Sub"])
_SCALES = {"Mul": (0, 1), "Div": (0,), "RealDiv": (0,)}  # which inputs may be what is scaled


def addends(loss: Any, averaged: Any, group: GradientGroup,
            state: GraphState) -> List[Tuple[Any, Any]]:
    """(number that `loss` is added up from, what is averaged for it), `loss` not among them.

    Args:
      loss: a tensor that `group` differentiates.
      averaged: what is averaged over the parts of a batch for it.
      group: whose gradients it has.
      state: the graph's record.
    """
    found, pending = {}, [(loss, averaged)]

    def of_batch(tensor: Any) -> bool:
        if group.partition is not None:
            return tensor.op in group.partition.batch_dependent
        return any(op.type not in PLACEHOLDERS or op.outputs[0].shape.ndims != 0
                   for op in sources_of([tensor], state))

    while pending:
        for one, other in _taken(*pending.pop(), of_batch):
            if one.name not in found and is_number(one) and of_batch(one):
                found[one.name] = one, other
                pending.append((one, other))
    found.pop(loss.name, None)
    return [found[name] for name in sorted(found)]


def _taken(one: Any, other: Any, of_batch: Callable[[Any], bool]) -> Iterator[Tuple[Any, Any]]:
    """Inputs in which `one` is linear, and those of `other`, which is computed in the same way."""
    inputs, others = list(one.op.inputs), list(other.op.inputs)
    if one.op.type != other.op.type or len(inputs) != len(others):
        return
    if one.op.type in _ADDS:
        yield from zip(inputs, others)
    for place in _SCALES.get(one.op.type, ()):
        rest = 1 - place
        if inputs[rest] is others[rest] and not of_batch(inputs[rest]):
            yield inputs[place], others[place]
