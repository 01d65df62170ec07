# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `order`: control edges make every device run its actions in the order of the plan.

Of two actions that follow each other on a device

    ... exits of F1 --> [after F1] --> entries of B0 ...

the second begins when the first has ended. Within an action nothing is ordered. The forward pass of
micro-batch 0 begins as soon as its inputs are there: its operations are the script's own, which run
outside of a training step, too, and may wait for no others. It is the first thing that a device
does; on further stages of the device, what is next waits for it and for what was before it.

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
from epl.ir import editor
from epl.plan.action import FORWARD, KINDS, Action
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import loops, op_traits
from epl.rewrite.clones import CloneId, CloneMap
from epl.rewrite.partition import StepPartition


class Edge(NamedTuple):
    """A control edge that makes `after` wait for `barrier`."""

    barrier: Any
    after: Any


class ActionEnd(NamedTuple):
    """The end of a backward.

    Attributes:
      ended: an operation that runs when the backward has ended.
      released: one that runs after it; the next action of the device waits for it. What uses up the
        gradients is put between the two, so that they do not pile up.
      number: of the backwards of the device, in the order in which they run.
    """

    ended: Any
    released: Any
    number: int


class Order(NamedTuple):
    """What makes the actions run one after the other.

    Attributes:
      edges: the control edges that were added.
      ends: (clone, stage) -> the end of the clone's backward.
      done: an operation that runs when all backwards have ended.
    """

    edges: List[Edge]
    ends: Dict[Tuple[CloneId, int], ActionEnd]
    done: Any


class _Borders(NamedTuple):
    """Where an action begins and ends, as operations of the script."""

    entries: List[Any]
    exits: List[Any]


def order_actions(graph: Any, partition: StepPartition, copies: CloneMap, plan: ParallelPlan,
                  worker: int, scope: str) -> Order:
    """Make every device of this worker run its actions one after the other.

    Args:
      graph: the script's graph.
      partition: what the step consists of.
      copies: the clones.
      plan: gives the order.
      worker: rank of this worker.
      scope: name scope of what is added.

    Returns:
      What was added.
    """
    ordering = _Ordering(graph, _borders(partition), copies, plan, scope)
    last = [ordering.add_device([action._replace(replica=replica) for action in actions], pieces)
            for replica in plan.replicas_of(worker)
            for actions, column in zip(plan.actions, plan.columns)
            for pieces in _slices_by_device(plan, replica, column[0])]
    with compat.inserted(graph, scope + "/after"):
        done = tf.group(*[op for op in last if op is not None], name="all")
    return Order(ordering.edges, ordering.ends, done)


class _Ordering:
    """Orders the actions of one device after the other; `edges` and `ends` as in `Order`."""

    def __init__(self, graph: Any, borders: Dict[Tuple[str, int], _Borders], copies: CloneMap,
                 plan: ParallelPlan, scope: str):
        self._graph, self._borders, self._copies = graph, borders, copies
        self._plan, self._scope = plan, scope
        self.edges: List[Edge] = []
        self.ends: Dict[Tuple[CloneId, int], ActionEnd] = {}

    def add_device(self, actions: List[Action], pieces: List[int]) -> Any:
        """Order the actions of one device, which has these slices.

        Returns:
          What runs after the last backward, or None if there is none.
        """
        barrier = last = None
        ended = 0
        for action in actions:
            borders = self._borders.get((action.kind, action.stage))
            if borders is None:
                continue
            clones = [CloneId(action.replica, action.micro_batch, piece) for piece in pieces]
            exits = self._of_clones(borders.exits, clones)
            if barrier is not None and _runs_outside_of_steps(action):
                exits.append(barrier)
            elif barrier is not None:
                for entry in self._of_clones(borders.entries, clones):
                    editor.wait_for(entry, [barrier])
                    self.edges.append(Edge(barrier, entry))
            name = action.path
            if self._plan.num_slices > 1:
                name += "/slice_{}".format(pieces[0])
            barrier = self._barrier(name + "/end", exits)
            if KINDS[action.kind].closes:
                end = ActionEnd(barrier, self._barrier(name + "/released", [barrier]), ended)
                self.ends.update({(clone, action.stage): end for clone in clones})
                last = barrier = end.released
                ended += 1
        return last

    def _of_clones(self, ops: List[Any], clones: List[CloneId]) -> List[Any]:
        return [self._copies.op(op, clone) for clone in clones for op in ops]

    def _barrier(self, name: str, exits: List[Any]) -> Any:
        scope, _, last = "{}/after/{}".format(self._scope, name).rpartition("/")
        with compat.inserted(self._graph, scope), \
                tf.device(exits[0].device if exits else None), tf.control_dependencies(exits):
            return tf.no_op(last)


def _runs_outside_of_steps(action: Action) -> bool:
    return action.kind == FORWARD and action.micro_batch == 0


def _slices_by_device(plan: ParallelPlan, replica: int, stage: int) -> List[List[int]]:
    """The slices that each device of a stage runs."""
    found: Dict[Any, List[int]] = {}
    for piece in range(plan.num_slices):
        found.setdefault(plan.device_of(replica, stage, piece), []).append(piece)
    return list(found.values())


def _borders(partition: StepPartition) -> Dict[Tuple[str, int], _Borders]:
    """The borders of the actions of a micro-batch, by kind and stage."""
    found: Dict[Tuple[str, int], _Borders] = {}
    places = {op: (kind, partition.stage[op]) for op, kind in partition.phase.items()}
    for op in sorted(places, key=compat.op_id):
        place = places[op]
        borders = found.setdefault(place, _Borders([], []))
        before = [t.op for t in op.inputs] + list(op.control_inputs)
        if not any(places.get(b) == place for b in before) and _may_be_entered(op, partition):
            borders.entries.append(op)
        if _may_be_awaited(op, partition) and not any(
                places.get(user) == place and _may_be_awaited(user, partition)
                for user in partition.successors[op]):
            borders.exits.append(op)
    return found


def _may_be_entered(op: Any, partition: StepPartition) -> bool:
    """Only the Enters of an outermost loop may get an edge from outside of it."""
    return op not in partition.loop or (loops.is_enter(op) and op not in partition.inner)


def _may_be_awaited(op: Any, partition: StepPartition) -> bool:
    """Edges may leave a loop at the Exits of the outermost alone, and a `tf.cond` at its Merges."""
    if op in partition.conditional or op_traits.is_switch(op):
        return False
    return op not in partition.loop or (loops.is_exit(op) and op not in partition.inner)
