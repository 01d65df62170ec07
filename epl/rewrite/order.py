# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `order`: control edges make every device run its cells in the order of the plan.

A cell is one phase of one micro-batch on one stage. Of two cells that follow each other on a device

    ... exits of F1 --> [after F1] --> entries of B0 ...

the second begins when the first has ended. Within a cell nothing is ordered. The first cell of
every device is the forward pass of micro-batch 0, so that running the script's own forward
operations alone, outside a training step, waits for nothing.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.plan.parallel_plan import ParallelPlan
from epl.plan.schedule import BACKWARD
from epl.rewrite import loops
from epl.rewrite.anatomy import Anatomy
from epl.rewrite.clones import CloneId, Copies


class Cell(NamedTuple):
    """What a device runs at a time (all numbers 0-based)."""

    replica: int
    stage: int
    phase: str
    micro_batch: int

    def describe(self) -> str:
        return "replica_{}/stage_{}/{}_{}".format(
            self.replica, self.stage, self.phase, self.micro_batch)


class Edge(NamedTuple):
    """A control edge that makes `after` wait for `barrier`."""

    barrier: Any
    after: Any


class Order(NamedTuple):
    """What makes the cells run one after the other.

    Attributes:
      edges: the control edges that were added.
      ends: (clone, stage) -> an operation that runs when the clone's backward cell has ended.
    """

    edges: List[Edge]
    ends: Dict[Tuple[CloneId, int], Any]


class _Borders(NamedTuple):
    """Where a cell begins and ends, as operations of the script."""

    entries: List[Any]
    exits: List[Any]


def order_cells(graph: Any, anatomy: Anatomy, copies: Copies, plan: ParallelPlan, worker: int,
                scope: str) -> Order:
    """Make every device of this worker run its cells one after the other.

    Args:
      graph: the script's graph.
      anatomy: what the step consists of.
      copies: the clones.
      plan: gives the order.
      worker: rank of this worker.
      scope: name scope of what is added.

    Returns:
      What was added.
    """
    borders = _borders(anatomy)
    order = Order([], {})
    for replica in plan.replicas_of(worker):
        for stage in range(plan.num_stages):
            for pieces in _slices_by_device(plan, replica, stage):
                _order_device(graph, borders, copies, plan, (replica, stage), pieces, scope, order)
    return order


def _order_device(graph: Any, borders: Dict[Tuple[str, int], _Borders], copies: Copies,
                  plan: ParallelPlan, place: Tuple[int, int], pieces: List[int], scope: str,
                  order: Order) -> None:
    replica, stage = place
    barrier = None
    for task in plan.tasks(stage):
        cell = borders.get((task.phase, stage))
        if cell is None:
            continue
        clones = [CloneId(replica, task.micro_batch, piece) for piece in pieces]
        if barrier is not None:
            for entry in (copies.op(op, clone) for clone in clones for op in cell.entries):
                entry._add_control_input(barrier)
                order.edges.append(Edge(barrier, entry))
        exits = [copies.op(op, clone) for clone in clones for op in cell.exits]
        name = Cell(replica, stage, task.phase, task.micro_batch).describe()
        with compat.inserted(graph, "{}/after/{}".format(scope, name)), \
                tf.device(exits[0].device if exits else None), tf.control_dependencies(exits):
            barrier = tf.no_op("slice_{}".format(pieces[0]) if plan.num_slices > 1 else "end")
        if task.phase == BACKWARD:
            order.ends.update({(clone, stage): barrier for clone in clones})


def _slices_by_device(plan: ParallelPlan, replica: int, stage: int) -> List[List[int]]:
    """The slices that each device of a stage runs."""
    found: Dict[Any, List[int]] = {}
    for piece in range(plan.num_slices):
        found.setdefault(plan.device_of(replica, stage, piece), []).append(piece)
    return list(found.values())


def _borders(anatomy: Anatomy) -> Dict[Tuple[str, int], _Borders]:
    """The borders of the cells, by phase and stage."""
    found: Dict[Tuple[str, int], _Borders] = {}
    cells = {op: (phase, anatomy.stage[op]) for op, phase in anatomy.phase.items()}
    for op in sorted(cells, key=lambda op: op._id):
        cell = cells[op]
        borders = found.setdefault(cell, _Borders([], []))
        before = [t.op for t in op.inputs] + list(op.control_inputs)
        if not any(cells.get(b) == cell for b in before) and _may_be_entered(op, anatomy):
            borders.entries.append(op)
        if _may_be_awaited(op, anatomy) and not any(
                cells.get(user) == cell and _may_be_awaited(user, anatomy)
                for user in anatomy.following[op]):
            borders.exits.append(op)
    return found


def _may_be_entered(op: Any, anatomy: Anatomy) -> bool:
    """Nothing but an Enter may get an edge from outside of its loop."""
    return op not in anatomy.loop or loops.is_enter(op)


def _may_be_awaited(op: Any, anatomy: Anatomy) -> bool:
    """Edges may leave a loop at its Exits only; the untaken branch of a `tf.cond` never ends."""
    if op in anatomy.loop:
        return loops.is_exit(op)
    return op not in anatomy.conditional
