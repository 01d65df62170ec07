# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tensors whose fetched value is merged over micro-batches and replicas.

    epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)

makes `session.run([loss, train_op])` return the mean over the whole global batch.
"""

from typing import Any, List, Union

import tensorflow.compat.v1 as tf

from epl.env import Env
from epl.errors import nearest
from epl.ir.graph_keys import GraphKeys
from epl.ir.graph_state import state_of


def add_to_collection(tensor_or_list: Union[Any, List[Any]], key: str) -> None:
    """Register tensors whose fetched value is to be merged.

    Args:
      tensor_or_list: a `tf.Tensor` or a list of them; the list is not changed. Of any shape for
        MEAN and SUM, with at least one dimension for CONCAT.
      key: one of `epl.GraphKeys`.

    Raises:
      KeyError: unknown key.
      ValueError: something that is no `tf.Tensor`, or a tensor registered under another key.
      RuntimeError: before `epl.init()`, or when the graph of a training step is finalized.

    Examples:
      A step of two micro-batches of two rows, and a fetch that sees all of them:

      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
      >>> epl.set_default_strategy(epl.replicate(device_count=2))
      >>> x = tf.placeholder(tf.float32, [None])
      >>> loss = tf.reduce_mean(x * tf.get_variable("w", [], initializer=tf.ones_initializer()))
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
      >>> total = tf.reduce_sum(x)
      >>> epl.add_to_collection(total, epl.GraphKeys.GLOBAL_SUM_OBJECTS)
      >>> with tf.Session() as session:
      ...     session.run(tf.global_variables_initializer())
      ...     print(session.run([total, train], {x: [1, 2, 3, 4]})[0])
      10.0
    """
    Env.get().require_init("epl.add_to_collection")
    _check_key(key)
    tensors = tensor_or_list if isinstance(tensor_or_list, (list, tuple)) else [tensor_or_list]
    for tensor in tensors:
        if not isinstance(tensor, tf.Tensor):
            raise ValueError("epl.add_to_collection takes tf.Tensor objects, not {!r} of type {}"
                             .format(tensor, type(tensor).__name__))
    for tensor in tensors:
        state = state_of(tensor.graph)
        if tensor.graph.finalized and state.trains:
            raise RuntimeError("{} is registered in a graph that is finalized: register it before "
                               "the session is made".format(tensor.name))
        _register(tensor, key)
        state.rewritten_version = -1  # there is something to do, though no new operation


def get_collection(key: str) -> List[Any]:
    """The tensors of the default graph registered under `key`, as a new list.

    Args:
      key: one of `epl.GraphKeys`.

    Returns:
      The tensors, in the order in which they were registered.

    Raises:
      KeyError: unknown key.

    Examples:
      >>> epl.init()
      >>> epl.add_to_collection(tf.constant(1.0, name="one"), epl.GraphKeys.LOCAL_MEAN_OBJECTS)
      >>> [tensor.name for tensor in epl.get_collection(epl.GraphKeys.LOCAL_MEAN_OBJECTS)]
      ['one:0']
    """
    _check_key(key)
    return list(state_of(tf.get_default_graph()).registered.get(key, []))


def get_all_collections() -> List[List[Any]]:
    """The tensors of the default graph that are registered, a list for each of `GraphKeys.ALL`.

    Examples:
      >>> epl.init()
      >>> epl.add_to_collection(tf.constant(1.0, name="one"), epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
      >>> [[tensor.name for tensor in tensors] for tensors in epl.get_all_collections()]
      [[], ['one:0'], [], [], [], []]
    """
    return [get_collection(key) for key in GraphKeys.ALL]


def _register(tensor: Any, key: str) -> None:
    registered = state_of(tensor.graph).registered
    for other, members in registered.items():
        if any(member is tensor for member in members):
            if other == key:
                return
            raise ValueError("{} is in collection '{}' already: a fetch of it can be merged in one "
                             "way only; register tf.identity of it under '{}'".format(
                                 tensor.name, other, key))
    registered.setdefault(key, []).append(tensor)


def _check_key(key: str) -> None:
    if key not in GraphKeys.ALL:
        raise KeyError("unknown collection {!r}; use one of epl.GraphKeys: {}".format(
            key, nearest(str(key), GraphKeys.ALL)))
