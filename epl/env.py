# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The process-wide environment: configuration, cluster and strategy in force; and `epl.init`."""

from typing import Any, Dict, List, NamedTuple, Optional, Set

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.communicators import horovod_backend
from epl.config import Config
from epl.errors import ConfigError
from epl.ir.graph_state import state_of
from epl.plan.parallel_plan import ParallelPlan, make_plan


class Context(NamedTuple):
    """What one `epl.init` put in force.

    Attributes:
      config: the `epl.Config`.
      cluster: the `epl.Cluster`.
    """

    config: Config
    cluster: Cluster

    def differences(self, other: "Context") -> List[str]:
        """What `other` says otherwise, as text."""
        own, others = self._facts(), other._facts()
        return ["{} = {!r} instead of {!r}".format(name, others[name], own[name])
                for name in own if own[name] != others[name]]

    def _facts(self) -> Dict[str, Any]:
        return dict(self.config.as_dict(), workers=self.cluster.worker_num,
                    worker_index=self.cluster.worker_index,
                    devices_per_worker=self.cluster.gpu_num_per_worker,
                    device_type=self.cluster.device_type)


class Env:
    """What `epl.init` set up. `Env.get()` is the one instance.

    Attributes:
      config: the `epl.Config` in force.
      cluster: the `epl.Cluster` in force, or None before `epl.init`.
      default_strategy: what `epl.set_default_strategy` was last given.
      opening_strategy: what new graphs begin with: the strategy that was last set before its graph
        had weights.
      strategy_stack: the strategies whose `with` blocks are open.
      replicas_counted_on: copies of the model in a worker for which the script divides its rows.
    """

    _instance: "Optional[Env]" = None

    def __init__(self) -> None:
        self._config: Optional[Config] = None
        self._cluster: Optional[Cluster] = None
        self.default_strategy: Any = None
        self.opening_strategy: Any = None
        self.strategy_stack: List[Any] = []
        self.replicas_counted_on: Set[int] = set()

    @classmethod
    def get(cls) -> "Env":
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    @property
    def config(self) -> Config:
        self.require_init("epl.Env.get().config")
        assert self._config is not None
        return self._config

    @property
    def cluster(self) -> Cluster:
        self.require_init("epl.Env.get().cluster")
        assert self._cluster is not None
        return self._cluster

    @property
    def initialized(self) -> bool:
        return self._config is not None

    def require_init(self, caller: str) -> None:
        """Raises RuntimeError unless `epl.init()` has been called."""
        if not self.initialized:
            raise RuntimeError("{} needs epl.init() first: call it once at the start of the script"
                               .format(caller))

    def reset(self, config: Config, cluster: Cluster) -> None:
        """Put a new configuration and cluster in force; forget strategies."""
        self._config, self._cluster = config, cluster
        self.default_strategy = None
        self.opening_strategy = None
        self.strategy_stack = []
        self.replicas_counted_on = set()

    def context_of(self, graph: Any) -> Context:
        """What `graph` is trained under; what is in force now if that is not decided yet."""
        return state_of(graph).context or Context(self.config, self.cluster)

    def settle(self, graph: Any) -> None:
        """What is in force now is what `graph` is trained under, whatever comes later.

        Raises:
          RuntimeError: it is trained under something else already.
        """
        now, state = Context(self.config, self.cluster), state_of(graph)
        differences = state.context.differences(now) if state.context is not None else []
        if differences:
            raise RuntimeError(
                "gradients are asked for in a graph that was built before another epl.init ({}): a "
                "graph is trained in one way; build the other model in a graph of its own "
                "(tf.Graph, or tf.reset_default_graph() before it)".format(
                    ", ".join(differences)))
        state.context = state.context or now

    def open_graph(self, graph: Any) -> None:
        """Let `graph` begin with what new graphs begin with, if nothing in it is annotated."""
        annotations, strategy = state_of(graph).annotations, self.opening_strategy
        if strategy is not None and not annotations.task_graphs:
            annotations.begin(0, strategy.name, strategy.device_count)

    def plan_for(self, graph: Any) -> Optional[ParallelPlan]:
        """The plan that `graph` was rewritten for; before that, the one that it would be now."""
        return state_of(graph).plan or self.intended_plan(graph)

    def intended_plan(self, graph: Any) -> Optional[ParallelPlan]:
        """What the annotations of `graph` ask for; None if nothing in it or around it is annotated.
        """
        stages = [(t.name, t.device_count) for t in state_of(graph).annotations.task_graphs]
        strategy = self.opening_strategy or self.default_strategy
        if not stages and strategy is not None:
            stages = [(strategy.name, strategy.device_count)]
        if not stages:
            return None
        config, cluster = self.context_of(graph)
        return make_plan(stages, cluster.worker_num, cluster.gpu_num_per_worker,
                         config.pipeline.num_micro_batch,
                         config.communication.gradients_reduce_method, config.pipeline.strategy,
                         config.cluster.device_place_prefer_intra_node)


def init(config: Optional[Config] = None) -> None:
    """Start EPL: call it once at the start of a script, before the model is built.

    Calling it again puts another configuration in force for graphs whose gradients are built
    afterwards, and forgets the strategy that was set.

    Args:
      config: an `epl.Config`; None means `epl.Config()`.

    Raises:
      RuntimeError: eager execution is on.
      TypeError: something that is no `epl.Config`.
      ConfigError: a configuration or cluster that cannot work.
      WorkerLostError: without `epl-launch`, a worker did not come in time.
    """
    if tf.executing_eagerly():
        raise RuntimeError("EPL rewrites graphs, but eager execution is on; call "
                           "tf.compat.v1.disable_v2_behavior() (or disable_eager_execution()) "
                           "right after importing tensorflow")
    if config is not None and not isinstance(config, Config):
        raise TypeError("epl.init takes an epl.Config, not {!r}; write "
                        "epl.init(epl.Config({{...}}))".format(config))
    config, cluster = config or Config(), Cluster()
    if cluster.device_type == "gpu" and not tf.test.is_built_with_cuda() \
            and not tf.test.is_built_with_rocm():
        raise ConfigError("this worker has {} GPU(s), but its TensorFlow {} is built without GPU "
                          "support; install one with it, or hide the GPUs from the launcher: "
                          "CUDA_VISIBLE_DEVICES=\"\" epl-launch ...".format(
                              cluster.gpu_num_per_worker, tf.__version__))
    from epl.checking.checker import begin_if_asked
    from epl.runtime import hooks, process  # these build on this module

    process.begin(meets_others=cluster.worker_num > 1)
    _check_connection(cluster)
    hooks.install(cluster.total_gpu_num > 1)
    Env.get().reset(config, cluster)
    begin_if_asked()
    process.arrange()


def _check_connection(cluster: Cluster) -> None:
    """Join the other workers; done here so that a job that cannot start ends before it is built."""
    if cluster.worker_num > 1:
        horovod_backend.connect(cluster)
    elif horovod_backend.is_connected():
        raise ConfigError("this process is one of {} connected workers, but the cluster "
                          "information now says 1 worker; do not change it between two epl.init() "
                          "calls".format(horovod_backend.size()))


def explain() -> str:
    """Print the plan for the default graph, and return what was printed.

    The plan is a table of replicas, stages and devices, and with several stages or micro-batches
    the schedule as it would run; then the gradients, and what they exchange with other workers.
    The exchange is built when the graph is complete, before a session first runs it.

    Raises:
      RuntimeError: before `epl.init()`.
    """
    env = Env.get()
    env.require_init("epl.explain")
    graph = tf.get_default_graph()
    plan = env.plan_for(graph)
    if plan is None:
        text = ("no strategy is set: the script runs on one device; call "
                "epl.set_default_strategy(epl.replicate(device_count=1)) before the model is built")
    else:
        text = "\n".join([plan.describe()] + [
            line for group in state_of(graph).groups for line in group.describe()])
    print(text)
    return text
