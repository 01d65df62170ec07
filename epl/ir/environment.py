# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The environment that a graph is built in, what it is trained under, and the plan for it.

    epl.init > env.context --first gradients--> state.context   what it is trained under
    strategies > annotations -----rewrite-----> state.plan      what was carried out

A graph remembers the environment in which an entrance first saw it. Threads that a script starts
(those of a `Supervisor`, queue runners) find it there.
"""

from typing import Any, List, Optional, Tuple

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.context import Context
from epl.env import Env
from epl.errors import ConfigError
from epl.ir.annotations import Strategy
from epl.ir.graph_state import state_of
from epl.plan.layout import Slices, on_one_worker
from epl.plan.parallel_plan import ParallelPlan, make_plan


def remember(graph: Any, env: Env) -> Env:
    """The environment that `graph` belongs to: the one that it was first seen in."""
    state = state_of(graph)
    if state.env is None:
        state.env = env
    return state.env


def is_remembered(graph: Any) -> bool:
    """True if `graph` was seen, in an environment that `epl.init` has set up."""
    env = state_of(graph).env
    return env is not None and env.initialized


def context_of(graph: Any) -> Context:
    """What `graph` is trained under; what is in force in its environment if that is open."""
    state = state_of(graph)
    return state.context or _env(graph).context


def settle(graph: Any) -> None:
    """What is in force now is what `graph` is trained under, whatever comes later.

    Raises:
      RuntimeError: it is trained under something else already.
    """
    now, state = _env(graph).context, state_of(graph)
    plan = intended_plan(graph)
    if plan is not None and plan.teams is not None:
        check_teams(now, plan)
        if _env(graph).shared_among_workers:
            raise ConfigError(
                "epl.shard divided rows among {} workers, but replicas of the model lie on several "
                "of them, which read the same rows: write epl.shard(..., epl.global_batch(..., "
                "devices_per_replica={}))".format(now.cluster.worker_num, plan.devices_per_replica))
        now.worker.spans, now = True, now.in_teams(plan.teams)
    differences = state.context.differences(now) if state.context is not None else []
    if differences:
        raise RuntimeError(
            "gradients are asked for in a graph that was built before another epl.init or "
            "epl.Cluster ({}): a graph is trained in one way; build the other model in a graph of "
            "its own (tf.Graph, or tf.reset_default_graph() before it)".format(
                ", ".join(differences)))
    state.context = state.context or now


def open_graph(graph: Any) -> None:
    """Let `graph` begin with what new graphs begin with, if nothing in it is annotated."""
    annotations, strategy = state_of(graph).annotations, _env(graph).opening_strategy
    if strategy is None and context_of(graph).config.auto.auto_parallel:
        strategy = Strategy("", 1)
    if strategy is not None and not annotations.task_graphs:
        annotations.begin(0, strategy)


def plan_for(graph: Any) -> Optional[ParallelPlan]:
    """The plan that `graph` was rewritten for; before that, the one that it would be now."""
    return state_of(graph).plan or intended_plan(graph)


def intended_plan(graph: Any, schedule: Optional[str] = None) -> Optional[ParallelPlan]:
    """What the annotations of `graph` ask for; None if nothing in it or around it is annotated.

    Args:
      graph: the script's.
      schedule: its name; None: the one that was chosen for the graph, else the configuration's.
    """
    stages = stages_of(graph)
    if not stages:
        return None
    context = context_of(graph).of_process
    config, cluster = context.config, context.cluster
    return make_plan(stages, cluster.worker_num, cluster.gpu_num_per_worker,
                     config.pipeline.num_micro_batch,
                     config.communication.gradients_reduce_method,
                     schedule or state_of(graph).schedule or config.pipeline.strategy,
                     config.cluster.device_place_prefer_intra_node, cluster.slices,
                     config.pipeline.num_chunks)


def stages_of(graph: Any) -> List[Tuple[str, int]]:
    """(name, devices) of each stage of `graph`: those that are annotated, or that EPL chooses.

    Raises:
      ConfigError: several are annotated, or several devices for one, and EPL is to choose.
    """
    env = _env(graph)
    annotated = [(t.name, t.device_count) for t in state_of(graph).annotations.task_graphs]
    strategy = env.opening_strategy or env.default_strategy
    if not annotated and strategy is not None:
        annotated = [(strategy.name, strategy.device_count)]
    if env.config is None or not context_of(graph).config.auto.auto_parallel:
        return annotated
    return _to_choose(annotated, max(1, context_of(graph).config.pipeline.num_stages))


def _to_choose(annotated: List[Tuple[str, int]], number: int) -> List[Tuple[str, int]]:
    """What EPL chooses: so many stages."""
    if len(annotated) > 1:
        raise ConfigError(
            "auto.auto_parallel = True, but the script annotates {} stages ({}): leave the "
            "annotations out and say pipeline.num_stages, or leave auto.auto_parallel out".format(
                len(annotated), ", ".join("'{}'".format(name) for name, _ in annotated)))
    if number == 1:
        return annotated or [("", 1)]
    if annotated and annotated[0][1] != 1:
        raise ConfigError(
            "epl.replicate(device_count={}) with auto.auto_parallel and pipeline.num_stages = {}: "
            "automatic stages have one device each; use device_count=1, or annotate the stages"
            .format(annotated[0][1], number))
    return [("", 1)] * number


def check_teams(context: Context, plan: ParallelPlan) -> None:
    """Raises ConfigError, NotImplementedError if replicas over several workers are not trained so.

    Args:
      context: of this process.
      plan: whose replicas lie on several workers.
    """
    if context.communicator is None:
        return  # it is planned, for machines that are not there
    config, cluster, counts = context.config, context.cluster, [plan.devices_per_replica]
    there = "{}-stage replicas of {} device(s) on {} worker(s) x {} device(s)".format(
        plan.num_stages, sum(counts), cluster.worker_num, cluster.gpu_num_per_worker)
    cure = on_one_worker(counts, cluster.worker_num, cluster.gpu_num_per_worker,
                         config.cluster.device_place_prefer_intra_node) \
        or "a layout with all devices of a replica on one worker"
    if not context.communicator.spans:
        raise ConfigError(
            "{}: a replica lies on several workers, which the communicator '{}' does not connect "
            "as one; use communication.communicator = 'native', or {}".format(
                there, context.communicator.name, cure))
    without = [key for key, value in (
        ("zero.level", config.zero.level), ("offload.level", config.offload.level),
        ("io.slicing", config.io.slicing), ("auto.auto_parallel", config.auto.auto_parallel),
        ("epl.check", context.worker.check)) if value]
    if without:
        raise NotImplementedError(
            "{}: a replica lies on several workers, and {} is not available there yet in this "
            "version of EPL; leave it out, or use {}".format(there, " with ".join(without), cure))


def check_replicas(graph: Any, plan: ParallelPlan) -> None:
    """Raises ConfigError if the script divides its rows for another number of replicas."""
    counted_on = _env(graph).replicas_counted_on
    replicas = plan.num_replicas // plan.num_workers
    if counted_on and replicas not in counted_on:
        devices = plan.devices_per_replica
        raise ConfigError(
            "epl.global_batch counted on {} replica(s) of the model in each worker, but one takes "
            "{} device(s), which makes {}: write epl.global_batch(..., devices_per_replica={})"
            .format(" or ".join(map(str, sorted(counted_on))), devices, replicas, devices))


def _env(graph: Any) -> Env:
    env = state_of(graph).env
    assert env is not None  # an entrance has seen the graph before it comes to anything else
    return env


def _planned_slices(cluster: Cluster) -> Optional[Slices]:
    """TaskGraph -> replica -> devices of the default graph; None if `cluster` is not for it."""
    graph = tf.get_default_graph()
    if not is_remembered(graph) or context_of(graph).of_process.cluster is not cluster:
        return None
    plan = plan_for(graph)
    return None if plan is None else tuple(
        tuple(tuple(map(plan.real, placement.devices))
              for placement in plan.placements[stage::plan.num_stages])
        for stage in range(plan.num_stages))


Cluster.planned = _planned_slices
