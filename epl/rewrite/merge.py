# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `merge`: values of registered tensors merged over workers.

The merging collectives run with every training step of the group that they belong to, on all
workers, whoever fetches the value: a hook that fetches a metric on the chief alone hangs nobody.
"""

from typing import Any, List, NamedTuple, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators import horovod_backend
from epl.env import Env
from epl.ir.graph_keys import GraphKeys
from epl.ir.graph_state import Collective, GradientGroup, state_of
from epl.rewrite.aggregate import record
from epl.rewrite.walk import ancestors

# How each collection merges over workers; LOCAL_* are one worker's own, with one micro-batch on one
# replica the value itself.
_GLOBAL = {
    GraphKeys.GLOBAL_CONCAT_OBJECTS: "concat",
    GraphKeys.GLOBAL_MEAN_OBJECTS: "mean",
    GraphKeys.GLOBAL_SUM_OBJECTS: "sum",
}

# Operations that bring data into a graph from outside.
_SOURCES = frozenset(["Placeholder", "PlaceholderV2", "IteratorGetNext", "IteratorGetNextSync",
                      "QueueDequeueV2", "QueueDequeueManyV2", "QueueDequeueUpToV2"])


class Merged(NamedTuple):
    """A registered tensor's merged value.

    Attributes:
      value: the merged tensor.
      sources: operations that bring its data into the graph.
      collectives: what a step runs for it.
    """

    value: Any
    sources: Any
    collectives: Tuple[Collective, ...]

    def belongs_to(self, group_sources: Set[Any]) -> bool:
        """True if a step reading `group_sources` can compute it without further feeds or data."""
        return self.sources <= group_sources


def merge_registered(graph: Any) -> None:
    """Build the merged values of the graph's registered tensors that have none yet.

    Does nothing in graphs without gradients over workers: evaluation and prediction merge nothing.
    """
    state = state_of(graph)
    if not state.trains_with_others:
        return
    for key, how in sorted(_GLOBAL.items()):
        for tensor in state.registered.get(key, []):
            if tensor.name not in state.merged:
                state.merged[tensor.name] = _merged(tensor, how)


def sources_of(ops: Any) -> Set[Any]:
    """The operations that bring data from outside into the computation of `ops`."""
    return {op for op in ancestors(ops) if op.type in _SOURCES}


def group_sources(group: GradientGroup) -> Set[Any]:
    return sources_of(collective.op for collective in group.collectives)


def _merged(tensor: Any, how: str) -> Merged:
    if compat.control_flow_context(tensor.op) is not None:
        raise NotImplementedError(
            "{} is inside tf.cond or tf.while_loop: its value cannot be merged over workers; "
            "register a tensor that is computed outside".format(tensor.name))
    if how == "mean" and not tensor.dtype.is_floating:
        raise ValueError("{} has type {}: the mean of whole numbers is none; register tf.cast({}, "
                         "tf.float32) instead".format(tensor.name, tensor.dtype.name, tensor.name))
    num_workers = Env.get().cluster.worker_num
    name = "epl/merged/{}".format(tensor.name.replace(":", "_"))
    collectives: List[Collective] = []
    with compat.inserted(tensor.graph, name):
        if how == "concat":
            tensor = tf.expand_dims(tensor, 0) if tensor.shape.ndims == 0 else tensor
            value = horovod_backend.all_gather(tensor, name)
            record(value, "all_gather", name, tensor, collectives)
        else:
            value = horovod_backend.all_reduce(tensor, name, average=False)
            record(value, "all_reduce", name, tensor, collectives)
            if how == "mean":
                value = value / tf.cast(num_workers, value.dtype)
    return Merged(value, frozenset(sources_of([tensor.op])), tuple(collectives))
