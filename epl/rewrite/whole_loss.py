# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `whole_loss`: the mean over the parts of a batch becomes the loss of the whole batch.

    as the script built it            what a step trains by
    sum(e * m) --> /  --> + --> loss  sum(e * m) x parts --> /' --> +' --> loss'
    sum(m) ------->                   sum(m) of all rows -->
                 gradients <--                    gradients <--

What is added up over rows (`terms.Terms.sums`) counts as often as there are parts, a mean over rows
that a mask chooses by the share of them that a part has. Parts count as many times as they have
rows, where these may differ (see `rewrite.weights`). A statistic of the data is that of the whole
batch; it is computed before the model, by copies of what it takes, so that the first micro-batch
need not wait for the last. The gradients read copies of what depends on these; the script's own
operations are left as they are, for what runs outside of a step.
"""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import RewriteError
from epl.ir import editor, feeds, static_shapes
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits, unequal, weights
from epl.rewrite.batch_axis import BatchAxes
from epl.rewrite.clones import CloneId, CloneMap
from epl.rewrite.data import Data
from epl.rewrite.gradient_functions import GradientFunctions
from epl.rewrite.groups import GradientGroup, Measure, groups_of, parts
from epl.rewrite.loss_record import Statistic, WholeLosses
from epl.rewrite.losses import averaged_gradients
from epl.rewrite.partition import StepPartition
from epl.rewrite.relations import Rows
from epl.rewrite.terms import Terms, describe, terms_of
from epl.rewrite.walk import ancestors, data_ancestors, data_descendants
from epl.rewrite.whole import View, WholeBatch

_SCRIPT, _MADE = CloneId(0, 0, 0), CloneId(0, 1, 0)


def make_whole(graph: Any, family: List[GradientGroup], state: GraphState, partition: StepPartition,
               axes: BatchAxes, num_parts: int, parts_here: int,
               rows: Optional[weights.Rows]) -> List[Measure]:
    """Let the gradients of a family of groups be those of the loss of the whole batch.

    Prints a warning for what is no mean over the rows and cannot be made one.

    Args:
      graph: the script's graph.
      family: groups of one loss, before their clones are made.
      state: the graph's record; its `WholeLosses` get what is made.
      partition: what the family's steps consist of.
      axes: how its tensors relate to the whole batch.
      num_parts: micro-batches, replicas and slices of all workers.
      parts_here: those of this worker.
      rows: what brings in rows of which parts may have other numbers; None if all have equally
        many.

    Returns:
      What has to be equal for that, though rows may not be.
    """
    losses = family[0].ys
    terms = terms_of(losses, partition, axes, state.provenance.is_gradient,
                     {gradient.op for gradient in averaged_gradients(state.provenance.calls)})
    surgery = _Surgery(graph, family, state, partition, axes, num_parts, parts_here)
    statistics = {}
    for name, tensor in terms.statistics.items():
        if surgery.is_near_loss([tensor]):
            statistics[name] = tensor
        else:
            terms.strange.append(("normalised", tensor.op))
    for kind, found in terms.by_kind():
        others = "" if len(found) == 1 else " ({} more like it)".format(len(found) - 1)
        tf.logging.warning(
            "the loss {} {}{}, which differs from one device with the whole batch. Make it a mean "
            "or a sum over rows, or one of these divided by a number of the data; or train with "
            "one worker, device and micro-batch{}".format(
                losses[0].name, describe(kind, found[0].name, compat.made_at(found[0])), others,
                _without_shape(losses) if kind == "unknown" else ""))
    if terms.normalised:
        first = min(terms.normalised, key=compat.op_id)
        tf.logging.warning(
            "the loss {} depends on batch normalisation ('{}'{} is the first): every micro-batch, "
            "replica and worker normalises by the statistics of its own rows, as one device does "
            "with a batch of that size; moving averages follow the mean of these".format(
                losses[0].name, first.name, compat.made_at(first)))
    measures = surgery.weigh(rows, terms) if rows is not None else []
    if terms.sums or terms.chosen or statistics:
        surgery.carry_out(terms, statistics)
    surgery.gradient_functions(family).give_size_of_whole(graph, family[0].name, surgery.size_of)
    return measures


def _without_shape(losses: Sequence[Any]) -> str:
    """What to say of a placeholder without a shape, if one is behind the losses."""
    open_ = [op for op in sorted(data_ancestors(loss.op for loss in losses), key=compat.op_id)
             if op.type in feeds.PLACEHOLDERS and op.outputs[0].shape.ndims is None
             and not feeds.is_declared(op.outputs[0])]
    return "" if not open_ else (
        ". '{}'{} has no shape: if it is a number, give it shape=[], or say epl.share_feed of "
        "it".format(open_[0].name, compat.made_at(open_[0])))


class _Surgery:
    """Changes what the gradients of one family read."""

    def __init__(self, graph: Any, family: List[GradientGroup], state: GraphState,
                 partition: StepPartition, axes: BatchAxes, num_parts: int, parts_here: int):
        self._axes, self._num_parts, self._parts_here = axes, num_parts, parts_here
        self._graph, self._state, self._partition = graph, state, partition
        self._losses = family[0].ys
        self._scope = family[0].name
        self._copied = 0
        self._weight: Any = None  # how much a part counts
        self._read: Optional[weights.Rows] = None  # rows that data is known to have early
        self._total: Any = None  # of these, in the whole batch
        self._data = Data(partition, axes, state.provenance.is_gradient, family[0].ys)
        self._forward = ancestors(y.op for y in self._losses)
        self._calls = [data_ancestors(part.op for g in group.gradients for part in parts(g.raw))
                       - self._forward for group in family]
        self._backward = sorted(set().union(*self._calls), key=compat.op_id)

    def is_near_loss(self, tensors: List[Any]) -> bool:
        """True if no layer of the model stands between `tensors` and the losses."""
        last = max(self._partition.stage.values())
        return all(self._partition.stage[op] == last and op in self._partition.batch_dependent
                   and op not in self._partition.loop and op not in self._partition.conditional
                   and not op_traits.is_random(op) and not any(
                       op_traits.is_handle(t) or op_traits.reads_variable(t) for t in op.inputs)
                   for op in self._between(tensors))

    def gradient_functions(self, family: List[GradientGroup]) -> GradientFunctions:
        """Those of the script in the backward pass."""
        raw = [part for group in family for g in group.gradients for part in parts(g.raw)]
        return GradientFunctions(self._losses, self._forward, self._backward, raw, self._partition,
                                 self._axes, self._state.provenance)

    def weigh(self, rows: weights.Rows, terms: Terms) -> List[Measure]:
        """Let parts count as many times as they have rows, if a loss has means over rows.

        Returns:
          What has to be equal for that: the multiples of what the first mean is taken over that the
          others are, and `rows`; or where nothing is weighed, the number of rows.
        """
        record = self._state.record(WholeLosses)
        kind = weights.kind_for(self._losses[0])
        record.read.update((loss.name, weights.Weight(rows, kind)) for loss in self._losses)
        by_numbers = [tensor for tensor, divisors in terms.sums.values() if _may_count(divisors)]
        if not terms.means:
            return [unequal.number_of(rows)] if terms.strange or by_numbers else []
        seeds = weights.seeds(self._losses, self._calls, self._state.provenance)
        if seeds is None:
            return [unequal.number_of(rows)]
        self._read, weight = rows, weights.Weight(terms.means[0], kind)
        with compat.inserted(self._graph, self._scope + "/weights"):
            of_part = weight.of()
        weights.weigh(self._graph, self._scope + "/weights", seeds, of_part)
        self._weight = of_part
        record.weights.update((loss.name, weight) for loss in self._losses)
        return [unequal.number_of(rows)] if by_numbers else unequal.multiples_of(
            weight.rows, terms.means + [rows])

    def size_of(self) -> Any:
        """How many times as large a row's gradient is in a part as in the whole batch."""
        if self._weight is None:
            return float(self._num_parts)
        return self._weight * self._share()

    def _share(self) -> Any:
        """How many times as many rows as a part the whole batch has."""
        assert self._read is not None
        with compat.inserted(self._graph, self._scope + "/weights"):
            if self._total is None:  # what is read early is read by nothing else
                self._total = self._read_of_whole(self._read.number(self._weight.dtype))
            return self._total / self._read.number(self._weight.dtype)

    def carry_out(self, terms: Terms, statistics: Dict[str, Any]) -> None:
        """Multiply sums and replace statistics (name -> tensor) where gradients read them."""
        with compat.inserted(self._graph, self._scope + "/whole_loss"):
            instead = {name: self._statistic(tensor) for name, tensor in statistics.items()}
            factors = {name: self._factor(tensor, divisors)
                       for name, (tensor, divisors) in terms.sums.items()}
            factors.update((name, self._share_of_chosen(*of)) for name, of in terms.chosen.items())
        added = [of[0] for kind in (terms.sums, terms.chosen) for of in kind.values()]
        region = self._between(list(statistics.values())) | self._between(added)
        region -= {tensor.op for tensor in statistics.values()}
        inside = region & data_ancestors(tensor.op for tensor in added)  # what is added up
        rows = self._copy(inside, "rows", lambda tensor: instead.get(tensor.name, tensor))
        with compat.inserted(self._graph, self._scope + "/whole_loss"):
            for tensor in added:
                value, factor = rows(tensor), factors[tensor.name]
                if tensor.name in terms.chosen:  # a part of which none is chosen has no mean
                    value = tf.where(tf.equal(factor, 0.0), tf.zeros_like(value), value)
                instead[tensor.name] = value * factor
        whole = self._copy(region - inside, "sums",
                           lambda tensor: instead.get(tensor.name, rows(tensor)))
        for op in self._backward:
            for tensor in list(op.inputs):
                if whole(tensor) is not tensor:
                    editor.replace_input(op, tensor, whole(tensor))
        for tensor in added:
            self._multiply_gradient(tensor, factors[tensor.name])
        for loss in self._losses:
            self._state.record(WholeLosses).values[loss.name] = whole(loss)

    def _share_of_chosen(self, tensor: Any, mask: Any, of_none: float) -> Any:
        """How often a mean over a part's chosen rows counts: by their share in all that are."""
        kind = weights.kind_for(tensor)
        early = self._early(mask)  # what is read early is read by nothing else
        with compat.inserted(self._graph, self._scope + "/whole_loss"):
            all_ = self._read_of_whole(_chosen(early, kind))
            share = _chosen(mask, kind) / (tf.maximum(all_, 1.0) if of_none == 0 else all_)
            times = self._num_parts if self._weight is None else self._share()
            return tf.cast(share * tf.cast(times, kind), tensor.dtype)

    def _copy(self, region: Set[Any], name: str, behind: Callable[[Any], Any]) -> Any:
        """Copy operations, which read `behind(tensor)` for what is not copied.

        Returns:
          tensor -> what stands for it.
        """
        copies = CloneMap(self._graph, "{}/whole_loss/{}".format(self._scope, name),
                        [_SCRIPT, _MADE], 0, lambda tensor, clone: behind(tensor))
        copies.add(region, [_MADE], lambda op, clone: op.device)
        return lambda tensor: copies.tensor(tensor, _MADE)

    def _between(self, tensors: Iterable[Any]) -> Set[Any]:
        """The operations from `tensors` on to the losses."""
        tensors = list(tensors)
        users = [user for tensor in tensors for user in tensor.consumers()]
        return (data_descendants(users) & data_ancestors(y.op for y in self._losses)) - {
            tensor.op for tensor in tensors}

    def _statistic(self, tensor: Any) -> Any:
        """What stands for a statistic of the data: that of the whole batch, in the end."""
        return self._read_of_whole(self._early(tensor))

    def _read_of_whole(self, of_part: Any) -> Any:
        """What reads a number of the data, in the end that of the whole batch."""
        read = tf.identity(of_part, "statistic")
        self._state.record(WholeLosses).statistics.append(
            Statistic(read, of_part, frozenset(y.name for y in self._losses), []))
        return read

    def _early(self, tensor: Any) -> Any:
        """A copy of `tensor` that waits for nothing but data."""
        ops = self._data.behind(tensor)
        like = {learned.name: self._early(form) for learned, form in self._data.forms(ops)}
        self._copied += 1
        copies = CloneMap(self._graph, "{}/early/{}".format(self._scope, self._copied),
                        [_SCRIPT, _MADE], 0, lambda outside, clone: like.get(outside.name, outside))
        copies.add(ops, [_MADE], lambda op, clone: op.device,
                   dropped=[c for op in ops for c in op.control_inputs])
        for op in ops:
            counted = self._data.counted(op)
            if counted is not None:
                static_shapes.stand(copies.op(op, _MADE), counted._replace(
                    tensor=copies.tensor(counted.tensor, _MADE)))
        return copies.tensor(tensor, _MADE)

    def _factor(self, tensor: Any, divisors: Any) -> Any:
        """How often a sum over rows counts: as often as there are parts.

        Some scripts write the number of rows as a constant: that of a part, or of what a worker is
        fed. A larger batch would have a larger one: then the sum is a mean over these rows. A
        number that is fed beside the rows is one of the rows that are fed, unless it is declared to
        be the same on all workers.
        """
        self._warn_of_pairs(tensor, divisors)
        fed = [name for name in divisors if isinstance(name, str)]
        factor: Any = tf.constant(self._num_parts)
        if self._is_own(fed):
            factor = tf.constant(self._parts_here)
            self._warn_of_fed(tensor, fed)
        numbers = self._numbers(divisors, fed)
        if numbers:
            counts = tf.cast(tf.stack(self._counts(tensor)), tf.float64)
            for parts_in_it in (self._num_parts, self._parts_here, 1):
                is_count = tf.equal(tf.expand_dims(counts * parts_in_it, 1), tf.stack(numbers))
                factor = tf.where(tf.reduce_any(is_count), tf.constant(parts_in_it), factor)
        if self._weight is None:
            return tf.cast(factor, tensor.dtype)
        # All rows count alike in a sum, though its part counts by its rows.
        share = self._share()
        return tf.cast(tf.where(tf.equal(factor, self._num_parts), share,
                                tf.cast(factor, share.dtype)), tensor.dtype)

    def _numbers(self, divisors: Any, fed: List[str]) -> List[Any]:
        """What may count rows: the whole numbers above 2, those that are fed, and the product."""
        known = [n for n in divisors if not isinstance(n, str)]
        whole = _whole_numbers(known)
        found = [tf.cast(self._graph.get_tensor_by_name(name), tf.float64) for name in fed]
        found += [tf.reduce_prod(tf.stack(found)) * float(np.prod(known))] if found else []
        return [tf.constant(n, tf.float64) for n in sorted(whole)] + found

    def _is_own(self, fed: List[str]) -> bool:
        """True if a number that is fed is one that each worker has of its own."""
        behind = data_ancestors(self._graph.get_tensor_by_name(name).op for name in fed)
        return any(op_traits.can_be_fed(op) and not feeds.is_declared_shared(op.outputs[0])
                   for op in behind)

    def _warn_of_pairs(self, tensor: Any, divisors: Any) -> None:
        """A half is a factor of many losses; where parts have two rows it may be their number."""
        added = tensor.op.inputs[0]
        axis = self._axis_of(added)
        if 2 in divisors and added.shape.ndims is not None and added.shape.as_list()[axis] == 2:
            tf.logging.warning(
                "the loss {} divides the sum '{}'{} over 2 rows of a part by 2: EPL takes that for "
                "a factor of 1/2, not for the number of rows; if it is that, divide by "
                "tf.shape(...)[0], or use tf.reduce_mean".format(
                    self._losses[0].name, tensor.op.name, compat.made_at(tensor.op)))

    def _warn_of_fed(self, tensor: Any, fed: List[str]) -> None:
        """Nobody knows whether workers feed a number of their rows or one of the whole batch."""
        if self._num_parts > self._parts_here:
            tf.logging.warning(
                "the loss {} divides the sum '{}'{} over rows by {}, which is fed: EPL takes that "
                "for a number of the rows that this worker feeds in a step, and all workers count "
                "alike; if it has nothing to do with the rows, declare the placeholder with "
                "epl.share_feed; if workers feed unequal numbers, compute it from the rows".format(
                    self._losses[0].name, tensor.op.name, compat.made_at(tensor.op),
                    " and ".join(fed)))

    def _counts(self, tensor: Any) -> List[Any]:
        """The numbers of a part's rows, and of their elements, that `tensor` adds up."""
        added = tensor.op.inputs[0]
        counts = [tf.shape(added, out_type=tf.int64)[self._axis_of(added)]]
        size = [n for axis, n in enumerate(added.shape.as_list())
                if axis != self._axis_of(added)] if added.shape.ndims is not None else [None]
        if None not in size:
            counts.append(counts[0] * int(np.prod(size)))
        stage = self._partition.stage[tensor.op]
        behind = data_ancestors([tensor.op])
        for source in (op for op in self._partition.sources if op in behind):
            counts.extend(tf.shape(t, out_type=tf.int64)[self._axes.of(t).axis]
                          for t in source.outputs if isinstance(self._axes.of(t), Rows) and any(
                              self._partition.stage.get(user) == stage for user in t.consumers()))
        return counts

    def _axis_of(self, tensor: Any) -> int:
        """Along which its rows lie, or those that are chosen."""
        relation = self._axes.of(tensor)
        return relation.axis if isinstance(relation, Rows) else 0

    def _multiply_gradient(self, tensor: Any, factor: Any) -> None:
        """What comes back to `tensor`, a sum over rows, counts `factor` times."""
        own = [op for op in self._backward
               if self._state.provenance.differentiated(op) is tensor.op]
        if any(tensor is loss for loss in self._losses):
            own = [op for call in self._by_call(own) for op in call[_begins_with_ones(call):]]
        entering = {t.name: t for op in own for t in op.inputs
                    if t.op not in own and self._is_gradient_of_loss(t)}
        operation = self._state.provenance.differentiated
        noted = any(operation(op) is not None for op in self._backward)
        if (own and not entering) or not noted:
            raise RewriteError("nothing is known to be the gradient by {}".format(tensor.name))
        for gradient in entering.values():
            with compat.inserted(self._graph, self._scope + "/whole_loss"):
                larger = gradient * tf.cast(factor, gradient.dtype)
            for op in own:
                editor.replace_input(op, gradient, larger)

    def _by_call(self, ops: List[Any]) -> List[List[Any]]:
        """`ops` of gradients by the calls of `tf.gradients` that made them, of several optimizers.

        What one call made, a later one may go on from.
        """
        found: List[List[Any]] = []
        rest = list(ops)
        for call in self._calls:
            found.append([op for op in rest if op in call])
            rest = [op for op in rest if op not in call]
        return found

    def _is_gradient_of_loss(self, tensor: Any) -> bool:
        """True for what `tf.gradients` was given, or made, as a gradient."""
        call = [c for c in self._state.provenance.calls if any(t is tensor for t in c.entered)]
        return bool(call) or (self._state.provenance.is_gradient(tensor.op)
                              and tensor.op not in self._forward and tensor.dtype.is_floating)


def _chosen(mask: Any, dtype: Any) -> Any:
    """How many of its elements `tf.where` chooses."""
    with tf.device(mask.device or None):
        chosen = mask if mask.dtype == tf.bool else tf.not_equal(mask, tf.zeros_like(mask))
        return tf.reduce_sum(tf.cast(chosen, dtype))


def _may_count(divisors: Any) -> bool:
    """True if a number that a sum is divided by, or their product, may be one of rows."""
    known = [n for n in divisors if not isinstance(n, str)]
    return len(known) < len(divisors) or bool(_whole_numbers(known))


def _whole_numbers(known: List[float]) -> Set[float]:
    return {float(n) for n in known + [np.prod(known)] if n > 2 and n == round(n)}


def _begins_with_ones(ops: List[Any]) -> int:
    """How many of the operations for the gradient of a loss make that by itself, which is 1."""
    types = [op.type for op in ops]
    return types.index("Fill") + 1 if "Fill" in types else 0


def of_whole_batch(state: GraphState, view: View) -> None:
    """Let the gradients read the statistics of the whole batch.

    Args:
      state: the graph's record, whose groups have their clones.
      view: what is known of the operations.
    """
    job = state.known(WholeBatch)
    waiting = [s for s in state.record(WholeLosses).statistics
               if s.read.op.inputs[0] is s.of_part]
    for losses in dict.fromkeys(s.losses for s in waiting):
        of_losses = [s for s in waiting if s.losses == losses]
        before = len(job.collectives)
        early = data_ancestors(s.of_part.op for s in of_losses) & view.batch_dependent
        with job.owned_by(next(g for g in groups_of(state) if g.ys[0].name in losses)):
            job.build([s.of_part for s in of_losses], [], view._replace(
                of_batch=view.of_batch | early))
        for statistic in of_losses:
            statistic.collectives.extend(job.collectives[before:])
            editor.replace_input(statistic.read.op, statistic.of_part,
                                 job.tensor(statistic.of_part))
