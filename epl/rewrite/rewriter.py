# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rewrite's driver: turn what a graph has noted into the parallel graph.

Runs when the graph is complete: before a session runs it, or when it is finalized. What is added to
the graph later (another optimizer, another registered tensor) is carried out before the next run.

    per gradient group   seeds > anatomy > sources > place > clones > order > accumulate > aggregate
    per graph            statistics > merge > summaries > verify
"""

from typing import Any, List, Set

from epl import compat
from epl.env import Env
from epl.ir.graph_state import GradientGroup, GraphState, parts, state_of
from epl.plan.parallel_plan import ParallelPlan
from epl.plan.schedule import BACKWARD
from epl.rewrite import merge, statistics
from epl.rewrite.accumulate import accumulate
from epl.rewrite.aggregate import ReduceOptions, reduce_gradients
from epl.rewrite.anatomy import Script, dissect
from epl.rewrite.clones import CloneId, Copies
from epl.rewrite.order import order_cells
from epl.rewrite.place import Devices
from epl.rewrite.seeds import check_seeds, vary_seeds
from epl.rewrite.sources import Sources
from epl.rewrite.summaries import merge_summaries
from epl.rewrite.verify import verify_group, verify_names


def rewrite(graph: Any) -> None:
    """Carry out what is pending in `graph`; does nothing if nothing is.

    Raises:
      NotImplementedError, ConfigError, ValueError: what the script built cannot be run as the plan
        says; the message names the operation and the cure. Later calls raise it again.
    """
    env = Env.get()
    if not env.initialized or not compat.is_top_level(graph):
        return
    state = state_of(graph)
    if state.rewritten_version == graph.version:
        return
    with state.lock:
        if state.rewritten_version == graph.version or graph.finalized:
            return
        if state.failure is not None:
            raise state.failure
        plan = _plan(env, graph, state)
        if plan is not None:
            try:
                _Rewrite(graph, state, plan).run()
            except Exception as error:
                state.failure = error
                raise
        state.rewritten_version = graph.version


def _plan(env: Env, graph: Any, state: GraphState) -> Any:
    """The plan to carry out: that of the gradients, or one to place a model that is only run."""
    if state.groups:
        return env.plan_for(graph)
    needed = sum(t.device_count for t in state.annotations.task_graphs)
    fits = 1 < env.cluster.gpu_num_per_worker >= needed
    return env.plan_for(graph) if needed > 1 and fits else None


class _Rewrite:
    """One pass over one graph."""

    def __init__(self, graph: Any, state: GraphState, plan: ParallelPlan):
        env = Env.get()
        self._graph = graph
        self._state = state
        self._plan = plan
        self._cluster = env.cluster
        self._worker = env.cluster.worker_index
        communication = env.config.communication
        self._options = ReduceOptions(
            num_workers=env.cluster.worker_num, average=plan.reduce_method == "mean",
            max_splits=communication.max_splits,
            fp16_scale=communication.fp16_scale if communication.fp16 else None)
        if state.devices is None:
            state.devices = Devices(plan, self._worker, env.cluster.device_type)
            clones = [CloneId(r, m, s) for r in plan.replicas_of(self._worker)
                      for m in range(plan.num_micro_batch) for s in range(plan.num_slices)]
            state.sources = Sources(graph, clones)
        self._clones: List[CloneId] = state.sources.clones
        self._first_seed = self._worker * len(self._clones)

    def run(self) -> None:
        state, graph = self._state, self._graph
        if not state.groups:
            self._place_model()
            return
        new = [group for group in state.groups if not group.rewritten]
        for group in new:
            self._group(group)
        self._complete_clones()
        statistics.average_updates(graph, state, self._options)
        for group in state.groups:
            merge.merge_registered(group, state, self._cluster.worker_num, self._plan)
            merge_summaries(graph, group)
        for group in new:
            verify_group(group, self._plan, state.devices)
        verify_names(state)

    # What one call of tf.gradients becomes.

    def _group(self, group: GradientGroup) -> None:
        raw = [gradient.raw for gradient in group.gradients]
        group.sources = merge.sources_of(
            group.ys + [part for g in raw for part in parts(g)], self._state)
        if self._cluster.worker_num * len(self._clones) > 1:
            outputs = group.ys + [part for g in raw for part in parts(g)]
            check_seeds(outputs)
            changed = vary_seeds(outputs, self._first_seed, self._state.varied_seeds)
            self._state.note_change(changed)
        local = raw
        if not self._plan.is_single_device:
            self._make_clones(group, order=True)
            with compat.inserted(self._graph, group.name + "/accumulate"):
                local = [accumulate(g.raw, group.clones, self._plan, self._home(g.variable))
                         for g in group.gradients]
        reduced = local
        if self._cluster.worker_num > 1:
            with compat.inserted(self._graph, group.name):
                reduced = reduce_gradients(local, group.name + "/", self._options,
                                           group.collectives)
        for gradient, value in zip(group.gradients, reduced):
            self._return(gradient, value)
        group.rewritten = True

    def _return(self, gradient: Any, value: Any) -> None:
        """Put the aggregated value behind what the script got."""
        for old, returned, new in zip(parts(gradient.raw), parts(gradient.returned), parts(value)):
            if new is not old:
                compat.replace_input(returned.op, old, new)
            if self._state.devices.several:
                returned.op._set_device(self._home(gradient.variable))

    def _home(self, variable: Any) -> str:
        if not self._state.devices.several:
            return ""
        return self._state.devices.home(compat.variable_key(variable)) or ""

    # Clones.

    def _make_clones(self, group: GradientGroup, order: bool) -> None:
        """Dissect, place and copy what `group` and its followers need; order it once."""
        state, graph, plan = self._state, self._graph, self._plan
        script = self._script()
        raw = [part for g in group.gradients for part in parts(g.raw)]
        others = self._others(group)
        anatomy = dissect(group.ys, raw, others, script)
        if state.sources.cut(anatomy.sources):
            script = self._script()
            anatomy = dissect(group.ys, raw, others, script)
        self._check_stages(anatomy)
        self._check_updates(anatomy)
        self._place(anatomy)
        if group.clones is None:
            group.clones = Copies(graph, group.name, self._clones, self._first_seed,
                                  state.sources.tensor)
        if len(self._clones) > 1:
            state.sources.add(anatomy.sources)
            devices = state.devices
            group.clones.add(
                anatomy.per_batch, self._clones,
                lambda op, clone: devices.choose(op, anatomy.stage[op], clone,
                                                 anatomy.phase.get(op) == BACKWARD),
                dropped=anatomy.late)
            if order:
                self._defer_updates(anatomy, group)
                group.edges = order_cells(graph, anatomy, group.clones, plan, self._worker,
                                          group.name)
                state.note_change(e.after for e in group.edges)
        group.anatomy = anatomy

    def _others(self, group: GradientGroup) -> List[Any]:
        """Tensors whose value every clone of `group` has to give, beside the gradients."""
        registered = [tensor for tensor, _ in merge.wanted(group, self._state)]
        values = [op.inputs[1] for op, owner in self._updates() if owner is group]
        return registered + values

    def _updates(self) -> Any:
        return statistics.owned_updates(self._graph, self._state)

    def _complete_clones(self) -> None:
        """Copy what was registered after a group was rewritten."""
        for group in self._state.groups:
            if group.clones is not None and len(self._clones) > 1:
                known = set(group.anatomy.ops) | self._script().added
                if any(tensor.op not in known for tensor in self._others(group)):
                    self._make_clones(group, order=False)

    def _script(self) -> Script:
        state = self._state
        added: Set[Any] = {op for group in state.groups for op in group.returned_ops}
        added.update(edge.barrier for group in state.groups for edge in group.edges)
        added.update(op.inputs[1].op for op in state.averaged_updates)
        slices = set(state.sources.slices)
        return Script(state.annotations.task_graph_of, state.is_gradient_id, slices,
                      added - slices)

    def _check_stages(self, anatomy: Any) -> None:
        used = set(anatomy.stage.values())
        for number, name in enumerate(self._plan.stage_names):
            if number not in used:
                raise ValueError(
                    "the loss depends on no operation of TaskGraph {} ('{}'): its device would do "
                    "nothing; remove this epl.replicate, or move it to where its part of the "
                    "model begins".format(number, name))

    def _check_updates(self, anatomy: Any) -> None:
        if len(self._clones) == 1:
            return
        averaged = {op for op, _ in self._updates()} | self._state.averaged_updates
        for op in anatomy.updates:
            if op not in averaged:
                raise NotImplementedError(
                    "operation '{}' ({}) writes a variable from the batch before the gradients are "
                    "computed: with several micro-batches or replicas it is not clear what to "
                    "write; put a floating-point assignment into tf.GraphKeys.UPDATE_OPS (its "
                    "value is averaged), or run it after the training step".format(
                        op.name, op.type))

    def _defer_updates(self, anatomy: Any, group: GradientGroup) -> None:
        """What waited for an update waits no longer; what the script gets does."""
        waited: List[Any] = []
        for op in (op for op in anatomy.ops if op not in anatomy.late):
            cut = [c for c in op.control_inputs if c in anatomy.late]
            if cut:
                compat.remove_control_inputs(op, anatomy.late)
                waited.extend(cut)
                self._state.note_change([op])
        unique = sorted(set(waited), key=lambda op: op._id)
        if unique:
            for op in group.returned_ops:
                op._add_control_inputs(unique)

    # Placement.

    def _place(self, anatomy: Any) -> None:
        devices = self._state.devices
        if not devices.several:
            return
        self._settle()
        for op in anatomy.ops:
            devices.place(op, anatomy.stage[op], self._clones[0],
                          anatomy.phase.get(op) == BACKWARD)
        self._state.note_change(anatomy.ops[:1])

    def _settle(self) -> None:
        """Give the model's variables their homes."""
        state = self._state
        owned = [v for v in compat.global_variables(self._graph) if self._is_of_model(v)]
        state.devices.settle(owned, lambda op: state.annotations.task_graph_of(op._id))
        for variable in owned:
            op = compat.variable_key(variable)
            op._set_device(state.devices.home(op))

    def _is_of_model(self, variable: Any) -> bool:
        """True for weights and statistics; counters and what optimizers add are TensorFlow's."""
        state, op = self._state, compat.variable_key(variable)
        if not variable.dtype.is_floating:
            return False
        first_gradient = state.gradient_ids[0][0] if state.gradient_ids else op._id + 1
        return variable.trainable or (
            not state.annotations.before_first(op._id) and op._id < first_gradient)

    def _place_model(self) -> None:
        """Place a model that is only run, not trained, on the devices of the first replica."""
        state = self._state
        self._settle()
        new = [op for op in self._graph.get_operations()
               if op._id > state.placed_id and not state.annotations.before_first(op._id)]
        for op in new:
            state.devices.place(op, state.annotations.task_graph_of(op._id), self._clones[0], False)
        state.placed_id = compat.last_id(self._graph)

