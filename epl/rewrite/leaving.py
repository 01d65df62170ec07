# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What leaves a training step: variables that it writes, and what depends on the gradients.

    batch ---> loss ---> gradients ---> | returned | ---> optimizer ---> train_op
      |          |                                          ^              ^
      |          +---> learning rate -----------------------+              |
      +---> mean ---> moving average, metric ------------------------------+

Behind the returned gradients everything happens once a step (`once`). What is read there from the
batch, and what the script's own writes take from it, has to be that of the whole batch. Who writes,
and who waits for that, is `deferred`: a step runs a copy of it, which reads the whole batch.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

from epl import compat
from epl.ir import static_shapes
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.groups import GradientGroup, groups_of, parts, sources_of
from epl.rewrite.walk import (
    ancestors,
    data_ancestors,
    data_descendants,
    decisions,
    descendants,
)


class Leaving(NamedTuple):
    """What is known of one version of a graph.

    Attributes:
      once: operations behind the gradients that the script got: they run in steps alone, once.
      of_batch: operations that depend on the data of a step, by way of data alone.
      writes: operations that write a variable from it -> the group whose step can compute them;
        None for those that read further data, and so are not a step's.
      deferred: the writes of groups, and what depends on them, `once` left out.
      writes_global: those of `writes` that make a run a step by writing a global variable: all but
        what is fed to be kept as it is.
    """

    once: Set[Any]
    of_batch: Set[Any]
    writes: Dict[Any, Optional[GradientGroup]]
    deferred: Set[Any]
    writes_global: Set[Any]


def look(graph: Any, state: GraphState) -> Leaving:
    """Find out what leaves the steps of `graph`, whose groups know their sources."""
    returned = {op for group in groups_of(state) for op in group.returned_ops}
    computing = computing_ops(groups_of(state))
    once = {op for op in descendants(returned) - returned - computing
            if not state.provenance.is_made(op)}
    of_losses: Set[Any] = set().union(*[group.sources for group in groups_of(state)])
    behind = once | returned  # a gradient has the shape of its variable, whatever the batch is
    followed = _followed(graph, _fed(graph, state) | of_losses, behind)
    followed |= static_shapes.following(graph, followed.__contains__, behind)
    of_batch = {op for op in followed if not state.provenance.is_made(op)} - behind
    writes = {op: owner([t for t in op.inputs if not op_traits.is_handle(t)], state)
              for op in _writing(graph, of_batch, once)}
    variables = {compat.variable_key(v) for v in compat.global_variables(graph)}
    owned = {op for op, group in writes.items() if group is not None}
    deferred = {op for op in descendants(owned) - once - returned - computing
            if not state.provenance.is_made(op)} | owned
    return Leaving(once, of_batch, writes, deferred,
                   {op for op in writes if op_traits.written_variable(op) in variables
                    and op_traits.loaded(op) in of_losses | {None}})


def _followed(graph: Any, starts: Set[Any], behind: Set[Any]) -> Set[Any]:
    """What depends on `starts` by data, or by what decides between branches; not `behind`."""
    found = data_descendants(starts, behind) - behind
    joins = [(op, decided) for op in graph.get_operations() for decided in decisions(op)]
    while True:
        new = [op for op, decided in joins if decided.op in found and op not in found]
        if not new:
            return found
        found |= data_descendants(new, behind) - behind


def computing_ops(groups: Iterable[GradientGroup]) -> Set[Any]:
    """The operations of the script that compute losses and gradients."""
    return ancestors(t.op for group in groups for t in group.ys + [
        part for gradient in group.gradients for part in parts(gradient.raw)])


def check_order(groups: Iterable[GradientGroup]) -> None:
    """Check that no clone waits for what happens once, behind the gradients of all clones.

    Raises:
      NotImplementedError: losses or gradients that wait for an update.
    """
    groups = list(groups)
    returned = {op for group in groups for op in group.returned_ops}
    computed = data_ancestors(t.op for group in groups for t in group.ys + [
        part for gradient in group.gradients for part in parts(gradient.raw)])
    behind = descendants(returned) - computed - returned
    for op in sorted(computed, key=compat.op_id):
        for source in op.control_inputs:
            if source in behind:
                raise NotImplementedError(
                    "operation '{}'{}, which a loss or its gradients are computed by, waits for "
                    "'{}', which a training step runs once, after all its micro-batches and "
                    "replicas: build losses and gradients (compute_gradients) outside of "
                    "tf.control_dependencies([...]), and only what applies them "
                    "(apply_gradients) inside".format(op.name, compat.made_at(op), source.name))


def _writing(graph: Any, of_batch: Set[Any], once: Set[Any]) -> List[Any]:
    """What writes variables from the batch, or where the batch says whether to."""
    found = {op for op in of_batch if op_traits.written_variable(op) is not None}
    switched = {op for op in of_batch if op.type in ("Switch", "RefSwitch")
                and op.inputs[1].op in of_batch}
    for op in descendants(switched) - once if switched else ():
        if op_traits.written_variable(op) is not None and is_decided(op, of_batch):
            found.add(op)
    return sorted(found - compat.initializers(graph), key=compat.op_id)


def is_decided(op: Any, of_batch: Set[Any]) -> bool:
    """True for an operation in a branch that the batch chooses."""
    context = compat.control_flow_context(op)
    while context is not None:
        predicate = getattr(context, "pred", None)
        if predicate is not None and predicate.op in of_batch:
            return True
        context = context.outer_context
    return False


def owner(tensors: Iterable[Any], state: GraphState) -> Optional[GradientGroup]:
    """The group whose step can compute `tensors`: that with most of it in common; None if none can.

    What is fed beside the step's own data is divided like that.
    """
    tensors = list(tensors)
    needed = sources_of(tensors, state)
    able = [group for group in groups_of(state)
            if all(op in group.sources or op.type in op_traits.PLACEHOLDERS for op in needed)]
    if len(able) <= 1:
        return able[0] if able else None
    behind = data_ancestors(t.op for t in tensors)
    return max(able, key=lambda group: len(behind & ancestors(y.op for y in group.ys)))


def _fed(graph: Any, state: GraphState) -> Set[Any]:
    """The script's placeholders that are fed rows."""
    return {op for op in graph.get_operations()
            if (op.type in op_traits.PLACEHOLDERS or op.type == "PlaceholderWithDefault")
            and op.outputs[0].shape.ndims is not None and op_traits.is_fed_per_batch(op)
            and not state.provenance.is_made(op) and not state.provenance.is_gradient(op)}
