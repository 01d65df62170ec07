# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Graphs of two stages and two micro-batches, and what EPL finds in them."""

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.annotations import Annotations, Strategy
from epl.ir.graph_state import state_of
from epl.ir.provenance import Provenance
from epl.rewrite.groups import groups_of
from epl.rewrite.partition import Script, partition_step
from epl.rewrite.rewriter import rewrite
from tests.graph.devices import Layout

TWO = Layout(stages=2, micro_batches=2)
RESOURCE = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])


def rows():
    return tf.placeholder(tf.float32, [None, 3], "x")


def weights(name="w", shape=(3, 3), **options):
    return tf.get_variable(name, list(shape), **options)


def partition_of(loss, variables=None):
    """What EPL finds in the gradients of `loss` when it rewrites the graph."""
    tf.gradients(loss, tf.trainable_variables() if variables is None else variables)
    return rewritten(loss.graph)


def rewritten(graph):
    """What EPL finds in the gradients that were built last, when it rewrites the graph."""
    rewrite(graph)
    return groups_of(state_of(graph))[-1].partition


def partitioned(ys, gradients=(), others=(), second_stage_from=None):
    """Dissect without a rewrite; operations after `second_stage_from` are in stage 1."""
    annotations = Annotations()
    annotations.begin(0, Strategy("", 1))
    if second_stage_from is not None:
        annotations.begin(second_stage_from, Strategy("", 1))
    return partition_step(ys, gradients, others, Script(Provenance(annotations), set(), set()))


def of_type(partition, *types):
    return [op for op in partition.ops if op.type in types]


def in_second_stage_loop():
    x = rows()
    with epl.replicate(1):
        hidden = tf.matmul(x, weights("first"))
    with epl.replicate(1):
        kernel = weights("second")
        _, looped = tf.while_loop(lambda n, _: n < 2,
                                  lambda n, v: (n + 1, tf.tanh(tf.matmul(v, kernel))), [0, hidden])
        return tf.reduce_mean(looped)
