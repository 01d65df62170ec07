# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step computes once, it computes from the whole batch.

    clone 0   x --> y --> mean --> f --> write       as the script built it
    clone 1   x'--> y'--> mean'
                          |
              all clones  mean --> f --> write       what a step runs instead

What is asked for is followed back to tensors of which the values of clones and workers can be
joined or reduced (see `relations`); what lies between is copied, once, and reads those. So sums,
counts, largest values, rows and what is computed from them are what one device with the whole batch
would have. The script's own operations are left as they are, for what runs outside of a step.
"""

import contextlib
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Set,
)

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.ir import static_shapes
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState
from epl.rewrite import fixed_rows, loops, op_traits, registered
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.clones import CloneId, CloneMap
from epl.rewrite.functions import Library
from epl.rewrite.groups import GradientGroup, Merged, groups_of, sources_of
from epl.rewrite.leaving import is_decided
from epl.rewrite.loss_record import is_unequal
from epl.rewrite.merge import OfWorker, of_clones, of_each, of_workers, weights_of_mean
from epl.rewrite.relations import SAME, SHARED, Mergeable, Reduced, Rows
from epl.rewrite.walk import data_descendants

# What may run once more though TensorFlow calls it stateful: it runs for what the clones do not.
_REPEATABLE = frozenset(["Assert", "Print", "PrintV2", "PyFunc", "EagerPyFunc"])


_CURE = ("epl.add_to_collection(tensor, epl.GraphKeys.GLOBAL_MEAN_OBJECTS) or another of its "
         "keys, of it or of a tensor computed from it")


_OF_WINDOWS = (". It takes a number, another one for every clone: if that counts windows in time, "
               "of which each goes on from the state after the one before, let all clones work on "
               "rows of one window instead: feed the windows and the state, and declare both with "
               "epl.divide_feed(tensor) (docs/migrating.md)")


_FIXED_NUMBER = (
    "a training step divides its batch, and the value of {} for the whole batch is asked for: {} "
    "takes the fixed number of rows '{}'{} for it, which is that of one clone; take the number "
    "from the batch, outside of it (tf.shape(batch)[0]), or say how the values of the parts merge, "
    "with {}")


OF_THE_JOB = " of the job"


class _Whole(CloneId):
    """Stands for all clones where `CloneMap` asks for one."""

    def describe(self, num_slices: int) -> str:
        return "all"


_WHOLE = _Whole(-1, 0, 0)
_SCRIPT = CloneId(0, 0, 0)


class View(NamedTuple):
    """What is known of the operations behind what is asked for (see `partition`).

    Attributes:
      batch_dependent, sources, conditional, loop: as in `partition.StepPartition`.
      axes: how their values relate to the whole batch.
      deferred: those that write from the batch, and what follows them.
      of_batch: those that depend on the batch's data.
    """

    batch_dependent: Set[Any]
    sources: Set[Any]
    conditional: Set[Any]
    loop: Dict[Any, str]
    axes: BatchAxes
    deferred: Set[Any]
    of_batch: Set[Any]


class WholeBatch:
    """Values of the whole batch in a step.

    Args:
      graph: the script's graph.
      state: its record.
      scope: name scope of what is made.
      owner: tensor -> the group whose clones compute it.
      num_workers: workers whose rows count; 1: this worker's alone.
      merged: what its steps merge, by the names of tensors; None: what the owner merges.
    """

    def __init__(self, graph: Any, state: GraphState, scope: str,
                 owner: Callable[[Any], Any], num_workers: int,
                 merged: Optional[Mapping[str, Merged]] = None):
        self._graph, self._state, self._owner = graph, state, owner
        self._num_workers, self._merged = num_workers, merged
        self._scope = scope
        self._values: Dict[str, Any] = {}
        self._copies = CloneMap(graph, scope, [_SCRIPT, _WHOLE], 0,
                              lambda tensor, clone: self._values.get(tensor.name, tensor),
                              lambda op: self._counts.get(op),
                              lambda node: fixed_rows.open_shapes(node, self._sizes))
        self._counts: Dict[Any, Any] = {}
        self._library = Library(graph)
        self._sizes: Set[int] = set()
        self._exchanges = 0
        self.collectives: List[Collective] = []  # all that were made

    @contextlib.contextmanager
    def owned_by(self, group: GradientGroup) -> Iterator[None]:
        """What is built meanwhile is computed by the clones of `group`."""
        before, self._owner = self._owner, lambda tensor: group
        try:
            yield
        finally:
            self._owner = before

    def tensor(self, tensor: Any) -> Any:
        """What stands for `tensor`, one that was asked for."""
        return self._copies.tensor(tensor, _WHOLE)

    def operation(self, op: Any) -> Any:
        """What stands for `op`, one that was asked for."""
        return self._copies.op(op, _WHOLE)

    def build(self, tensors: Iterable[Any], ops: Iterable[Any], view: View,
              in_advance: bool = True) -> List[Any]:
        """Make what stands for tensors and operations, as far as it is missing.

        Args:
          tensors, ops: what is asked for.
          view: what is known of what is behind it.
          in_advance: on all workers alike, and before a session knows the graph.

        Returns:
          Operations that read a ref variable: an update must not overtake them.

        Raises:
          NotImplementedError: something of which EPL cannot tell what it is for the whole batch.
        """
        region = _Region(self, view, self._library)
        for tensor in tensors:
            region.ask(tensor.name, tensor.dtype != tf.string)
            region.need(tensor)
            region.close()
        for op in ops:
            region.ask(op.name)
            region.copy(op)
            region.close()
        if not in_advance:
            region.check_late()
        self._merge(list(region.borders.values()), view.axes)
        self._counts.update(region.counts)
        self._sizes |= region.sizes
        self._copy(region)
        return [self.operation(op) for op in region.read_variables(ends=True)]

    def _copy(self, region: "_Region") -> None:
        try:
            self._copies.add(region.ops, [_SCRIPT, _WHOLE], lambda op, clone: op.device)
        except ValueError as e:  # a shape does not fit
            raise NotImplementedError(
                "a training step divides its batch, and the value of {} for the whole batch is "
                "asked for: computed from the rows of all clones it would fail, as some number in "
                "the graph is the number of rows of one: {}. Take such numbers from tf.shape or "
                "leave them open (-1, None); or say how the values of the parts merge, with {}"
                .format(", ".join(region.all_asked), str(e).split("\n")[0], _CURE)) from e

    @property
    def exchanges(self) -> bool:
        """True if rows of other workers count."""
        return self._num_workers > 1

    def trained(self) -> Set[Any]:
        """The operations that own the variables which gradients change."""
        return {compat.variable_key(gradient.variable) for group in groups_of(self._state)
                for gradient in group.gradients}

    def has(self, tensor: Any) -> bool:
        """True if it is known what stands for `tensor`."""
        return tensor.name in self._values or self._copies.has(tensor.op)

    def is_undivided(self, tensor: Any) -> bool:
        """True if this worker computes `tensor` from all its rows, and those alone are asked for.

        Only what follows from a merged value is another one then.
        """
        clones = self._owner(tensor).clones
        return self._num_workers == 1 and (clones is None or len(clones.clones) == 1)

    def behind_merged(self) -> Set[Any]:
        """What follows from values that this step merges: the loss, what is registered."""
        merged = [name for group in groups_of(self._state) for name in group.merged
                  if not name.endswith(OF_THE_JOB)]
        return data_descendants(self._graph.get_tensor_by_name(name).op for name in merged)

    def copies(self) -> List[Any]:
        """What a step runs in place of the script's operations."""
        return self._copies.copies_of(_WHOLE)

    def original(self, copy: Any) -> Any:
        """The script's operation for which `copy` runs in a step; None if it is no such copy."""
        return self._copies.original(copy)

    def has_copy(self, op: Any) -> bool:
        return self._copies.has(op)

    def merged_already(self, tensor: Any) -> bool:
        """True for a tensor of which the script said how it merges, and for a loss."""
        said = registered.how(tensor, self._state)
        if said is not None and not said[1] and self.exchanges:
            return False  # what is this worker's own is not the job's
        merged = self._owner(tensor).merged if self._merged is None else self._merged
        if tensor.name in merged:
            self._values[tensor.name] = merged[tensor.name].value
        return tensor.name in merged

    def relation(self, tensor: Any, axes: BatchAxes) -> Any:
        """How the clones' values of `tensor` merge."""
        said = registered.how(tensor, self._state)
        return axes.of(tensor) if said is None else said[0]

    def _merge(self, borders: List[Any], axes: BatchAxes) -> None:
        """Make the values of tensors that are joined or reduced; borders: (tensor, relation)."""
        if self._num_workers == 1:
            for tensor, relation in borders:
                of_worker = self._of_worker(tensor, relation, axes)
                with compat.inserted(self._graph, self._scope):
                    self._values[tensor.name] = of_worker.value
            return
        always: List[Any] = []
        on_demand: List[Any] = []
        for border in borders:
            group = self._owner(border[0])
            needed = sources_of([border[0]], self._state)
            (always if needed <= group.sources else on_demand).append(border)
        for together in [always] + [[border] for border in on_demand]:
            self._exchange(together, together is always, axes)

    def _exchange(self, borders: List[Any], always: bool, axes: BatchAxes) -> None:
        """Merge over the workers too, in every step or in those that need it."""
        names = ["{}/{}_{}".format(self._scope, self._exchanges + n, tensor.op.name)
                 for n, (tensor, _) in enumerate(borders)]
        self._exchanges += len(borders)
        local = [self._of_worker(tensor, relation, axes) for tensor, relation in borders]
        with compat.inserted(self._graph, self._scope):
            found = of_workers(local, [relation for _, relation in borders], names,
                               context_of(self._graph))
        for (tensor, _), merged in zip(borders, found):
            self._values[tensor.name] = merged.value
            group = self._owner(tensor)
            self.collectives.extend(c for c in merged.collectives if c not in self.collectives)
            (group.merged if always else group.on_demand)[tensor.name + OF_THE_JOB] = merged

    def _of_worker(self, tensor: Any, relation: Mergeable, axes: BatchAxes) -> OfWorker:
        group = self._owner(tensor)
        weights = weights_of_mean(group, tensor, axes) if relation == Reduced("mean") \
            and is_unequal(group.ys[0], self._state) else None
        with compat.inserted(self._graph, self._scope):
            return of_clones(of_each(group, tensor), relation, weights)


class _Region:
    """The operations that are copied, and the tensors at their borders."""

    def __init__(self, whole: WholeBatch, view: View, library: Library):
        self._whole, self._view, self._library = whole, view, library
        self._members: Dict[str, List[Any]] = loops.members(view.loop)
        self._pending: List[Any] = []
        self.asked = ""  # whose value is being followed back
        self._is_number = True
        self.all_asked: List[str] = []
        self._behind_merged = whole.behind_merged()
        # Numbers of rows that parts of the batch are known to have.
        self.sizes = {tensor.shape.as_list()[0] for source in view.sources
                      for tensor in source.outputs if tensor.shape.ndims} - {None}
        self.counts: Dict[Any, Any] = {}  # constants that count rows: what they stand for
        self.ops: Set[Any] = set()
        self.borders: Dict[str, Any] = {}

    def ask(self, name: str, is_number: bool = True) -> None:
        """What follows is done for the value of `name`; a summary is no number."""
        self.asked, self._is_number = name, is_number
        self.all_asked.append(name)

    def need(self, tensor: Any) -> None:
        """The value of `tensor` for the whole batch is read."""
        if self._is_inside(tensor):
            self.copy(tensor.op)

    def copy(self, op: Any) -> None:
        """A copy of `op` is needed."""
        if op not in self.ops and not self._whole.has_copy(op):
            self._check(op)
            self.ops.add(op)
            self._pending.append(op)

    def close(self) -> None:
        """Follow everything back to the borders."""
        followed: List[Any] = []
        while self._pending:
            op = self._pending.pop()
            followed.append(op)
            for member in self._members.get(self._view.loop.get(op, ""), ()):
                self.copy(member)
            stands_for = static_shapes.behind(op)
            if stands_for is not None and self._is_of_batch(stands_for.tensor.op):
                self.counts[op] = stands_for._replace(tensor=self._in_loop(op, stands_for.tensor))
                self.need(self.counts[op].tensor)
            for tensor in op.inputs:
                self.need(tensor)
            decided = op in self._view.conditional or op in self._view.loop
            for source in op.control_inputs:
                if source in self._view.deferred or (decided and self._guards(source)) or (
                        source in self._behind_merged and self._follows_job(op)):
                    self.copy(source)
        self._check_numbers(followed)

    def read_variables(self, ends: bool = False) -> List[Any]:
        """The members that read a ref variable whose buffer the step's update changes.

        Args:
          ends: instead of those in a branch or loop, by what its end is known outside.
        """
        trained = self._whole.trained()
        readers = [op for op in sorted(self.ops - self._view.deferred, key=compat.op_id)
                   if any(op_traits.aliased_variable(t) in trained
                          for t in op.inputs if t.op not in self.ops)]
        if not ends:
            return readers
        return list(dict.fromkeys(end for op in readers for end in self._ends(op)))

    def _ends(self, op: Any) -> List[Any]:
        """The first members behind `op`, or itself, that are outside of branches and loops."""
        found: List[Any] = []
        seen: Set[Any] = set()
        pending = [op]
        while pending:
            op = pending.pop()
            if op in seen or op not in self.ops:
                continue
            seen.add(op)
            leaves_loop = loops.is_exit(op) and not compat.in_loop(op)
            if op in self._view.conditional or op_traits.is_switch(op) or (
                    op in self._view.loop and not leaves_loop):
                pending.extend(user for tensor in op.outputs for user in tensor.consumers())
            else:
                found.append(op)
        return found

    def _check_numbers(self, ops: Iterable[Any]) -> None:
        """Raises NotImplementedError for a number of rows that the script wrote down."""
        for op in ops:
            number = fixed_rows.written_down(op, self._follows, self.sizes)
            if number is not None:
                raise NotImplementedError(_FIXED_NUMBER.format(
                    self.asked, "operation '{}' ({})".format(op.name, op.type), number.name,
                    compat.made_at(op), _CURE))

    def _follows(self, tensor: Any) -> bool:
        """True if what stands for `tensor` is computed from the whole batch."""
        return tensor.op in self.ops or tensor.name in self.borders or self._whole.has(tensor)

    def check_late(self) -> None:
        """Raises NotImplementedError for what has to be known before a session is made."""
        cure = ("register {} before the first session.run, with epl.add_to_collection(tensor, "
                "epl.GraphKeys.GLOBAL_MEAN_OBJECTS) or another of its keys".format(
                    "it" if self._is_number else "the numbers that it shows"))
        if self.borders and self._whole.exchanges:
            raise NotImplementedError(
                "a training step is asked for {}, which follows a write from its batch and takes "
                "{} of all workers as well: {}".format(
                    self.asked, ", ".join(sorted(self.borders)), cure))
        for op in self.read_variables():
            raise NotImplementedError(
                "a training step is asked for {}, which is computed from the whole batch by "
                "operation '{}' ({}){} from a ref variable, and the step's update may come first: "
                "{}; or use resource variables (tf.enable_resource_variables())".format(
                    self.asked, op.name, op.type, compat.made_at(op), cure))

    def _is_inside(self, tensor: Any) -> bool:
        op, view = tensor.op, self._view
        if op in self.ops or op in view.deferred or op.type in op_traits.STEP_SCOPED:
            return True  # who works on a TensorArray in a step has one of its own
        if self._whole.has(tensor) or self._whole.merged_already(tensor):
            return False
        if self._follows_job(op):
            return True
        if self._whole.is_undivided(tensor):
            return False
        if op in view.loop and compat.control_flow_context(op) is not None:
            return True
        relation = self._whole.relation(tensor, view.axes)
        may_be_missing = op in view.conditional or op.type in ("Switch", "RefSwitch")
        if op in view.batch_dependent and op not in view.of_batch and not may_be_missing:
            return False  # drawn without regard to the batch: once a step (see `drawn`)
        by_batch = may_be_missing and op in view.batch_dependent  # another branch, maybe
        if (relation == SHARED and not by_batch) or (relation == SAME and not may_be_missing):
            return False
        if not may_be_missing and _can_merge(tensor, relation):
            self.borders[tensor.name] = tensor, relation
            return False
        return True

    def _follows_job(self, op: Any) -> bool:
        """True for what is computed from values of the whole job, or where these say whether."""
        return not self._whole.exchanges and (
            op in self._behind_merged or is_decided(op, self._behind_merged))

    def _guards(self, op: Any) -> bool:
        """True for what says whether a branch runs, if that depends on the batch."""
        view = self._view
        return op in view.batch_dependent and (op in view.conditional or op in view.loop)

    def _check(self, op: Any) -> None:
        """Raises NotImplementedError for what must not run once more."""
        if self._may_repeat(op):
            self._check_sizes(op)
            return
        raise NotImplementedError(
            "a training step divides its batch, and the value of {} for the whole batch is asked "
            "for: that takes operation '{}' ({}){} once more, which would {}; say how the values "
            "of the parts merge, with {}{}".format(
                self.asked, op.name, op.type, compat.made_at(op), "take other data"
                if op in self._view.sources else "draw, or change state", _CURE,
                _OF_WINDOWS if _takes_number(op, self._view.sources) else ""))

    def _check_sizes(self, op: Any) -> None:
        """Raises NotImplementedError for a function that holds the number of rows of one clone."""
        nodes = list(self._library.nodes(op))
        written = fixed_rows.in_functions(nodes, self.sizes)
        name = static_shapes.in_functions(op.graph, nodes, self.sizes) or getattr(
            written, "name", None)
        if name is not None:
            raise NotImplementedError(_FIXED_NUMBER.format(
                self.asked, "the function that '{}'{} calls".format(
                    op.name, compat.made_at(op)), name, "", _CURE))

    def _is_of_batch(self, op: Any) -> bool:
        """True if `op` brings in, or is computed from, rows."""
        view = self._view
        return op in view.batch_dependent or op in view.sources or op in view.deferred

    def _in_loop(self, op: Any, counted: Any) -> Any:
        """The tensor `counted` where the constant `op` is: maybe in a loop that it is taken into.

        Raises:
          NotImplementedError: no such tensor.
        """
        if self._view.loop.get(op) == self._view.loop.get(counted.op):
            return counted
        context = compat.control_flow_context(op)
        for enter in counted.consumers():
            if loops.is_enter(enter) and enter.get_attr("frame_name").decode() == getattr(
                    context, "name", None):
                return enter.outputs[0]
        raise NotImplementedError(_FIXED_NUMBER.format(
            self.asked, "a loop", op.name, compat.made_at(op), _CURE))

    def _may_repeat(self, op: Any) -> bool:
        if op in self._view.sources or op_traits.is_random(op):
            return False
        if any(op_traits.seeds(node, None) is not None for node in self._library.nodes(op)):
            return False
        return op in self._view.deferred or op.type in _REPEATABLE \
            or not op_traits.starts_batch(op) or op.type in op_traits.STEP_SCOPED \
            or op_traits.works_in_step(op) or op_traits.calls_functions(op)


def _can_merge(tensor: Any, relation: Any) -> bool:
    if relation == Reduced("mean"):
        return bool(tensor.dtype.is_floating)
    return isinstance(relation, (Rows, Reduced))


def _takes_number(op: Any, sources: Set[Any]) -> bool:
    """True for a source that brings in a number, not rows."""
    return op in sources and all(tensor.shape.ndims == 0 for tensor in op.outputs)
