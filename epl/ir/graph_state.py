# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything that EPL remembers about one `tf.Graph`, kept on the graph itself.

The graph owns it, so it is collected with the graph, and two graphs never mix.
"""

import threading
from typing import Any, Dict, List, Optional, Set, Tuple, Type, TypeVar

from epl import compat
from epl.context import Context
from epl.env import Env
from epl.ir.annotations import Annotations
from epl.ir.provenance import Provenance
from epl.plan.parallel_plan import ParallelPlan

_ATTRIBUTE = "_epl_state"
_Record = TypeVar("_Record")


class GraphState:
    """The record of one graph: what the script said of it, and how far it is carried out.

    What a part of EPL keeps of a graph for itself is of a type of that part: `record` and `find`
    give the one object of a type that is kept here.

    Attributes:
      annotations: its TaskGraphs.
      provenance: where each operation comes from.
      registered: collection key -> tensors put there by `epl.add_to_collection`.
      declared_feeds: name of a tensor -> axis along which its feed is divided, None: it is shared.
      sparse_parts: what the script made sparse tensors of (see `ir.feeds`).
      static_shapes: constant -> what it stands for, in the order of creation (see
        `ir.static_shapes`).
      sizes_in_functions: names of such constants in the bodies of functions -> first dimensions
        that they count.
      gradients: what the script got of those that are aggregated (see `rewrite.groups`), tensors.
      checkpoints: name -> tensor, of those that are kept where others are computed again, in the
        order in which they are computed (see `rewrite.recompute`).
      env: the environment that it was first seen in (see `ir.environment`), or None.
      context: what it is trained under, once that is settled, or None.
      schedule: the one that was chosen for the graph, where the configuration leaves it open, or
        None.
      plan: what the graph was rewritten for, or None.
      has_steps: its gradients are aggregated: what a step is fed is settled.
      rewritten_version: `graph.version` when everything pending was last carried out.
      failure: the error that ended a rewrite, or None.
      changes: (last operation's id at the time; id, name of the operation that was changed).
      lock: held while the graph is rewritten.
    """

    def __init__(self) -> None:
        self.annotations = Annotations()
        self.provenance = Provenance(self.annotations)
        self.registered: Dict[str, List[Any]] = {}
        self.declared_feeds: Dict[str, Optional[int]] = {}
        self.sparse_parts: List[Any] = []
        self.static_shapes: Dict[Any, Any] = {}
        self.sizes_in_functions: Dict[str, Set[int]] = {}
        self.gradients: List[Any] = []
        self.checkpoints: Dict[str, Any] = {}
        self.env: Optional[Env] = None
        self.context: Optional[Context] = None
        self.schedule: Optional[str] = None
        self.plan: Optional[ParallelPlan] = None
        self.has_steps = False
        self.rewritten_version = -1
        self.failure: Optional[BaseException] = None
        self.changes: List[Tuple[int, int, str]] = []
        self.lock = threading.RLock()
        self._records: Dict[type, Any] = {}

    def record(self, kind: Type[_Record]) -> _Record:
        """The one object of type `kind` that is kept for this graph, made when first asked for."""
        if kind not in self._records:
            self._records[kind] = kind()
        found: _Record = self._records[kind]
        return found

    def keep(self, made: Any) -> None:
        """Keep `made` as the one object of its type."""
        self._records[type(made)] = made

    def find(self, kind: Type[_Record]) -> Optional[_Record]:
        """What is kept of type `kind`; None if there is nothing yet."""
        return self._records.get(kind)

    def known(self, kind: Type[_Record]) -> _Record:
        """What is kept of type `kind`, by the time at which there is something."""
        found: _Record = self._records[kind]
        return found

    @property
    def trains(self) -> bool:
        """True if the graph holds gradients that are aggregated."""
        return bool(self.gradients)

    @property
    def known_plan(self) -> ParallelPlan:
        """The plan of a graph that was rewritten."""
        assert self.plan is not None
        return self.plan

    def note_change(self, op: Any) -> None:
        """`op` was changed; a session that knows it goes on to run it as it was."""
        self.changes.append((compat.last_id(op.graph), compat.op_id(op), op.name))


def state_of(graph: Any) -> GraphState:
    """The record of `graph`, made on first use."""
    state = getattr(graph, _ATTRIBUTE, None)
    if state is None:
        state = GraphState()
        setattr(graph, _ATTRIBUTE, state)
    return state
