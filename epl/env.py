# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The process-wide environment: configuration, cluster and strategy in force; and `epl.init`."""

from typing import Any, List, Optional, Set

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.communicators import horovod_backend
from epl.config import Config
from epl.errors import ConfigError
from epl.ir.graph_state import state_of
from epl.plan.parallel_plan import ParallelPlan, make_plan


class Env:
    """What `epl.init` set up. `Env.get()` is the one instance.

    Attributes:
      config: the `epl.Config` in force.
      cluster: the `epl.Cluster` in force, or None before `epl.init`.
      default_strategy: what `epl.set_default_strategy` was last given.
      strategy_stack: the strategies whose `with` blocks are open.
      replicas_counted_on: copies of the model in a worker for which the script divides its rows.
    """

    _instance: "Optional[Env]" = None

    def __init__(self) -> None:
        self._config: Optional[Config] = None
        self._cluster: Optional[Cluster] = None
        self.default_strategy: Any = None
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
        self.strategy_stack = []
        self.replicas_counted_on = set()

    def plan_for(self, graph: Any) -> Optional[ParallelPlan]:
        """The plan for `graph`, or None if nothing in it or around it is annotated."""
        stages = [(t.name, t.device_count) for t in state_of(graph).annotations.task_graphs]
        if not stages and self.default_strategy is not None:
            stages = [(self.default_strategy.name, self.default_strategy.device_count)]
        if not stages:
            return None
        return make_plan(stages, self.cluster.worker_num, self.cluster.gpu_num_per_worker,
                         self.config.pipeline.num_micro_batch,
                         self.config.communication.gradients_reduce_method,
                         self.config.pipeline.strategy,
                         self.config.cluster.device_place_prefer_intra_node)


def init(config: Optional[Config] = None) -> None:
    """Start EPL: call it once at the start of a script, before the model is built.

    Calling it again puts another configuration in force for what is built afterwards.

    Args:
      config: an `epl.Config`; None means `epl.Config()`.

    Raises:
      RuntimeError: eager execution is on.
      TypeError: something that is no `epl.Config`.
      ConfigError: a configuration or cluster that cannot work.
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
    _check_connection(cluster)
    from epl.runtime import hooks, process  # these build on this module

    hooks.install(cluster.total_gpu_num > 1)
    Env.get().reset(config, cluster)
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
