# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A backward pass in two halves: what the stage before waits for, and the rest.

    stage 1   dy --> [dx] --> ............ to stage 0      input gradients: something of a stage
               +---> [dw]   to the script                  before is computed from them
                                                           weight gradients: nothing is

The first stage has no input gradients: nobody is before it.
"""

from typing import Any, Dict, Iterable, List, Set

from epl import compat
from epl.errors import RewriteError
from epl.ir import editor
from epl.ir.provenance import Provenance
from epl.plan.action import BACKWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import loops
from epl.rewrite.partition import StepPartition


def untie(ops: Iterable[Any], provenance: Provenance) -> int:
    """Let gradients wait for no other gradients of the same operation.

    TensorFlow lets what it hands on of an operation's gradients wait until all of them have been
    computed, so that none is late: dx for dw, too.

    Args:
      ops: operations of the script.
      provenance: where they come from.

    Returns:
      How many waits are gone.
    """
    found = 0
    for op in sorted(ops, key=compat.op_id):
        needed = _waited_for(op, provenance)
        needless = set(op.control_inputs).difference(needed)
        if needless:
            editor.wait_no_longer(op, needless)
            editor.wait_for(op, [each for each in needed if each not in op.control_inputs])
            found += 1
    return found


def _waited_for(op: Any, provenance: Provenance) -> List[Any]:
    """What `op` waits for, beside its inputs, if it is to wait for no gradient without need."""
    if op.type != "Identity" or not provenance.is_gradient(op) \
            or compat.control_flow_context(op) is not None:
        return list(op.control_inputs)
    found: List[Any] = []
    for before in op.control_inputs:
        if before.type == "NoOp" and provenance.is_gradient(before):
            found.extend(c for c in before.control_inputs if not _is_value(c, provenance))
        else:
            found.append(before)
    return found


def _is_value(op: Any, provenance: Provenance) -> bool:
    """True for a gradient that does nothing but give its value."""
    return bool(op.outputs) and provenance.is_gradient(op) and not op.op_def.is_stateful


def in_halves(partition: StepPartition, plan: ParallelPlan,
              provenance: Provenance) -> StepPartition:
    """`partition`, with two phases instead of a backward where the plan has them."""
    split = [stage for stage in range(plan.num_stages) if plan.splits_backward(stage)]
    if not split:
        return partition
    by_stage: Dict[int, Set[Any]] = {stage: set() for stage in range(plan.num_stages)}
    for op, kind in partition.phase.items():
        if kind == BACKWARD:
            by_stage[partition.stage[op]].add(op)
    in_loop = loops.members(partition.loop)
    phase = dict(partition.phase)
    for stage in split:
        first: Set[Any] = set()
        pending = [op for earlier in range(stage) for op in by_stage[earlier]]
        while pending:
            op = pending.pop()
            for before in [t.op for t in op.inputs] + _waited_for(op, provenance):
                if before in by_stage[stage] and before not in first:
                    loop = in_loop.get(partition.loop.get(before, ""), [before])  # as a whole
                    together = by_stage[stage].intersection(loop)
                    first |= together
                    pending.extend(together)
        for op in by_stage[stage]:
            phase[op] = INPUT_GRADIENTS if op in first else WEIGHT_GRADIENTS
    return partition._replace(phase=phase)


def verify_halves(partition: StepPartition) -> None:
    """Nothing of a first half waits for a second one."""
    for op, kind in partition.phase.items():
        for before in [t.op for t in op.inputs] + list(op.control_inputs):
            if kind != WEIGHT_GRADIENTS and partition.phase.get(before) == WEIGHT_GRADIENTS:
                raise RewriteError("{} ({}) waits for {}, which is put off".format(
                    op.name, kind, before.name))
