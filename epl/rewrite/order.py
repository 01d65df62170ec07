# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `order`: control edges make every device run its cells in the order of the plan.

A cell is one phase of one micro-batch on one stage. Of two cells that follow each other on a device

    ... exits of F1 --> [after F1] --> entries of B0 ...

the second begins when the first has ended. Within a cell nothing is ordered. The first cell of
every device is the forward pass of micro-batch 0, so that running the script's own forward
operations alone, outside a training step, waits for nothing.

What may be awaited (a branch that is not taken never ends, a Switch always does):

    pred --> Switch --> one branch -->+
                   +--> the other --> Merge -->
     yes      no            no         yes

Nothing waits for a Switch, though it might: TensorFlow's graph optimizer makes constants of a
predicate behind the Switch that holds it, and with a control edge out of that Switch it does so
twice, ties a knot, and leaves the branch's constants without what kept them from running.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.plan.parallel_plan import ParallelPlan
from epl.plan.schedule import BACKWARD
from epl.rewrite import kinds, loops
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


class CellEnd(NamedTuple):
    """The end of a backward cell.

    Attributes:
      ended: an operation that runs when the cell has ended.
      released: one that runs after it; the next cell of the device waits for it. What uses up the
        cell's gradients is put between the two, so that they do not pile up.
    """

    ended: Any
    released: Any


class Order(NamedTuple):
    """What makes the cells run one after the other.

    Attributes:
      edges: the control edges that were added.
      ends: (clone, stage) -> the end of the clone's backward cell.
      done: an operation that runs when all backward cells have ended.
    """

    edges: List[Edge]
    ends: Dict[Tuple[CloneId, int], CellEnd]
    done: Any


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
    ordering = _Ordering(graph, _borders(anatomy), copies, plan, scope)
    last = [ordering.add_device(replica, stage, pieces)
            for replica in plan.replicas_of(worker) for stage in range(plan.num_stages)
            for pieces in _slices_by_device(plan, replica, stage)]
    with compat.inserted(graph, scope + "/after"):
        done = tf.group(*[op for op in last if op is not None], name="all")
    return Order(ordering.edges, ordering.ends, done)


class _Ordering:
    """Orders the cells of one device after the other; `edges` and `ends` as in `Order`."""

    def __init__(self, graph: Any, borders: Dict[Tuple[str, int], _Borders], copies: Copies,
                 plan: ParallelPlan, scope: str):
        self._graph, self._borders, self._copies = graph, borders, copies
        self._plan, self._scope = plan, scope
        self.edges: List[Edge] = []
        self.ends: Dict[Tuple[CloneId, int], CellEnd] = {}

    def add_device(self, replica: int, stage: int, pieces: List[int]) -> Any:
        """Order the cells of a stage's slices on one device.

        Returns:
          What runs after the last backward cell, or None if there is none.
        """
        barrier = last = None
        for task in self._plan.tasks(stage):
            cell = self._borders.get((task.phase, stage))
            if cell is None:
                continue
            clones = [CloneId(replica, task.micro_batch, piece) for piece in pieces]
            if barrier is not None:
                for entry in self._of_clones(cell.entries, clones):
                    entry._add_control_input(barrier)
                    self.edges.append(Edge(barrier, entry))
            name = Cell(replica, stage, task.phase, task.micro_batch).describe()
            if self._plan.num_slices > 1:
                name += "/slice_{}".format(pieces[0])
            barrier = self._barrier(name + "/end", self._of_clones(cell.exits, clones))
            if task.phase == BACKWARD:
                end = CellEnd(barrier, self._barrier(name + "/released", [barrier]))
                self.ends.update({(clone, stage): end for clone in clones})
                last = barrier = end.released
        return last

    def _of_clones(self, ops: List[Any], clones: List[CloneId]) -> List[Any]:
        return [self._copies.op(op, clone) for clone in clones for op in ops]

    def _barrier(self, name: str, exits: List[Any]) -> Any:
        scope, _, last = "{}/after/{}".format(self._scope, name).rpartition("/")
        with compat.inserted(self._graph, scope), \
                tf.device(exits[0].device if exits else None), tf.control_dependencies(exits):
            return tf.no_op(last)


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
    """Only the Enters of an outermost loop may get an edge from outside of it."""
    return op not in anatomy.loop or (loops.is_enter(op) and op not in anatomy.inner)


def _may_be_awaited(op: Any, anatomy: Anatomy) -> bool:
    """Edges may leave a loop at the Exits of the outermost alone, and a `tf.cond` at its Merges."""
    if op in anatomy.conditional or kinds.is_switch(op):
        return False
    return op not in anatomy.loop or (loops.is_exit(op) and op not in anatomy.inner)
