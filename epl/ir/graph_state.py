# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything that EPL remembers about one `tf.Graph`, kept on the graph itself.

The graph owns it, so it is collected with the graph, and two graphs never mix.
"""

import threading
from typing import (
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    TypeVar,
)

from epl import compat
from epl.communicators.base import Collective
from epl.context import Context
from epl.env import Env
from epl.ir.annotations import Annotations
from epl.ir.provenance import Provenance
from epl.plan.parallel_plan import ParallelPlan

_ATTRIBUTE = "_epl_state"
_Record = TypeVar("_Record")


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
      clones: the model's copies (see `rewrite.clones`), or None if there is one clone only.
      order: what orders the actions (see `rewrite.order`), or None.
      partition: what the step consists of (see `rewrite.partition`).
      row_counts: rows of each clone of this worker and their mean over all workers, a vector; None
        if all have equally many anyway.
      warned: the script was told of unequal ones.
      local: values of this worker's whole batch (see `rewrite.whole`), made when one is fetched.
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
        self.merged: Dict[str, Any] = {}
        self.on_demand: Dict[str, Any] = {}
        self.clones: Any = None
        self.order: Any = None
        self.partition: Any = None
        self.row_counts: Any = None
        self.warned = False
        self.local: Any = None

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
    def edges(self) -> List[Any]:
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


class GraphState:
    """The record of one graph.

    Attributes:
      annotations: its TaskGraphs.
      provenance: where each operation comes from.
      registered: collection key -> tensors put there by `epl.add_to_collection`.
      declared_feeds: name of a tensor -> axis along which its feed is divided, None: it is shared.
      sparse_parts: what the script made sparse tensors of (see `ir.feeds`).
      static_shapes: constant -> what it stands for, in the order of creation (see
        `ir.static_shapes`).
      groups: gradient groups, in the order of the calls that made them.
      withdrawn: groups whose gradients nothing reads but losses and `grad_ys`.
      gradient_calls: how many groups were ever made (names stay unique after a withdrawal).
      own_gradients: gradients of variables and of tensors without rows, as losses and `grad_ys`
        read them: each clone's own.
      env: the environment that it was first seen in (see `ir.environment`), or None.
      context: what it is trained under, once that is settled, or None.
      sources: where the clones' data comes from (see `rewrite.sources`), or None.
      plan: what the graph was rewritten for, or None.
      ownership: who holds each variable (see `ir.ownership`), or None.
      devices: who sits where (see `rewrite.place`), or None.
      leaving: what leaves the steps (see `rewrite.leaving`), or None.
      job: values of the whole batch of all workers (see `rewrite.whole`), or None.
      sent: name of a tensor that is drawn behind the gradients -> the chief's value.
      statistics: numbers of the data that gradients read (see `rewrite.whole_loss`).
      whole_losses: name of a loss -> what is that of the whole batch if the clones' are averaged.
      varied_seeds: random operations whose seed was made this worker's own.
      rewritten_version: `graph.version` when everything pending was last carried out.
      failure: the error that ended a rewrite, or None.
      placed_id: last operation that was placed in a graph that is not trained.
      looks: name of a summary of gradients -> what a thread beside the training gets for it.
      changes: (last operation's id at the time; id, name of the operation that was changed).
      verified_collectives: how many collectives the workers have compared.
      runs: what is known of the session runs of this graph (see `runtime.runs`).
      lock: held while the graph is rewritten.
    """

    def __init__(self) -> None:
        self.annotations = Annotations()
        self.provenance = Provenance(self.annotations)
        self.registered: Dict[str, List[Any]] = {}
        self.declared_feeds: Dict[str, Optional[int]] = {}
        self.sparse_parts: List[Any] = []
        self.static_shapes: Dict[Any, Any] = {}
        self.groups: List[GradientGroup] = []
        self.withdrawn: List[GradientGroup] = []
        self.gradient_calls = 0
        self.own_gradients: List[Any] = []
        self.env: Optional[Env] = None
        self.context: Optional[Context] = None
        self.sources: Any = None
        self.plan: Optional[ParallelPlan] = None
        self.ownership: Any = None
        self.devices: Any = None
        self.leaving: Any = None
        self.job: Any = None
        self.sent: Dict[str, Any] = {}
        self.statistics: List[Any] = []
        self.whole_losses: Dict[str, Any] = {}
        self.varied_seeds: Set[Any] = set()
        self.rewritten_version = -1
        self.failure: Optional[BaseException] = None
        self.placed_id = 0
        self.looks: Dict[str, Any] = {}
        self.changes: List[Tuple[int, int, str]] = []
        self.verified_collectives = 0
        self.runs: Any = None
        self.lock = threading.RLock()
        self._records: Dict[type, Any] = {}

    def record(self, kind: Type[_Record]) -> _Record:
        """The one object of type `kind` that is kept for this graph, made when first asked for."""
        if kind not in self._records:
            self._records[kind] = kind()
        found: _Record = self._records[kind]
        return found

    @property
    def collectives(self) -> List[Collective]:
        """Every collective that a step may run, in the order of creation."""
        return [c for group in self.groups for c in group.collectives]

    @property
    def known_plan(self) -> ParallelPlan:
        """The plan of a graph that was rewritten."""
        assert self.plan is not None
        return self.plan

    @property
    def trains(self) -> bool:
        """True if the graph holds gradients that EPL aggregates."""
        return bool(self.groups)

    def recall_withdrawn(self) -> None:
        """Gradients that were withdrawn are aggregated after all if something reads them now."""
        used = [group for group in self.withdrawn if group.is_used]
        self.withdrawn = [group for group in self.withdrawn if group not in used]
        self.groups.extend(used)

    def note_change(self, op: Any) -> None:
        """`op` was changed; a session that knows it goes on to run it as it was."""
        self.changes.append((compat.last_id(op.graph), compat.op_id(op), op.name))


def parts(value: Any) -> List[Any]:
    """The tensors that a gradient consists of; those of a sparse one are values and indices."""
    return [value.values, value.indices] if hasattr(value, "indices") else [value]


def state_of(graph: Any) -> GraphState:
    """The record of `graph`, made on first use."""
    state = getattr(graph, _ATTRIBUTE, None)
    if state is None:
        state = GraphState()
        setattr(graph, _ATTRIBUTE, state)
    return state
