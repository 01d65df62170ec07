# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the stages of a model send each other, from the script's graph."""

import collections
from typing import Any, Dict, List, Optional, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import known_shapes
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.plan.links import Crossing, Links, links_of
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import op_traits
from epl.rewrite.groups import Gradient, groups_of, parts
from epl.rewrite.partition import StepPartition
from epl.rewrite.planning.predicted import step_parts
from epl.rewrite.rewriting import families


def predict_links(graph: Any, plan: ParallelPlan, rows: Optional[int] = None) -> Optional[Links]:
    """What workers will send each other in a step; None if there is one, or it is not foreseen.

    Args:
      graph: the script's, with its gradients.
      plan: for it.
      rows: of one micro-batch, where the graph leaves it open.

    Raises:
      ConfigError: sizes that the graph leaves open.
    """
    state = state_of(graph)
    if plan.teams is None and (plan.num_workers == 1 or context_of(graph).config.zero.level):
        return None
    crossings: List[Crossing] = []
    gradients: Dict[int, int] = collections.defaultdict(int)
    joined: Dict[int, int] = collections.defaultdict(int)
    unknown = 0
    for family in families(groups_of(state)):
        step = step_parts(graph, state, plan, family)
        assert step.partition is not None
        ops = sorted(step.forward | step.backward, key=compat.op_id)
        sizes = known_shapes.Sizes(ops, rows)
        if plan.teams is not None:
            crossings += _crossings(ops, step.partition, state, sizes)
        for group in family:
            for gradient in group.gradients:
                stage = state.provenance.stage_of(compat.variable_key(gradient.variable))
                if not isinstance(gradient.raw, tf.IndexedSlices):
                    gradients[stage] += _bytes(gradient)
                    continue
                found = gradients if op_traits.same_rows(gradient.raw) else joined
                rows_of = [sizes.of(part) for part in parts(gradient.raw)]
                found[stage] += sum(rows_of)
                unknown += not all(rows_of)
    return links_of(plan, crossings, gradients, joined, unknown)


def _bytes(gradient: Gradient) -> int:
    """Of a dense gradient, which has the shape of its variable even where nothing says so."""
    shape = tf.TensorShape(gradient.variable.shape)
    return int(shape.num_elements() or 0) * int(gradient.raw.dtype.base_dtype.size)


def _crossings(ops: List[Any], partition: StepPartition, state: GraphState,
               sizes: known_shapes.Sizes) -> List[Crossing]:
    sources = set(partition.sources)
    members = set(ops).intersection(partition.stage) - sources
    found = []
    for op in ops:
        source: Tuple[Optional[int], bool]
        if op in sources:
            source = None, False
        elif op in partition.batch_dependent:
            source = partition.stage[op], False
        elif any(compat.is_ref(t) or t.dtype == tf.resource for t in op.inputs):
            source = state.provenance.stage_of(op.inputs[0].op), True  # a variable is read
        else:
            continue  # constants are wherever they are read
        for tensor in op.outputs:
            targets = {partition.stage[reader] for reader in tensor.consumers()
                       if reader in members}
            targets -= {source[0]}
            if targets and tensor.dtype != tf.resource and not compat.is_ref(tensor):
                found.append(Crossing(source[0], tuple(sorted(targets)), sizes.of(tensor),
                                      source[1]))
    return found
