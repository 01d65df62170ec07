# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `snapshots`: a step's update does not overtake what the step computes for another loss.

    step of B, which writes loss A as well; v is a ref variable that B trains

    v ---> copy ---> clones of A ---> loss A ---> write
    |       :
    |       v waits
    +---> clones of B ---> gradients ---> update of v

On one device both losses are computed by the same operations, and the update waits for these. Here
A has clones of its own, which B's update does not know: it would have to wait for them in every
step, and so make each compute A. It waits for a copy of the variable instead. (What is read from a
resource variable is a value of its own anyway.)
"""

from typing import Any, Dict, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits
from epl.rewrite.clones import CloneMap
from epl.rewrite.groups import GradientGroup, groups_of
from epl.rewrite.leaving import Leaving
from epl.rewrite.partition import StepPartition


def keep_read(graph: Any, state: GraphState) -> None:
    """Let the clones of losses that other steps write read copies of what those steps train."""
    writes = state.known(Leaving).writes
    written = [group for group in groups_of(state)
               if group in writes.values() and group.copied is not None]
    for group in written:
        for other in groups_of(state):
            if other.clones is not group.clones:
                _keep(graph, state, group, other)


def _keep(graph: Any, state: GraphState, group: GradientGroup, other: GradientGroup) -> None:
    trained = {compat.variable_key(gradient.variable) for gradient in other.gradients}
    clones, partition = group.known_clones, group.known_partition
    read = _read_by_clones(clones, partition, trained)
    for name in sorted(read):
        tensor, scope = read[name], "{}/kept/{}".format(group.name, name.replace(":", "_"))
        with compat.inserted(graph, scope), tf.device(tensor.device or None):
            copy = tf.raw_ops.DeepCopy(x=tensor)
        for op in other.returned_ops:
            editor.wait_for(op, [copy.op])
        clones.read_instead(tensor, copy)


def _read_by_clones(clones: CloneMap, partition: StepPartition,
                    trained: Set[Any]) -> Dict[str, Any]:
    """The tensors that hold trained ref variables and that the copies of the loss read."""
    found: Dict[str, Any] = {}
    for op in (op for op in partition.batch_dependent if not partition.goes_back(op)):
        for tensor in op.inputs:
            if clones.is_behind(tensor) and op_traits.aliased_variable(tensor) in trained:
                found[tensor.name] = tensor
    return found
