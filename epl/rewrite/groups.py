# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The gradients that are aggregated in a graph, call by call, and what the rewrite made of them."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from epl.communicators.base import Collective
from epl.ir.graph_state import GraphState
from epl.ir.ownership import Ownership
from epl.rewrite import loops, op_traits
from epl.rewrite.clones import CloneMap
from epl.rewrite.order import Edge, Order
from epl.rewrite.partition import StepPartition
from epl.rewrite.walk import counted_ancestors
from epl.rewrite.weights import Rows, Weight


class Gradient(NamedTuple):
    """One gradient of a variable.

    Attributes:
      variable: the variable.
      raw: what TensorFlow built, a tensor or `tf.IndexedSlices`.
      returned: what the script got, the same kind; the rewrite feeds it the aggregated value.
    """

    variable: Any
    raw: Any
    returned: Any


class Merged(NamedTuple):
    """A tensor's merged value.

    Attributes:
      value: the merged tensor.
      collectives: what a step runs for it.
    """

    value: Any
    collectives: Tuple[Collective, ...]


class Measure(NamedTuple):
    """Something that all parts of a step should have equally much of.

    Attributes:
      text: what the script is told if they have not.
      tensor: what is measured, of the script's own graph.
      axes: of it; None: all.
      over: the rows by whose number it is divided, or None.
      is_of_rows: it has nothing to do with how long rows are.
    """

    text: str
    tensor: Any
    axes: Optional[List[int]]
    over: Optional[Rows] = None
    is_of_rows: bool = False


class GradientGroup:
    """One call of `tf.gradients` for variables, and what the rewrite made of it.

    Attributes:
      name: name scope of what is added, and prefix of the collectives.
      ys: the tensors that are differentiated: the losses. Where a script applies the chain rule by
        hand they are those of the first of its calls.
      gradients: those of variables.
      through: the tensors that this call differentiated, where these are not the losses.
      sources: operations that bring a step's data into the graph.
      rewritten: the rewrite is done.
      collectives: those of the aggregation.
      merged: name of a tensor -> its merged value in a step of this group.
      on_demand: as `merged`, of what takes further feeds: exchanged in the steps that need it.
      partition: what the step consists of, or None if there is one clone on one device.
      clones: the model's copies, or None if there is one clone only.
      order: what orders the actions, or None.
      measures: what the parts of a step may have unequally much of (see `rewrite.unequal`).
      counts: for each of these the number of each clone of this worker, and their mean over all
        workers, a matrix; None if there are no measures.
      warned: the script was told of unequal ones.
      weights: how much parts count -> that of each clone of this worker.
      weighed: the operation that gives what gradients and losses are multiplied with in the end,
        as their parts count by their rows; None if all parts count alike.
    """

    def __init__(self, name: str, ys: List[Any], gradients: List[Gradient],
                 through: Sequence[Any] = ()):
        self.name = name
        self.ys = ys
        self.gradients = gradients
        self.through = list(through)
        self.sources: Set[Any] = set()
        self.rewritten = False
        self.collectives: List[Collective] = []
        self.merged: Dict[str, Merged] = {}
        self.on_demand: Dict[str, Merged] = {}
        self.partition: Optional[StepPartition] = None
        self.clones: Optional[CloneMap] = None
        self.order: Optional[Order] = None
        self.measures: List[Measure] = []
        self.counts: Any = None
        self.warned = False
        self.weights: Dict[Weight, List[Any]] = {}
        self.weighed: Any = None

    def describe(self) -> List[str]:
        """Lines for people: what this group computes and exchanges."""
        count = "{} of {}".format(self.name, ", ".join(y.name for y in self.ys))
        if not self.rewritten:
            return [count + ": {} gradient(s), to be rewritten before a session runs the graph"
                    .format(len(self.gradients))]
        clones = len(self.clones.clones) if self.clones is not None else 1
        return [count + ": {} gradient(s) over {} clone(s), {} collective(s)".format(
            len(self.gradients), clones, len(self.collectives))] + [
                "  " + collective.describe() for collective in self.collectives]

    @property
    def copied(self) -> Optional[CloneMap]:
        """The model's copies, if there are any beside the script's own operations."""
        several = self.clones is not None and len(self.clones.clones) > 1
        return self.clones if several else None

    @property
    def known_partition(self) -> StepPartition:
        """What the step consists of, where it was partitioned."""
        assert self.partition is not None
        return self.partition

    @property
    def known_clones(self) -> CloneMap:
        """The model's copies, where it has some."""
        assert self.clones is not None
        return self.clones

    @property
    def edges(self) -> List[Edge]:
        """The control edges that order the actions."""
        return [] if self.order is None else self.order.edges

    @property
    def is_used(self) -> bool:
        """True if something in the graph reads one of its gradients."""
        return any(op.outputs[0].consumers() for op in self.returned_ops)

    @property
    def returned_ops(self) -> List[Any]:
        """The operations whose values the script got; a run that needs one is a training step."""
        return [part.op for gradient in self.gradients for part in parts(gradient.returned)]


class Groups:
    """Those of one graph.

    Attributes:
      aggregated: in the order of the calls that made them.
      withdrawn: groups whose gradients nothing reads but losses and `grad_ys`.
      calls: how many groups were ever made (names stay unique after a withdrawal).
      own: gradients of variables and of tensors without rows, as losses and `grad_ys` read them:
        each clone's own.
    """

    def __init__(self) -> None:
        self.aggregated: List[GradientGroup] = []
        self.withdrawn: List[GradientGroup] = []
        self.calls = 0
        self.own: List[Any] = []


def groups_of(state: GraphState) -> List[GradientGroup]:
    """The groups whose gradients are aggregated, in the order of the calls that made them."""
    return state.record(Groups).aggregated


def add(state: GraphState, group: GradientGroup) -> None:
    """The gradients of `group` are aggregated."""
    groups = state.record(Groups)
    groups.calls += 1
    groups.aggregated.append(group)
    _note(state)


def withdraw(state: GraphState, group: GradientGroup) -> None:
    """The gradients of `group` are not aggregated, unless something reads them one day."""
    groups = state.record(Groups)
    groups.aggregated.remove(group)
    groups.withdrawn.append(group)
    _note(state)


def recall(state: GraphState) -> None:
    """Gradients that were withdrawn are aggregated after all if something reads them now."""
    groups = state.record(Groups)
    used = [group for group in groups.withdrawn if group.is_used]
    groups.withdrawn = [group for group in groups.withdrawn if group not in used]
    groups.aggregated.extend(used)
    _note(state)


def _note(state: GraphState) -> None:
    """Let the graph's record say what the script got."""
    state.gradients = [part for group in groups_of(state) for gradient in group.gradients
                       for part in parts(gradient.returned)]


def collectives_of(state: GraphState) -> List[Collective]:
    """Every collective that aggregates gradients, in the order of creation."""
    return [c for group in groups_of(state) for c in group.collectives]


def sources_of(tensors: Iterable[Any], state: GraphState) -> Set[Any]:
    """The operations that bring data from outside into the computation of `tensors`.

    Gradients that the script got count as what they were computed from.
    """
    owners = {op: group for group in groups_of(state) if group.rewritten
              for op in group.returned_ops}
    known = state.find(Ownership)
    behind = counted_ancestors(
        (t.op for t in tensors), owners.keys() | (known.whole if known is not None else set()))
    found = {op for op in behind if op_traits.brings_data(op)}
    successors = loops.successors(behind)
    fed: Set[Any] = set()  # what works on the data
    pending = [user for op in found for user in successors[op]]
    while pending:
        op = pending.pop()
        if op not in fed:
            fed.add(op)
            pending.extend(successors[op])
    found -= fed
    return found.union(*[owners[op].sources for op in behind if op in owners])


def parts(value: Any) -> List[Any]:
    """The tensors that a gradient consists of; those of a sparse one are values and indices."""
    return [value.values, value.indices] if hasattr(value, "indices") else [value]
