# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The top of the package: `epl.init` puts all parts to work, `epl.explain` asks them."""

from typing import Any, List, Optional

import tensorflow.compat.v1 as tf

from epl import paper
from epl.checking.checker import begin_if_asked
from epl.cluster import Cluster
from epl.communicators import registry
from epl.communicators.base import Communicator
from epl.config import OPTIONS, Config
from epl.context import Context, Worker
from epl.env import Env
from epl.errors import ConfigError
from epl.ir import editor
from epl.ir.environment import plan_for, remember
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from epl.rewrite.passes import PASSES
from epl.rewrite.planning import automatic, chosen, clock, compared
from epl.rewrite.planning.links import predict_links
from epl.rewrite.planning.predicted import Predicted, is_trained, predict
from epl.runtime import hooks, process
from epl.runtime.precision import check_beside, check_precision, log_decisions
from epl.runtime.settings import session_config


def init(config: Optional[Config] = None) -> None:
    """Start EPL: call it once at the start of a script, before the model is built.

    Calling it again puts another configuration in force for graphs whose gradients are built
    afterwards, and forgets the strategy that was set. The call is that of the original EPL (Whale,
    USENIX ATC 2022).

    Args:
      config: an `epl.Config`; None means `epl.Config()`.

    Raises:
      RuntimeError: eager execution is on.
      TypeError: something that is no `epl.Config`.
      ConfigError: a configuration or cluster that cannot work.
      WorkerLostError: without `epl-launch`, a worker did not come in time: 600 seconds, or those in
        `EPL_START_TIMEOUT`.

    Examples:
      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 4}))
      >>> epl.Env.get().config.pipeline.num_micro_batch
      4
    """
    if tf.executing_eagerly():
        raise RuntimeError("EPL rewrites graphs, but eager execution is on; call "
                           "tf.compat.v1.disable_v2_behavior() (or disable_eager_execution()) "
                           "right after importing tensorflow")
    if config is not None and not isinstance(config, Config):
        raise TypeError("epl.init takes an epl.Config, not {!r}; write "
                        "epl.init(epl.Config({{...}}))".format(config))
    config, env = config or Config(), Env.get()
    planned = paper.asked()
    cluster = planned or (env.seat.cluster if env.seat is not None else Cluster())
    if planned is None and cluster.device_type == "gpu" \
            and not tf.test.is_built_with_cuda() and not tf.test.is_built_with_rocm():
        raise ConfigError("this worker has {} GPU(s), but its TensorFlow {} is built without GPU "
                          "support; install one with it, or hide the GPUs from the launcher: "
                          "CUDA_VISIBLE_DEVICES=\"\" epl-launch ...".format(
                              cluster.gpu_num_per_worker, tf.__version__))
    check_precision(config, cluster)
    _check_automatic(config)
    clock.check(config.auto.costs, cluster.device_type)
    _check_chunks(config)
    if planned is not None:
        communicator = None
    elif env.seat is None:
        process.begin(meets_others=cluster.worker_num > 1)
        communicator = _connected(config, cluster)
    else:
        communicator = env.seat.communicator
    hooks.install(cluster.total_gpu_num > 1 or planned is not None)
    env.reset(config, cluster, communicator)
    log_decisions(config, cluster)
    if cluster.is_chief:
        _say_what_has_no_effect(config)
    if planned is not None:
        env.worker.check = env.worker.check or paper.Paper(explain)
    elif env.seat is None:
        begin_if_asked()
        process.arrange(env)


def _check_automatic(config: Config) -> None:
    """Raises ConfigError for keys of what EPL chooses that contradict one another."""
    number, budget = config.pipeline.num_stages, config.auto.memory_budget_mb
    stages, schedule = config.auto.auto_parallel, chosen.is_open(config.pipeline.strategy)
    if number == 0:
        raise ConfigError("pipeline.num_stages = 0: use 1 or more, or leave it out")
    if number != -1 and not stages:
        raise ConfigError(
            "pipeline.num_stages = {} without auto.auto_parallel = True: it is for stages that EPL "
            "chooses; set auto.auto_parallel, or leave it out and annotate the stages with "
            "epl.replicate".format(number))
    for key, value in (("auto.memory_budget_mb", budget),
                       ("auto.device_speeds", config.auto.device_speeds)):
        if value and not stages and not schedule:
            raise ConfigError(
                "{} = {!r}, but EPL has nothing to choose: set auto.auto_parallel = True for the "
                "stages, pipeline.strategy = 'auto' for the schedule, or leave {} out".format(
                    key, value, key))
    if budget and stages and number < 2:
        raise ConfigError(
            "auto.memory_budget_mb = {} with pipeline.num_stages = {}: one stage is not cut, so "
            "nothing keeps to it; use pipeline.num_stages = 2 or more, or leave the budget out"
            .format(budget, number))


def _check_chunks(config: Config) -> None:
    """Raises ConfigError for limits that are kept by stage, where devices have several."""
    number = config.pipeline.num_chunks
    for key in ("auto.memory_budget_mb", "gradient_checkpoint.budget_mb"):
        if number > 1 and config.as_dict()[key]:
            raise ConfigError(
                "{} = {} with pipeline.num_chunks = {}: it is kept to by every stage, and {} of "
                "them share a device; leave out one of the two".format(
                    key, config.as_dict()[key], number, number))


def _say_what_has_no_effect(config: Config) -> None:
    key = "communication.num_communicators"
    number = config.as_dict()[key]
    if number != OPTIONS[key].default:
        tf.logging.warning("%s = %d has no effect: the workers are connected once", key, number)


def _connected(config: Config, cluster: Cluster) -> Optional[Communicator]:
    """Join the other workers; done here so that a job that cannot start ends before it is built."""
    communicator = registry.communicator(registry.resolve(
        config.communication.communicator, cluster.worker_num,
        cluster.local_worker_num == cluster.worker_num, cluster.device_type == "gpu"))
    if cluster.worker_num > 1:
        check_beside(config, cluster, communicator.name)
        communicator.prepare(session_config(None, Context(config, cluster, Worker())))
        communicator.connect(cluster.worker_index, cluster.hosts)
        return communicator
    if communicator.is_connected:
        raise ConfigError("this process is one of {} connected workers, but the cluster "
                          "information now says 1 worker; do not change it between two epl.init() "
                          "calls".format(communicator.size))
    return None


def explain(passes: bool = False, rows: Optional[int] = None, layouts: bool = False) -> str:
    """Print the plan for the default graph, and return what was printed.

    The plan is a table of replicas, stages and devices, and with several stages or micro-batches
    the schedule as it would run; then the gradients, and what they exchange with other workers.
    The exchange is built when the graph is complete, before a session first runs it. Behind the
    optimizer's `minimize` the memory of each device follows (see `epl.predict_memory`).

    Args:
      passes: also what each pass of the rewrite did to the graph, and what it cost in milliseconds.
      rows: of one micro-batch, to predict memory where the graph leaves it open.
      layouts: also which layout of these devices is the fastest on paper (docs/planner.md).

    Returns:
      What was printed, without the last end of a line.

    Raises:
      RuntimeError: before `epl.init()`.

    Examples:
      Two stages on a worker with two devices:

      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 4}))
      >>> x = tf.placeholder(tf.float32, [None, 8])
      >>> with epl.replicate(1, name="lower"):
      ...     hidden = tf.layers.dense(x, 8)
      >>> with epl.replicate(1, name="upper"):
      ...     loss = tf.reduce_mean(tf.layers.dense(hidden, 1))
      >>> plan = epl.explain()
      1 worker(s) x 2 device(s), 1 model replica(s) x 2 stage(s), 4 micro-batch(es) per step
      global batch = script's batch x 4 micro-batch(es) x 1 replica(s); gradients: mean
       replica  stage  worker:device  name
             0      0  0:0            lower
             0      1  0:1            upper
      schedule preferbackward (assumed: backward time = forward time, transfers take no time):
      bubble: 1/5 = 20.0 % of the stages' time
      micro-batches in flight at most, by stage: 2, 1
      stage 0 | F0 F1 .  B0 F2 B1 F3 B2 .  B3
      stage 1 | .  F0 B0 F1 B1 F2 B2 F3 B3 .
    """
    graph = tf.get_default_graph()
    remember(graph, Env.get()).require_init("epl.explain")
    plan = plan_for(graph)
    if plan is None:
        text = ("no strategy is set: the script runs on one device; call "
                "epl.set_default_strategy(epl.replicate(device_count=1)) before the model is built")
    else:
        choice = chosen.known(graph, plan)
        plan = plan if choice is None else choice.best.plan
        text = "\n".join([plan.describe()] + (
            chosen.describe(graph, plan) if choice is None else choice.describe()) + [
            line for group in groups_of(state_of(graph)) for line in group.describe()]
            + automatic.describe(graph, plan) + _memory(graph, plan, rows)
            + (compared.describe(graph, plan) if layouts and groups_of(state_of(graph)) else [])
            + (_passes(graph) if passes else []))
    print(text)
    return text


def predict_memory(rows: Optional[int] = None) -> Predicted:
    """How much memory a training step of the default graph will need on this worker's devices.

    Nothing is run: bytes follow from the shapes of the graph, the order in which operations run,
    and the schedule. What a device takes beside TensorFlow's tensors (its context, the workspace of
    convolutions on GPUs, fragments) comes on top.

    Args:
      rows: of one micro-batch, where the graph leaves it open.

    Returns:
      `devices`: pairs of a device (`worker`, `index`) and its memory in bytes when most is in use:
      `parameters`, `state`, `gradients`, `activations`, `working`, and their sum, `total`;
      `remarks`: what was left out, in words.

    Raises:
      RuntimeError: before `epl.init()`.
      ConfigError: nothing is trained yet, or sizes are open.

    Examples:
      >>> epl.init()
      >>> epl.set_default_strategy(epl.replicate(device_count=1))
      >>> x = tf.placeholder(tf.float32, [None, 64])
      >>> loss = tf.reduce_mean(tf.layers.dense(x, 1024))
      >>> step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
      >>> (device, memory), other = epl.predict_memory(rows=512).devices
      >>> memory.parameters, memory.state  # the kernel; the bias is on the other replica's device
      (262144, 262144)
    """
    graph = tf.get_default_graph()
    remember(graph, Env.get()).require_init("epl.predict_memory")
    return predict(graph, rows)


def _memory(graph: Any, plan: Any, rows: Optional[int]) -> List[str]:
    """The memory of the devices, and what workers send; why that is not known, if nobody asked."""
    if not is_trained(graph):
        return []
    try:
        memory, links = predict(graph, rows), predict_links(graph, plan, rows)
        return memory.describe() + ([] if links is None else links.describe())
    except (ConfigError, NotImplementedError) as error:
        if rows is not None:
            raise
        return ["memory is not predicted: {}".format(error)]


def _passes(graph: Any) -> List[str]:
    """What the passes did to a graph; what they will do, if none has run yet."""
    works = state_of(graph).record(editor.History).works
    if not works:
        return ["passes, to be run before a session first runs the graph:"] + [
            "  {:<14} {}".format(each.name, each.about) for each in PASSES]
    return ["passes:"] + ["  " + work.describe() for work in works]
