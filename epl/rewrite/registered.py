# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `registered`: what the script said itself about how a tensor's values merge.

Which tensors a step can merge follows from where their data comes from: those that it has no
further data for are left alone.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

from epl import compat
from epl.ir.environment import context_of
from epl.ir.graph_keys import GraphKeys
from epl.ir.graph_state import GraphState
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.groups import GradientGroup, Merged, groups_of, sources_of
from epl.rewrite.leaving import Leaving
from epl.rewrite.loss_record import averaged_as, is_unequal, rows_read, weight_of
from epl.rewrite.merge import clone_weights, of_clones, of_each, of_workers
from epl.rewrite.relations import Mergeable, Reduced, Rows
from epl.rewrite.walk import data_ancestors
from epl.rewrite.weights import weight_of_mean

# How each collection merges, and whether over all workers.
_KEYS: Dict[str, Tuple[Mergeable, bool]] = {
    GraphKeys.GLOBAL_CONCAT_OBJECTS: (Rows(0), True),
    GraphKeys.GLOBAL_MEAN_OBJECTS: (Reduced("mean"), True),
    GraphKeys.GLOBAL_SUM_OBJECTS: (Reduced("sum"), True),
    GraphKeys.LOCAL_CONCAT_OBJECTS: (Rows(0), False),
    GraphKeys.LOCAL_MEAN_OBJECTS: (Reduced("mean"), False),
    GraphKeys.LOCAL_SUM_OBJECTS: (Reduced("sum"), False),
}


_NOT_MERGED = (
    "{0}{1} is registered for all workers, and a training step fetches it{3} that does not read "
    "what it is computed from, {2}: nothing is merged there, and each worker would get its own. "
    "Fetch it in a run of its own (it is this worker's there), or let the step write it: the value "
    "that tf.metrics.mean(...) returns as its update is that of all workers")


def how(tensor: Any, state: GraphState) -> Optional[Tuple[Mergeable, bool]]:
    """(relation, over all workers) that the script registered for `tensor`; None if it did not."""
    for key, members in state.registered.items():
        if any(member is tensor for member in members):
            return _KEYS[key]
    return None


def wanted(group: GradientGroup, state: GraphState) -> List[Any]:
    """The registered tensors that a step of `group` can compute without further feeds or data.

    What follows a write from the batch is that of the whole batch already.
    """
    leaving = state.find(Leaving)
    deferred = leaving.deferred if leaving is not None else ()
    return [tensor for key in sorted(_KEYS) for tensor in state.registered.get(key, [])
            if tensor.op not in deferred and sources_of([tensor], state) <= group.sources]


def check_registered(state: GraphState) -> None:
    """Raises NotImplementedError if parts of a value that has none are to be joined or added up."""
    leaving = state.known(Leaving)
    for key, tensors in sorted(state.registered.items()):
        for tensor in tensors:
            if tensor.op in leaving.deferred and _KEYS[key][0] != Reduced("mean"):
                raise NotImplementedError(
                    "{} follows what a step writes from its batch{}: the write sees the whole "
                    "batch, and so there are no parts of {} to be added up or joined ('{}'); leave "
                    "it unregistered: its value is that of all rows anyway".format(
                        tensor.name, compat.made_at(tensor.op), tensor.name, key))


def check_fetched(fetches: Sequence[Any], groups: Sequence[GradientGroup], merged: Any,
                  state: GraphState) -> None:
    """Refuse what is registered for all workers where a step cannot merge it.

    Args:
      fetches: tensors that a step of several workers fetches.
      groups: of the step.
      merged: names of what it merges.
      state: the graph's record.

    Raises:
      NotImplementedError: it is computed from data that the step does not read.
    """
    leaving = state.known(Leaving)
    missing = {tensor.op: tensor for key, (_, everywhere) in _KEYS.items() if everywhere
               for tensor in state.registered.get(key, [])
               if tensor.name not in merged and tensor.op not in leaving.deferred}
    if not missing:
        return
    read = {source for group in groups for source in group.sources}
    for fetched in fetches:
        # What follows a write reads the whole batch.
        for op in data_ancestors([fetched.op], leaving.deferred) & missing.keys():
            further = sorted(sources_of([missing[op]], state) - read, key=compat.op_id)
            raise NotImplementedError(_NOT_MERGED.format(
                missing[op].name, compat.made_at(op), ", ".join("'{}'{}".format(
                    source.name, compat.made_at(source)) for source in further[:3]),
                "" if fetched is missing[op] else " (for '{}')".format(fetched.name)))


def other_losses(group: GradientGroup, state: GraphState) -> List[Any]:
    """Losses of other groups that are numbers and that a step of `group` can compute as well."""
    found = {loss.name: loss for other in groups_of(state) if other is not group
             for loss in other.ys if is_number(loss) and how(loss, state) is None
             and loss.name not in [y.name for y in group.ys]
             and sources_of([loss], state) <= group.sources}
    return [found[name] for name in sorted(found)]


def is_number(loss: Any) -> bool:
    """True for a loss without axes."""
    return loss.shape.ndims == 0 and bool(loss.dtype.is_floating)


def merge_registered(group: GradientGroup, state: GraphState, num_workers: int,
                     axes: Optional[BatchAxes]) -> None:
    """Build the merged values that a step of `group` returns and that are missing yet.

    Args:
      group: whose step it is.
      state: the graph's record.
      num_workers: of the job.
      axes: how tensors relate to the whole batch, where its parts may have other numbers of rows.

    Raises:
      NotImplementedError: a registered tensor inside control flow.
      ValueError: the mean of whole numbers is asked for.
    """
    for tensor in wanted(group, state):
        if tensor.name not in group.merged:
            said = how(tensor, state)
            assert said is not None
            relation, everywhere = said
            meant = tensor  # the mean of a loss over all is the loss of the whole batch
            if everywhere and relation == Reduced("mean"):
                meant = averaged_as(tensor, state)
            weights = _weights(group, tensor, state, axes) \
                if axes is not None and relation == Reduced("mean") else None
            merged = _merged(group, meant, relation, num_workers if everywhere else 1, weights)
            if merged.value is not tensor:
                group.merged[tensor.name] = merged


def _weights(group: GradientGroup, tensor: Any, state: GraphState,
             axes: BatchAxes) -> Optional[List[Any]]:
    """How much each clone counts in a registered mean; None: all alike.

    Where it is not known which rows it is a mean of they are those that are read for the loss.
    """
    weight = weight_of(tensor, state) if is_unequal(tensor, state) else (
        weight_of_mean(tensor, axes) or rows_read(group.ys[0], state))
    return None if weight is None else clone_weights(group, weight)


def _merged(group: GradientGroup, tensor: Any, relation: Mergeable, num_workers: int,
            weights: Optional[List[Any]]) -> Merged:
    if group.copied is None and num_workers == 1:
        return Merged(tensor, ())
    _check(tensor, relation)
    name = "{}/merged/{}".format(group.name, tensor.name.replace(":", "_"))
    with compat.inserted(tensor.graph, name):
        found = of_clones(of_each(group, tensor), relation, weights)
        if num_workers == 1:
            return Merged(found.value, ())
        return of_workers([found], [relation], [name], context_of(tensor.graph))[0]


def _check(tensor: Any, relation: Mergeable) -> None:
    if compat.control_flow_context(tensor.op) is not None:
        raise NotImplementedError(
            "{} is inside tf.cond or tf.while_loop: its value cannot be merged over workers or "
            "micro-batches; register a tensor that is computed outside".format(tensor.name))
    if relation == Reduced("mean") and not tensor.dtype.is_floating:
        raise ValueError("{} has type {}: the mean of whole numbers is none; register tf.cast({}, "
                         "tf.float32) instead".format(tensor.name, tensor.dtype.name, tensor.name))
