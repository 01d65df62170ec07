# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a checked step is asked for, beside what the script asks for.

    losses      what is differentiated, as if the script fetched it
    taken       what iterators and queues gave, for every clone
    drawn       what random operations drew, for every clone
    gradients   as the script got them
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.checking.script import Script, split
from epl.errors import CheckError
from epl.ir.graph_keys import GraphKeys
from epl.ir.graph_state import state_of
from epl.rewrite import op_traits
from epl.rewrite.functions import Library
from epl.rewrite.groups import parts
from epl.rewrite.sources import Sources
from epl.rewrite.walk import ancestors, data_ancestors
from epl.rewrite.zero import Zero
from epl.runtime.runs import Run

_STATELESS_DRAWS = ("StatelessRandom", "StatelessTruncated", "StatelessMultinomial")
_TABLES = ("HashTable", "HashTableV2")


class Wanted(NamedTuple):
    """What one kind of step is asked for, and what is known of it.

    Attributes:
      fetches: names of what the script fetches and the reference can compute. Without what depends
        on variables alone: whether it is read before or after their update nothing says, also in
        plain TensorFlow.
      foreign: names of what it fetches, but has not made itself.
      targets: names of the operations that it runs.
      differentiated: names of the tensors whose gradients are taken.
      losses: numbers that are differentiated and not fetched.
      taken: name of a source's tensor -> that of every clone, in order.
      drawn: the same of random operations.
      sparse: names of (indices, values, shape) among `taken` that are one sparse tensor.
      gradients: (what it is called, its tensors: one, or values and indices).
      writers: names of the operations that write variables.
      tables: names of the tables that are looked up.
      unseen: random operations whose draws cannot be read.
      once: names among `taken` and `drawn` of what is drawn, or asked of Python, and read by no
        loss: the chief's counts.
      everywhere: names of the fetches that are to be the same on all workers.
      reached: names of all nodes of the script that the step depends on.
    """

    fetches: List[str]
    foreign: List[str]
    targets: List[str]
    differentiated: List[str]
    losses: List[Any]
    taken: Dict[str, List[Any]]
    drawn: Dict[str, List[Any]]
    sparse: List[Tuple[str, str, str]]
    gradients: List[Tuple[str, List[Any]]]
    writers: List[str]
    tables: List[str]
    unseen: List[str]
    once: Set[str]
    everywhere: Set[str]
    reached: List[str]

    @property
    def extra(self) -> List[Any]:
        """Tensors to compute along, each once."""
        found = [t for group in (self.taken, self.drawn) for clones in group.values()
                 for t in clones] + [t for _, tensors in self.gradients for t in tensors]
        return list({t.name: t for t in found}.values())


NOTHING = Wanted([], [], [], [], [], {}, {}, [], [], [], [], [], set(), set(), [])


def look(graph: Any, script: Script, run: Run, fetches: Sequence[Any], targets: Sequence[Any],
         fed: Set[str]) -> Wanted:
    """What to ask the step for that a run of `fetches` and `targets` is.

    Args:
      graph: the rewritten graph.
      script: what it was before.
      run: the `runs.Run`.
      fetches: tensors.
      targets: operations.
      fed: names of the tensors that are fed.

    Raises:
      CheckError: the step depends on what cannot be recorded.
    """
    losses = [y for group in run.groups for y in group.ys]
    own = [op.name for op in targets if op.name in script.nodes]
    outputs = [t.op.name for t in list(fetches) + losses if t.op.name in script.nodes]
    gradients = [g for group in run.groups for g in group.gradients]
    ends = {name for name in script.behind(
        own + outputs + [t.op.name for g in gradients for t in parts(g.returned)],
        lambda name: _is_source(graph.get_operation_by_name(name)), fed)}
    ops = [graph.get_operation_by_name(name) for name in script.nodes if name in ends]
    sources = [op for op in ops if _is_source(op)
               and not all(t.name in fed for t in op.outputs)]
    draws = [op for op in ops if _draws(op)]
    library = Library(graph)
    unseen = [op.name for op in draws if not graph.is_fetchable(op)]
    unseen += [op.name for op in ops if op not in draws and op not in sources and any(
        op_traits.seeds(node, None) is not None for node in library.nodes(op))]
    for op in sources:
        _check_source(graph, op)
    known = {t.name for t in fetches}
    writers = [op.name for op in ops if op_traits.written_variable(op) is not None]
    return Wanted(
        [t.name for t in fetches if script.holds(t.name)
         and _is_of_step(script, t.op.name, {op.name for op in sources + draws}, writers, fed)],
        [t.name for t in fetches if not script.holds(t.name)], own,
        [y.name for y in losses],
        list({y.name: y for y in losses if y.shape.ndims == 0 and y.name not in known}.values()),
        _of_clones(graph, run, sources, fed),
        _of_clones(graph, run, [op for op in draws if op.name not in unseen], fed),
        [tuple(t.name for t in op.outputs) for op in sources  # type: ignore[misc]
         if op.type == "DeserializeSparse"],
        _called(graph, _whole(graph, gradients)), writers, _known_tables(ops), unseen,
        _once(sources + draws, losses), _everywhere(losses, state_of(graph)),
        [op.name for op in ops])


def _once(ops: Sequence[Any], losses: Sequence[Any]) -> Set[str]:
    """The tensors of those of `ops` that read no data, and that no loss depends on."""
    behind = ancestors(loss.op for loss in losses)
    return {t.name for op in ops if op not in behind and op_traits.data_origin(op) is None
            for t in op.outputs}


def _everywhere(losses: Sequence[Any], state: Any) -> Set[str]:
    """What steps return alike on all workers: losses that are numbers, what is registered so."""
    local = {t.name for key in GraphKeys.LOCAL for t in state.registered.get(key, [])}
    said = {t.name for tensors in state.registered.values() for t in tensors}
    return said.union(loss.name for loss in losses if loss.shape.ndims == 0) - local


def _is_of_step(script: Script, name: str, sources: Set[str], writers: Sequence[str],
                fed: Set[str]) -> bool:
    """True if a node depends on data, on a draw, or on an update."""
    ends = sources.union(writers, (split(tensor)[0] for tensor in fed))
    return not ends.isdisjoint(script.behind([name], ends.__contains__))


def _is_source(op: Any) -> bool:
    """True if rows come from `op`: an iterator, a queue, a reader, a function without a batch.

    What it gives may be such that no session can fetch it; then its readers are the source.
    """
    if any(t.dtype == tf.variant and _is_source(t.op) for t in op.inputs):
        return True
    if op.type in op_traits.PLACEHOLDERS or not op_traits.brings_data(op):
        return False
    return op_traits.data_origin(op) is not None or not any(
        op_traits.brings_data(behind) or op_traits.is_variable(behind)
        or behind.type in op_traits.STEP_SCOPED
        for behind in data_ancestors([t.op for t in op.inputs]))


def _check_source(graph: Any, op: Any) -> None:
    if not graph.is_fetchable(op) or compat.control_flow_context(op) is not None:
        raise CheckError(
            "'{}' ({}) takes data inside tf.cond or tf.while_loop: what it took cannot be read; "
            "take the data outside".format(op.name, op.type))


def _draws(op: Any) -> bool:
    return op_traits.is_random(op) or op.type.startswith(_STATELESS_DRAWS)


def _of_clones(graph: Any, run: Run, ops: Sequence[Any], fed: Set[str]) -> Dict[str, List[Any]]:
    """Name of every tensor of `ops` -> what stands for it in the clones, each tensor once."""
    found: Dict[str, List[Any]] = {}
    for op in ops:
        for tensor in op.outputs:
            if tensor.name not in fed and tensor.dtype not in (tf.variant, tf.resource):
                copies = _copies(graph, run, tensor)
                found[tensor.name] = list({copy.name: copy for copy in copies}.values())
    return found


def _copies(graph: Any, run: Run, tensor: Any) -> List[Any]:
    sources = state_of(graph).find(Sources)
    copying = [group.clones for group in run.groups if group.clones is not None]
    for clones in copying:
        if clones.has(tensor.op):
            return [clones.tensor(tensor, clone) for clone in clones.clones]
    if sources is None:
        return [tensor]
    return [sources.tensor(tensor, clone) for clone in sources.clones]


def _whole(graph: Any, gradients: Sequence[Any]) -> List[Any]:
    """Those of `gradients` that each worker has all of (see `rewrite.zero`)."""
    zero = state_of(graph).find(Zero)
    return [g for g in gradients if zero is None or zero.rows_of(g) is None]


def _called(graph: Any, gradients: Sequence[Any]) -> List[Tuple[str, List[Any]]]:
    """Gradients by the names of their variables; a number behind the second of a variable."""
    found: Dict[str, List[Any]] = {}
    for gradient in gradients:
        name = "gradient of " + gradient.variable.name
        if name in found:
            name = "{} ({})".format(name, 1 + sum(n.startswith(name) for n in found))
        found[name] = parts(gradient.returned)
    return list(found.items())


def _known_tables(ops: Sequence[Any]) -> List[str]:
    """The names of the tables among `ops`.

    Raises:
      CheckError: there is state that is neither a variable nor a table that is filled once.
    """
    found = []
    for op in ops:
        if not op_traits.owns_state(op) or op_traits.is_variable(op):
            continue
        if op.type not in _TABLES:
            raise CheckError(
                "the step uses '{}' ({}): its state is no variable, and cannot be read and given "
                "to plain TensorFlow".format(op.name, op.type))
        found.append(op.name)
    return found
