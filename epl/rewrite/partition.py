# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which operations a training step consists of, and what each is to it.

    shared            the same for every clone: variables and their reads, constants, tables
    sources           bring a batch in: fed placeholders, iterators, queues
    per batch         depend on a batch (or draw, or keep state for the step): one copy per clone
    updates           write variables from a batch: run once, with values averaged over the clones

Every operation has a stage; those per batch that the loss or its gradients need have a phase too:
the kind of action (`plan.action`) in which a device runs them.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

from epl import compat
from epl.ir import static_shapes
from epl.ir.provenance import Provenance
from epl.plan.action import BACKWARD, FORWARD, KINDS
from epl.rewrite import loops, op_traits
from epl.rewrite.functions import Library
from epl.rewrite.walk import counted_ancestors, data_ancestors

_MERGES = frozenset(["Merge", "RefMerge"])
# What adds up the gradients that come from all uses of a tensor, by the method that is asked for.
_SUMS = frozenset(["AccumulateNV2", "AddN"])


class StepPartition(NamedTuple):
    """The operations behind a set of tensors.

    Attributes:
      ops: all of them, in the order of creation.
      sources: those that bring a batch in, in the order of creation.
      batch_dependent: those that every clone needs a copy of, sources left out.
      updates: those that write a variable from a batch, in the order of creation.
      deferred: the updates, and what is to happen after them.
      phase: kind of action (FORWARD or BACKWARD), of operations per batch that the gradients need.
      stage: of every operation.
      loop: frame name of the outermost v1 loop, of operations inside one.
      inner: those that are in a loop inside of a loop.
      conditional: those in a branch of a v1 `tf.cond`, or of its gradient: they may never run.
      successors: for every operation those that depend on it directly.
    """

    ops: List[Any]
    sources: List[Any]
    batch_dependent: Set[Any]
    updates: List[Any]
    deferred: Set[Any]
    phase: Dict[Any, str]
    stage: Dict[Any, int]
    loop: Dict[Any, str]
    inner: Set[Any]
    conditional: Set[Any]
    successors: Dict[Any, List[Any]]

    def goes_back(self, op: Any) -> bool:
        """True if a clone runs `op` in an action that computes gradients."""
        return op in self.phase and KINDS[self.phase[op]].computes_gradients


class Script(NamedTuple):
    """What is known of how the script built its graph.

    Attributes:
      provenance: where each operation comes from.
      slices: operations that cut a source's batch (see `rewrite.sources`).
      added: what the rewrite put into the graph and the script's operations depend on.
    """

    provenance: Provenance
    slices: Set[Any]
    added: Set[Any]

    def ancestors(self, tensors: Iterable[Any]) -> Set[Any]:
        """The script's operations that `tensors` are computed by."""
        return counted_ancestors((t.op for t in tensors), self.slices | self.added)


def partition_step(ys: Iterable[Any], gradients: Iterable[Any], others: Iterable[Any],
            script: Script) -> StepPartition:
    """Find out what each operation behind a training step is.

    Args:
      ys: tensors that are differentiated.
      gradients: tensors of the raw gradients.
      others: further tensors whose value is wanted from every clone.
      script: how the graph was built.

    Raises:
      NotImplementedError: something that cannot be divided into clones or stages; it names the
        operation.
    """
    ys, gradients, others = list(ys), list(gradients), list(others)
    ops = sorted(script.ancestors(ys + gradients + others) - script.added, key=compat.op_id)
    successors = loops.successors(ops)
    in_order = loops.topological(successors)
    frames = loops.frames(successors)
    loop = {op: stack[0] for op, stack in frames.items()}
    in_loop = loops.members(loop)
    reached, updates = _reached(ops, successors, loop, in_loop, script)
    sources = [op for op in ops if op in reached and _is_source(op, reached, loop, script)]
    needed = data_ancestors((t.op for t in ys + gradients + others), script.slices | script.added)
    deferred = _deferred(updates, reached & needed, successors, loop)
    batch_dependent = reached.difference(sources) - deferred
    forward = script.ancestors(ys)
    in_forward_loops = [t for name in {loop[op] for op in forward if op in loop}
                        for op in in_loop[name] for t in op.outputs]
    forward = forward | script.ancestors(in_forward_loops)
    backward = script.ancestors(gradients)
    early = forward | _of_shapes(in_order, forward)
    phase = {op: FORWARD if op in early else BACKWARD for op in batch_dependent
             if op in forward or op in backward}
    stage = _Stages(in_order, forward, successors, loop, in_loop, script).found
    inner = {op for op, stack in frames.items() if len(stack) > 1}
    return StepPartition(ops, sources, batch_dependent, updates, deferred, phase, stage, loop,
                         inner, conditional(in_order, loop), successors)


def _of_shapes(ops: List[Any], forward: Set[Any]) -> Set[Any]:
    """What asks for shapes of the forward pass: it runs there, and holds nothing for later."""
    return {op for op in ops if op.type in op_traits.SHAPES
            and all(b in forward for b in [t.op for t in op.inputs] + list(op.control_inputs))}


def _reached(ops: List[Any], successors: Dict[Any, List[Any]], loop: Dict[Any, str],
             in_loop: Dict[str, List[Any]], script: Script) -> Any:
    """(operations that differ between clones, updates among what they reach)."""
    reached: Set[Any] = set()
    updates: Set[Any] = set()
    library = Library(ops[0].graph) if ops else None
    counting = static_shapes.counting(ops)
    pending = [op for op in ops if _starts_batch(op, script)]
    while pending:
        op = pending.pop()
        if op in reached or op in updates:
            continue
        if op_traits.written_variable(op) is not None:
            if op in loop:
                raise NotImplementedError(
                    "operation '{}' writes a variable inside tf.while_loop from the batch: with "
                    "several micro-batches or replicas the order of writes would be undefined; "
                    "write it outside of the loop".format(op.name))
            updates.add(op)
            continue
        assert library is not None
        _check_functions(op, library)
        reached.add(op)
        pending.extend(successors[op] + counting.get(op, []))
        if op in loop:  # a loop is copied as a whole
            pending.extend(in_loop[loop[op]])
    return reached, sorted(updates, key=compat.op_id)


def _deferred(updates: List[Any], needed: Set[Any], successors: Dict[Any, List[Any]],
          loop: Dict[Any, str]) -> Set[Any]:
    """The updates and what needs them: groups, reads of what they wrote.

    An update happens once, after all clones have said what to write. So no clone may need it.
    Where an operation merely waits for one (gradients built under `tf.control_dependencies`), what
    the script gets is made to wait instead.

    Raises:
      NotImplementedError: a clone needs the value of a variable after an update.
    """
    deferred: Set[Any] = set()
    seen: Set[Any] = set()
    pending = [(op, op) for op in updates]
    while pending:
        op, update = pending.pop()
        variable = op_traits.written_variable(update)
        if (op, variable) in seen:
            continue
        seen.add((op, variable))
        deferred.add(op)
        for user in successors[op]:
            needs = any(t.op is op or _refers_to(t, variable) for t in user.inputs)
            if needs and user in needed and not _only_waits(user, successors, loop):
                raise NotImplementedError(
                    "operation '{}', which the loss or a gradient needs, uses a variable after "
                    "'{}' has written it from the batch: with several micro-batches or replicas "
                    "there is no such value before all of them have run; use the variable's "
                    "value before the update".format(user.name, update.name))
            if needs or not user.outputs:
                pending.append((user, update))
    return deferred


def _refers_to(tensor: Any, variable: Any) -> bool:
    """True for a reference to a variable, or its handle."""
    return op_traits.is_handle(tensor) and op_traits.handle_origin(tensor) is variable


def _only_waits(op: Any, successors: Dict[Any, List[Any]], loop: Dict[Any, str]) -> bool:
    """True if what `op` brings into a loop is used for nothing but to wait for it.

    TensorFlow makes such operations of control edges into a loop.
    """
    takers = [user for user in successors[op] if any(t.op is op for t in user.inputs)]
    return op in loop and (loops.is_enter(op) or op.type == "Identity") and all(
        _only_waits(user, successors, loop) for user in takers)


def _check_functions(op: Any, library: Library) -> None:
    if not any(op_traits.is_handle(t) for t in op.inputs):
        return
    node = library.writing_node(op)
    if node is not None:
        raise NotImplementedError(
            "operation '{}' writes a variable inside a function ('{}', {}): with several "
            "micro-batches or replicas the order of writes would be undefined; write it outside, "
            "as an entry of tf.GraphKeys.UPDATE_OPS".format(op.name, node.name, node.op))


def conditional(ops: List[Any], loop: Dict[Any, str]) -> Set[Any]:
    """The operations behind a Switch that no Merge has closed yet; those of loops do not count."""
    depth: Dict[Any, int] = {}
    for op in ops:
        before = [t.op for t in op.inputs] + list(op.control_inputs)
        depth[op] = max([depth.get(b, 0) + (op_traits.is_switch(b) and b not in loop)
                         for b in before] or [0])
        if op.type in _MERGES and op not in loop:
            depth[op] = max(0, depth[op] - 1)
    return {op for op, number in depth.items() if number > 0}


def _is_source(op: Any, reached: Set[Any], loop: Dict[Any, str], script: Script) -> bool:
    if op in script.slices:
        return True
    if op in loop or op.type in op_traits.STEP_SCOPED or op_traits.is_random(op):
        return False
    behind = [t.op for t in op.inputs] + list(op.control_inputs)
    return _starts_batch(op, script) and not any(b in reached for b in behind)


def _starts_batch(op: Any, script: Script) -> bool:
    """As `op_traits.starts_batch`; `gradients` hides the number of rows behind placeholders."""
    if op in script.slices:
        return True
    return op_traits.starts_batch(op) and not (
        op.type == "PlaceholderWithDefault" and script.provenance.is_gradient(op))


class _Stages:
    """The stage of every operation.

    A forward operation belongs to the stage in whose interval it was created, a backward one to
    that of the forward operation it is the gradient of. Where that is none, or the reading of a
    variable, the stage follows from what the operation takes. Gradients by what a stage hands on
    are added up where they come from, so that one is handed back. Gradients that the loss is
    computed from go forward: they belong to the last stage that they take something from. A loop is
    in one stage as a whole.
    """

    def __init__(self, ops: List[Any], forward: Set[Any], successors: Dict[Any, List[Any]],
                 loop: Dict[Any, str], in_loop: Dict[str, List[Any]], script: Script):
        self.found: Dict[Any, int] = {}
        self._script = script
        self._loop = loop
        self._forward = forward
        self._last = max([script.provenance.stage_of(op) for op in ops
                          if not script.provenance.is_gradient(op)] or [0])
        self._stage_of_loop = {name: self._of_loop(members) for name, members in in_loop.items()}
        for op in ops:
            self.found[op] = self._of(op)
        for op in reversed(ops):  # state for a loop, made while its gradient was built
            if op.type in op_traits.STEP_SCOPED or (
                    op in forward and script.provenance.is_gradient(op)):
                users = [self.found[user] for user in successors[op] if user in forward]
                if users and op not in loop:
                    self.found[op] = min(users)

    def _of(self, op: Any) -> int:
        stage = self._stage_of_loop.get(self._loop.get(op, ""))
        if stage is not None:
            return stage
        if not self._script.provenance.is_gradient(op):
            return self._script.provenance.stage_of(op)
        behind = [t.op for t in op.inputs] + list(op.control_inputs)
        known = [(b, self.found[b]) for b in behind if b in self.found]
        if op in self._forward:
            return max([s for _, s in known] or [self._last])
        stage = self._of_forward_op(op)
        backward = [s for b, s in known
                    if self._script.provenance.is_gradient(b) and b not in self._forward]
        if stage is not None:
            summed = {self.found[t.op] for t in op.inputs} if op.type in _SUMS else set()
            if len(summed) == 1:
                return min(summed)
            return min([stage] + backward)  # gradients never go back up
        return min(backward) if backward else max([s for _, s in known] or [self._last])

    def _of_forward_op(self, op: Any) -> Optional[int]:
        """The stage of the forward operation that a backward one is the gradient of."""
        target = self._script.provenance.differentiated(op)
        if target is None or any(op_traits.is_handle(t) for t in list(target.outputs) + list(
                target.inputs) if op_traits.is_variable(op_traits.handle_origin(t))):
            return None  # a variable, or the reading of one: other stages may read it too
        if target in self.found:
            return self.found[target]
        if self._script.provenance.is_gradient(target):
            return None
        return self._script.provenance.stage_of(target)

    def _of_loop(self, members: List[Any]) -> Optional[int]:
        built = [op for op in members if not self._script.provenance.is_gradient(op)]
        stages = sorted({self._script.provenance.stage_of(op) for op in built})
        if len(stages) > 1:
            raise NotImplementedError(
                "the tf.while_loop of operation '{}' lies in stages {} and {}: a loop cannot be "
                "cut; begin the next stage before or after it".format(
                    built[0].name, stages[0], stages[-1]))
        if stages:
            return stages[0]
        if any(op in self._forward for op in members):
            return self._last
        of_forward = [s for s in map(self._of_forward_op, members) if s is not None]
        return min(of_forward) if of_forward else None
