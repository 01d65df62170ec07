# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.replicate`: the operations created under it form one TaskGraph that is replicated."""

from typing import Any, List, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.env import Env
from epl.ir.annotations import Strategy
from epl.ir.environment import open_graph, remember
from epl.ir.graph_state import state_of


class Replicate(Strategy):
    """A strategy: a context manager, or an argument of `epl.set_default_strategy`.

    Entering one inside another raises RuntimeError, and so does entering one before `epl.init()`.

    Attributes:
      device_count: devices that one model replica uses for this TaskGraph.
      name: shown by `epl.explain()`.
    """

    def __init__(self, device_count: Optional[int] = None, name: Optional[str] = None):
        if device_count is not None and (
                not isinstance(device_count, int) or isinstance(device_count, bool)):
            raise TypeError("device_count = {!r}: a whole number of devices is needed".format(
                device_count))
        if device_count is not None and device_count < 1:
            raise ValueError("device_count = {}: use 1 or more".format(device_count))
        if name is not None and not isinstance(name, str):
            raise TypeError("name = {!r}: text is needed".format(name))
        super().__init__(name or "", 1 if device_count is None else device_count)
        self._entered: List[Any] = []

    def __enter__(self) -> "Replicate":
        graph = tf.get_default_graph()
        env = remember(graph, Env.get())
        env.require_init("epl.replicate")
        if env.strategy_stack:
            raise RuntimeError("epl.replicate inside epl.replicate ('{}' inside '{}') is not "
                               "allowed: close the outer one first".format(
                                   self.name, env.strategy_stack[-1].name))
        if compat.has_weights(graph):
            open_graph(graph)
        state_of(graph).annotations.begin(compat.last_id(graph), self)
        env.strategy_stack.append(self)
        self._entered.append(graph)
        return self

    def __exit__(self, *unused: Any) -> None:
        graph = self._entered.pop()
        remember(graph, Env.get()).strategy_stack.remove(self)
        annotations = state_of(graph).annotations
        annotations.resume(compat.last_id(graph), len(annotations.task_graphs) - 1)

    def __repr__(self) -> str:
        return "replicate(device_count={}, name={!r})".format(self.device_count, self.name)


def replicate(device_count: Optional[int] = None, name: Optional[str] = None) -> Replicate:
    """Replicate what is built under this strategy over the devices.

    One strategy for the whole model is data parallelism; several, one after the other, are the
    stages of a pipeline (GPipe, arXiv:1811.06965), which is replicated if there are devices for
    several copies.

    Args:
      device_count: devices that one replica of this part uses; None means 1. With k devices every
        micro-batch is cut along axis 0, and the devices share the slices.
      name: a name for `epl.explain()`.

    Returns:
      A strategy: use it in a `with` statement or give it to `epl.set_default_strategy`.

    Raises:
      TypeError: a device count that is no whole number, or a name that is no text.
      ValueError: a device count below 1.

    Examples:
      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
      >>> x = tf.placeholder(tf.float32, [None, 2])
      >>> with epl.replicate(1, name="lower"):
      ...     hidden = x * tf.get_variable("a", [2], initializer=tf.ones_initializer())
      >>> with epl.replicate(1, name="upper"):
      ...     loss = tf.reduce_sum(hidden * tf.get_variable("b", [2]))
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
      >>> epl.replicate(0)
      Traceback (most recent call last):
      ValueError: device_count = 0: use 1 or more
    """
    return Replicate(device_count, name)


def set_default_strategy(strategy: Replicate) -> None:
    """Start a new TaskGraph for everything built from here on in this graph.

    Called once before a model is built it makes the model data parallel. Called before its graph
    has weights, new graphs begin with it as well (those of `tf.estimator`, `tf.Graph()`, the next
    default graph), unless they set their own before they have weights. Called later, where a part
    of the model begins, it makes the next stage of this graph alone. Weights are floating-point
    variables that are trainable or no scalars.

    Args:
      strategy: an `epl.replicate(...)`.

    Raises:
      TypeError: anything else.
      RuntimeError: before `epl.init()`, or inside a `with epl.replicate(...)` block.

    Examples:
      >>> epl.init()
      >>> epl.set_default_strategy(epl.replicate(device_count=1))
      >>> epl.Env.get().default_strategy
      replicate(device_count=1, name='')
    """
    if not isinstance(strategy, Replicate):
        raise TypeError("epl.set_default_strategy takes epl.replicate(...), not {!r}".format(
            strategy))
    graph = tf.get_default_graph()
    env = remember(graph, Env.get())
    env.require_init("epl.set_default_strategy")
    if env.strategy_stack:
        raise RuntimeError("epl.set_default_strategy inside 'with {!r}': close the block first"
                           .format(env.strategy_stack[-1]))
    env.default_strategy = strategy
    if compat.has_weights(graph):
        open_graph(graph)
    else:
        env.opening_strategy = strategy
    state_of(graph).annotations.begin(compat.last_id(graph), strategy)
