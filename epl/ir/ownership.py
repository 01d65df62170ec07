# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who holds each variable of a graph: on which device of a worker, and which workers alike.

One record, which everybody reads who has to know:

    place          where a variable is, and so what works on it in place
    aggregate      over which workers its gradients are reduced
    broadcast      whose value a worker takes
    save           whether the chief has all there is to write
    fingerprint    that all workers hold the same variables alike
    verify         that a gradient comes out of an exchange of those who hold its variable

Unless something else is said, all workers hold a variable alike, and TensorFlow chooses its device.
What an optimizer keeps of a variable, and the variable, may be shared out: each worker holds some
rows, or none.
Variables are named by the operations that hold them (`compat.variable_key`).
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from epl import compat
from epl.communicators.base import Group
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of

_AXIS = "holders"


class Rows(NamedTuple):
    """Rows of a variable that a worker holds.

    Attributes:
      first: the first of them.
      number: how many; 0: it holds none.
    """

    first: int
    number: int


class Ownership:
    """The record of one graph.

    Attributes:
      whole: the operations that give whole values of variables of which workers hold some rows, as
        if they read them.
    """

    def __init__(self, workers: Group, rank: int):
        """Begin with variables that all workers hold alike.

        Args:
          workers: all of the job.
          rank: that of this worker.
        """
        self._workers, self._rank = workers, rank
        self._devices: Dict[Any, str] = {}
        self._groups: Dict[Any, Tuple[Group, ...]] = {}
        self._rows: Dict[Any, Tuple[Rows, ...]] = {}
        self.whole: Set[Any] = set()

    def device(self, variable: Any) -> str:
        """The device of a variable within its worker; "" for TensorFlow's choice."""
        return self._devices.get(variable, "")

    def put(self, variable: Any, device: str) -> None:
        """Let a variable be on `device`."""
        self._devices[variable] = device

    def groups(self, variable: Any) -> Tuple[Group, ...]:
        """The workers that hold one value, group by group; the others take it from the first."""
        return self._groups.get(variable, (self._workers,))

    def group(self, variable: Any) -> Group:
        """The workers that hold a variable's value alike with this one."""
        return next(g for g in self.groups(variable) if self._rank in g.ranks)

    def is_divided(self, variable: Any) -> bool:
        """True if not all workers hold a variable alike."""
        return variable in self._groups

    def divide(self, variable: Any, groups: Sequence[Iterable[int]]) -> None:
        """Let groups of workers hold a value of their own each.

        Gradients are reduced within each group, and what the first of a group begins with is the
        value of all of it. To be said alike by all workers, before the gradients are reduced.

        Args:
          variable: the operation that holds it.
          groups: the ranks of each group.

        Raises:
          ValueError: a worker is in no group, or in several.
        """
        ranks = [tuple(sorted(each)) for each in groups]
        if sorted(rank for each in ranks for rank in each) != list(self._workers.ranks):
            raise ValueError("variable '{}' cannot be held by workers {}: each of the workers {} "
                             "has to be in one group".format(
                                 variable.name, _text(ranks), _text([self._workers.ranks])))
        self._groups.pop(variable, None)
        if len(ranks) > 1:
            self._groups[variable] = tuple(Group(_AXIS, each) for each in ranks)

    def share_out(self, variable: Any, rows: Sequence[Rows]) -> None:
        """Let each worker hold some rows of a variable's value, and no worker all of them.

        To be said alike by all workers. A variable without dimensions is one row.

        Args:
          variable: the operation that holds it.
          rows: of each worker, one behind the other.

        Raises:
          ValueError: not one entry for each worker, or they leave something out.
        """
        begin = 0
        for first, number in rows:
            if number and first != begin:
                raise ValueError("variable '{}' cannot be shared out as {}: rows are left out, or "
                                 "held twice".format(variable.name, [tuple(r) for r in rows]))
            begin += number
        if len(rows) != self._workers.size:
            raise ValueError("variable '{}' is shared out to {} workers of {}".format(
                variable.name, len(rows), self._workers.size))
        self._rows[variable] = tuple(rows)

    def rows(self, variable: Any) -> Optional[Tuple[Rows, ...]]:
        """Which rows each worker holds; None if all hold all of them."""
        return self._rows.get(variable)

    def own_rows(self, variable: Any) -> Rows:
        """The rows that this worker holds of a variable that is shared out."""
        return self._rows[variable][self._rank]

    @property
    def shared_out(self) -> List[Any]:
        """The variables that are shared out, by name."""
        return sorted(self._rows, key=lambda op: str(op.name))

    def describe(self, variable: Any) -> str:
        """Who holds a variable, in words."""
        if variable in self._rows:
            return "shared out: " + ", ".join(
                "rows {} to {} on worker {}".format(first, first + number - 1, rank)
                for rank, (first, number) in enumerate(self._rows[variable]) if number)
        if not self.is_divided(variable):
            return "alike on all workers"
        return "alike on workers " + _text([g.ranks for g in self.groups(variable)])


def ownership_of(graph: Any) -> Ownership:
    """The record of `graph`, made on first use."""
    state = state_of(graph)
    if state.find(Ownership) is None:
        context = context_of(graph)
        state.keep(Ownership(context.workers, context.cluster.worker_index))
    return state.known(Ownership)


def divided_variables(graph: Any) -> List[Any]:
    """The variables of `graph` that not all workers hold alike."""
    ownership = state_of(graph).find(Ownership)
    return [] if ownership is None else [
        v for v in compat.global_variables(graph) if ownership.is_divided(compat.variable_key(v))]


def _text(groups: Sequence[Sequence[int]]) -> str:
    parts: List[str] = [", ".join(map(str, ranks)) for ranks in groups]
    return " | ".join(parts)
