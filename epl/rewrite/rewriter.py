# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rewrite's driver: turn what a graph has noted into the parallel graph.

Runs when the graph is complete: before a session runs it, or when it is finalized. What is added to
the graph later (another optimizer, another registered tensor) is carried out before the next run.

    per graph            leaving
    per loss             losses > seeds > whole_loss > anatomy > sources > place > clones > order
                         > sparse > accumulate > aggregate
    per graph            registered > looks > written > snapshots > drawn > verify

What is fetched in a step is completed when it is first fetched (`fetched`).
"""

import contextlib
import gc
from typing import Any, Callable, Dict, Iterator, List, Optional, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.environment import context_of, intended_plan, is_remembered
from epl.ir.graph_state import Collective, GradientGroup, GraphState, parts, state_of
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import (
    drawn,
    kinds,
    leaving,
    registered,
    snapshots,
    sparse,
    unequal,
    whole_loss,
    written,
)
from epl.rewrite.accumulate import accumulate
from epl.rewrite.aggregate import ReduceOptions, reduce_gradients
from epl.rewrite.anatomy import Anatomy, Script, dissect
from epl.rewrite.branches import warn_of_other_rows
from epl.rewrite.clones import CloneId, Copies
from epl.rewrite.deferred import defer_updates
from epl.rewrite.fed import check_feeds
from epl.rewrite.looks import look_at_summaries
from epl.rewrite.losses import check_losses
from epl.rewrite.merge import Merged, merged_loss
from epl.rewrite.order import ActionEnd, order_actions
from epl.rewrite.place import Devices
from epl.rewrite.seeds import check_seeds, vary_seeds
from epl.rewrite.sources import Sources
from epl.rewrite.verify import verify_group, verify_names


def rewrite(graph: Any) -> None:
    """Carry out what is pending in `graph`; does nothing if nothing is.

    Raises:
      NotImplementedError, ConfigError, ValueError: what the script built cannot be run as the plan
        says; the message names the operation and the cure. Later calls raise it again.
    """
    if not is_remembered(graph) or not compat.is_top_level(graph):
        return
    state = state_of(graph)
    if state.rewritten_version == graph.version:
        return
    with state.lock:
        if state.rewritten_version == graph.version or graph.finalized:
            return
        if state.failure is not None:
            raise state.failure
        state.recall_withdrawn()
        plan = _plan(graph, state)
        if plan is not None:
            state.context = context_of(graph)
            try:
                with _made_by_rewrite(graph, state), _seen(graph):
                    _Rewrite(graph, state, plan).run()
            except Exception as error:
                state.failure = error
                raise
        state.rewritten_version = graph.version


def cover(graph: Any, group: GradientGroup, tensors: List[Any],
          then: Callable[[], Any]) -> None:
    """Let every clone of a group's steps compute `tensors`, also in a graph that is finalized.

    Args:
      then: called afterwards; may add operations as well.
    """
    state = state_of(graph)
    with extended(graph, state):
        family = next(f for f in _families(state.groups) if group in f)
        _Rewrite(graph, state, state.plan).cover(family, tensors)
        then()


@contextlib.contextmanager
def extended(graph: Any, state: GraphState) -> Iterator[None]:
    """Operations can be added to a graph that is rewritten already."""
    with state.lock:
        with _made_by_rewrite(graph, state):
            yield
        state.rewritten_version = graph.version


@contextlib.contextmanager
def _made_by_rewrite(graph: Any, state: GraphState) -> Iterator[None]:
    """What is added to the graph is the rewrite's."""
    first = compat.last_id(graph) + 1
    with _no_collection(), compat.reopened(graph):
        try:
            yield
        finally:
            state.note_made(first, compat.last_id(graph))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Python's cyclic collector rests: it would look through the growing graph again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _seen(graph: Any) -> Iterator[None]:
    """A check, if one is on, keeps the graph as the script built it."""
    check = context_of(graph).worker.check
    if check is None:
        yield
        return
    check.before_rewrite(graph)
    yield
    check.after_rewrite(graph)


def _plan(graph: Any, state: GraphState) -> Any:
    """The plan to carry out: that of the gradients, or one to place a model that is only run."""
    if state.groups:
        return intended_plan(graph)
    needed = sum(t.device_count for t in state.annotations.task_graphs)
    fits = 1 < context_of(graph).cluster.gpu_num_per_worker >= needed
    return intended_plan(graph) if needed > 1 and fits else None


class _Rewrite:
    """One pass over one graph."""

    def __init__(self, graph: Any, state: GraphState, plan: ParallelPlan):
        context = context_of(graph)
        config, cluster = context.config, context.cluster
        self._graph = graph
        self._state = state
        self._plan = plan
        self._cluster = cluster
        self._worker = cluster.worker_index
        communication = config.communication
        self._options = None if context.communicator is None else ReduceOptions(
            context.communicator, context.workers, average=plan.reduce_method == "mean",
            max_splits=communication.max_splits,
            fp16_scale=communication.fp16_scale if communication.fp16 else None)
        if state.plan not in (None, plan):
            raise RuntimeError(
                "the stages of this graph have changed since a session first ran it: it was a "
                "model of {} stage(s) ({}), and is one of {} ({}); annotate all stages before the "
                "first session.run, or build the other model in a graph of its own".format(
                    state.plan.num_stages, ", ".join(state.plan.stage_names),
                    plan.num_stages, ", ".join(plan.stage_names)))
        state.plan = plan
        if state.devices is None:
            state.devices = Devices(plan, self._worker, cluster.device_type)
            clones = [CloneId(r, m, s) for r in plan.replicas_of(self._worker)
                      for m in range(plan.num_micro_batch) for s in range(plan.num_slices)]
            state.sources = Sources(graph, clones)
        self._clones: List[CloneId] = state.sources.clones
        self._first_seed = self._worker * len(self._clones)

    @property
    def _divides(self) -> bool:
        """True if a step's batch is divided at all."""
        return self._cluster.worker_num * len(self._clones) > 1

    def run(self) -> None:
        state, graph = self._state, self._graph
        if not state.groups:
            self._place_model()
            return
        new = [group for group in state.groups if not group.rewritten]
        for group in new:
            group.sources = registered.sources_of(group.ys + _raw([group]), state)
        state.leaving = leaving.look(graph, state)
        if self._divides:
            registered.check_registered(state)
        for family in _families(new):
            self._family(family)
        self._complete_clones()
        self._leave()
        for group in new:
            verify_group(group, self._plan, state.devices)
        verify_names(state)

    def _leave(self) -> None:
        """What leaves the steps of all groups is that of the whole batch."""
        state, graph, num_workers = self._state, self._graph, self._cluster.worker_num
        if self._divides:
            written.prepare(graph, state, num_workers)
            view = written.view_of(state)
            whole_loss.of_whole_batch(state, view._replace(
                axes=written.axes_of([view], state, exact=True)))
        for group in state.groups:
            registered.merge_registered(group, state, num_workers)
        self._merge_other_losses()
        if num_workers > 1:
            look_at_summaries(graph, state)
        if self._divides:
            written.write_whole_batch(graph, state)
            snapshots.keep_read(graph, state)
        if num_workers > 1:
            drawn.share_draws(graph, state)

    # What calls of tf.gradients become.

    def _family(self, family: List[GradientGroup]) -> None:
        """Rewrite gradients of one loss: they share their clones."""
        if self._divides:
            check_losses(family, self._state, self._plan)
            warn_of_other_rows(family[0].ys)
            outputs = family[0].ys + _raw(family)
            check_seeds(outputs)
            changed = vary_seeds(outputs, self._first_seed, self._state.varied_seeds)
            self._state.note_change(changed)
            if self._plan.reduce_method == "mean":
                self._make_whole(family)
        if not self._plan.is_single_device or self._others(family):
            self._make_clones(family)
        for group in family:
            self._aggregate(group)

    def _make_whole(self, family: List[GradientGroup]) -> None:
        """The loss, and its gradients, are those of the whole batch."""
        anatomy = self._anatomy(family, [])
        whole_loss.make_whole(
            self._graph, family, self._state, anatomy,
            written.axes_of([anatomy], self._state, mixed=True),
            len(self._clones) * self._cluster.worker_num, len(self._clones))

    def _aggregate(self, group: GradientGroup) -> None:
        split = [sparse.pieces(gradient.raw) for gradient in group.gradients]
        local = [piece for pieces in split for piece in pieces]
        if group.clones is not None:
            with compat.inserted(self._graph, group.name + "/accumulate"):
                local = [accumulate(piece, group.clones, self._plan, self._home(g.variable),
                                    _ends(group, g.raw))
                         for g, pieces in zip(group.gradients, split) for piece in pieces]
        apart: List[Collective] = []
        losses = self._losses(group)
        reduced, values = local, [value for _, value in losses]
        rows = self._rows(group, values)
        values.extend(rows[-1:])
        if self._options is not None:
            with compat.inserted(self._graph, group.name):
                reduced, values = reduce_gradients(local, group.name + "/", self._options,
                                                   group.collectives, values, apart)
        if rows:
            with compat.inserted(self._graph, group.name + "/rows"):
                group.row_counts = tf.stack(rows[:-1] + [values.pop()])
        for (loss, _), value in zip(losses, values):
            if value is not loss:
                group.merged[loss.name] = Merged(value, tuple(apart))
        rest = iter(reduced)
        with compat.inserted(self._graph, group.name + "/join"):
            for gradient, pieces in zip(group.gradients, split):
                self._return(group, gradient, sparse.joined([
                    sparse.once(piece, next(rest)) for piece in pieces]))
        group.rewritten = True

    def _rows(self, group: GradientGroup, losses: List[Any]) -> List[Any]:
        """The number of rows of each clone and their mean; none if all have equally many anyway."""
        exact = [loss for loss in losses if loss.dtype.base_dtype in (tf.float32, tf.float64)]
        if not (exact and self._divides and self._plan.reduce_method == "mean"):
            return []
        with compat.inserted(self._graph, group.name + "/rows"):
            rows = unequal.rows_of_clones(
                group, self._clones, self._cluster.worker_num, exact[0])
            return rows + [tf.add_n(rows) / len(rows)] if rows else []

    def _losses(self, group: GradientGroup) -> List[Any]:
        """(loss, its value over this worker's clones) of the losses that are numbers."""
        losses = {loss.name: loss for loss in group.ys if registered.is_number(loss)
                  and registered.how(loss, self._state) is None}
        return [(loss, merged_loss(group, self._state.whole_losses.get(loss.name, loss),
                                   self._plan)) for loss in losses.values()]

    def _merge_other_losses(self) -> None:
        for group in self._state.groups:
            for loss in registered.other_losses(group, self._state):
                if loss.name not in group.merged and len(self._clones) > 1:
                    group.merged[loss.name] = Merged(merged_loss(
                        group, self._state.whole_losses.get(loss.name, loss), self._plan),
                        whole_loss.collectives_of(loss, self._state))

    def _return(self, group: GradientGroup, gradient: Any, value: Any) -> None:
        """Put the aggregated value behind what the script got."""
        for old, returned, new in zip(parts(gradient.raw), parts(gradient.returned), parts(value)):
            if new is not old:
                editor.replace_input(returned.op, old, new)
            if self._state.devices.several:
                editor.put_on(returned.op, self._home(gradient.variable))
            if group.order is not None:  # an update must not overtake a reader of the old value
                editor.wait_for(returned.op, [group.order.done])

    def _home(self, variable: Any) -> str:
        if not self._state.devices.several:
            return ""
        return self._state.devices.home(compat.variable_key(variable)) or ""

    # Clones.

    def cover(self, family: List[GradientGroup], tensors: List[Any]) -> None:
        """Copy what `tensors` need as well. A session may know the script's own operations."""
        anatomy = self._anatomy(family, tensors)
        self._copy(family[0].clones, anatomy)
        for group in family:
            group.anatomy = anatomy

    def _make_clones(self, family: List[GradientGroup]) -> None:
        """Dissect, place and copy what `family` and its followers need; order it once."""
        state, first = self._state, family[0]
        anatomy = self._dissect(family)
        clones = first.clones or Copies(self._graph, first.name, self._clones, self._first_seed,
                                        state.sources.tensor)
        order = first.order
        if self._divides:
            defer_updates(self._graph, anatomy, family, state)
        if len(self._clones) > 1:
            self._copy(clones, anatomy)
            if order is None:
                order = order_actions(self._graph, anatomy, clones, self._plan, self._worker,
                                    first.name)
                state.note_change(edge.after for edge in order.edges)
        for group in family:
            group.clones, group.order, group.anatomy = clones, order, anatomy

    def _copy(self, clones: Copies, anatomy: Anatomy) -> None:
        self._state.sources.add(anatomy.sources)
        clones.add(anatomy.per_batch, self._clones,
                   lambda op, clone: self._state.devices.choose(
                       op, anatomy.stage[op], clone, anatomy.goes_back(op)),
                   dropped=anatomy.late)

    def _dissect(self, family: List[GradientGroup]) -> Anatomy:
        """What the steps of `family` consist of, checked and placed."""
        anatomy = self._anatomy(family, [])
        self._check_stages(_ys(family), anatomy, self._script())
        if len(self._clones) > 1:
            check_feeds(anatomy, self._graph, len(self._clones), self._plan.num_slices)
            _check_data(anatomy)
        self._place(anatomy)
        return anatomy

    def _anatomy(self, family: List[GradientGroup], more: List[Any]) -> Anatomy:
        """What the steps of `family` consist of, if they compute the tensors `more` as well."""
        ys, raw, others = _ys(family), _raw(family), self._others(family) + more
        anatomy = dissect(ys, raw, others, self._script())
        if self._state.sources.cut(anatomy.sources):
            anatomy = dissect(ys, raw, others, self._script())
        return anatomy

    def _others(self, family: List[GradientGroup]) -> List[Any]:
        """Tensors whose value every clone of `family` has to give, beside the gradients."""
        said = [tensor for group in family for tensor in registered.wanted(group, self._state)
                + registered.other_losses(group, self._state)]
        others = [t for group in family for t in registered.other_losses(group, self._state)]
        return said + whole_loss.asked(family[0].ys, others, self._state) + (
            written.asked(family, self._state) if self._divides else [])

    def _complete_clones(self) -> None:
        """Copy what was registered, or is written, after a group was rewritten."""
        for family in _families(self._state.groups):
            others, anatomy = self._others(family), family[0].anatomy
            known = self._script().added.union(anatomy.ops if anatomy is not None else ())
            if any(tensor.op not in known for tensor in others) and self._divides:
                self._make_clones(family)

    def _script(self) -> Script:
        state = self._state
        added: Set[Any] = {op for group in state.groups for op in group.returned_ops}
        added.update(edge.barrier for group in state.groups for edge in group.edges)
        added.update(statistic.read.op for statistic in state.statistics)
        slices = set(state.sources.slices)
        return Script(state.annotations.task_graph_of, state.is_gradient_id,
                      state.differentiated.operation, slices, added - slices)

    def _check_stages(self, ys: List[Any], anatomy: Anatomy, script: Script) -> None:
        used = {anatomy.stage[op] for op in script.behind(ys)
                if op in anatomy.stage and not script.is_gradient(op)}
        for number, name in enumerate(self._plan.stage_names):
            if number not in used:
                raise ValueError(
                    "the loss depends on no operation of TaskGraph {} ('{}'): its device would do "
                    "nothing; remove this epl.replicate, or move it to where its part of the "
                    "model begins".format(number, name))

    # Placement.

    def _place(self, anatomy: Anatomy) -> None:
        devices = self._state.devices
        if not devices.several:
            return
        self._settle()
        for op in anatomy.ops:
            devices.place(op, anatomy.stage[op], self._clones[0],
                          anatomy.goes_back(op))
            if op in anatomy.late and op in anatomy.loop:
                editor.forget_colocation(op)  # it is where the update is, not with its neighbours
        self._state.note_change(anatomy.ops[:1])

    def _settle(self) -> None:
        """Give the model's variables their homes."""
        state = self._state
        owned = [v for v in compat.global_variables(self._graph) if self._is_of_model(v)]
        state.devices.settle(owned, state.provenance.stage_of)
        for variable in owned:
            state.devices.place(compat.variable_key(variable), 0, self._clones[0], False)

    def _is_of_model(self, variable: Any) -> bool:
        """True for weights and statistics; counters and what optimizers add are TensorFlow's."""
        state, op = self._state, compat.variable_key(variable)
        if not variable.dtype.is_floating:
            return False
        first = state.first_gradient_id
        return variable.trainable or (
            not state.annotations.before_first(compat.op_id(op)) and (first is None or compat.op_id(op) < first))

    def _place_model(self) -> None:
        """Place a model that is only run, not trained, on the devices of the first replica."""
        state = self._state
        self._settle()
        new = [op for op in self._graph.get_operations()
               if compat.op_id(op) > state.placed_id and not state.annotations.before_first(compat.op_id(op))]
        for op in new:
            state.devices.place(op, state.provenance.stage_of(op), self._clones[0], False)
        state.placed_id = compat.last_id(self._graph)


def _families(groups: List[GradientGroup]) -> List[List[GradientGroup]]:
    """Groups of gradients of the same tensors, in the order of the calls.

    A group that has clones of its own already stays alone with those that share them.
    """
    found: Dict[Any, List[GradientGroup]] = {}
    for group in groups:
        key = tuple(y.name for y in group.ys), id(group.clones)
        found.setdefault(key, []).append(group)
    return list(found.values())


def _ends(group: GradientGroup, raw: Any) -> Callable[[CloneId], Optional[ActionEnd]]:
    """The end of the backward that a gradient comes from, by clone."""
    stage = group.anatomy.stage.get(parts(raw)[0].op)
    return lambda clone: group.order.ends.get((clone, stage)) if group.order else None


def _check_data(anatomy: Anatomy) -> None:
    """Raises NotImplementedError for data that the clones would take in no certain order."""
    for op in sorted(anatomy.per_batch, key=compat.op_id):
        origin = kinds.data_origin(op)
        if origin is not None:
            raise NotImplementedError(
                "operation '{}' ({}) takes data from '{}' inside tf.while_loop, or after something "
                "that depends on the batch: several micro-batches or replicas would take it in no "
                "certain order; take it before the model, for instance with batch() or window() of "
                "the dataset".format(op.name, op.type, origin.name))


def _ys(family: List[GradientGroup]) -> List[Any]:
    """What a family differentiates, and the tensors that it does so through."""
    return family[0].ys + [t for group in family for t in group.through]


def _raw(family: List[GradientGroup]) -> List[Any]:
    """The tensors of the raw gradients."""
    return [part for group in family for g in group.gradients for part in parts(g.raw)]
