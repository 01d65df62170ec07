# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""In which stage each operation behind a training step is."""

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.plan.action import BACKWARD, FORWARD
from epl.rewrite import loops
from tests.graph.devices import started
from tests.graph.partitions import (
    RESOURCE,
    TWO,
    in_second_stage_loop,
    of_type,
    partition_of,
    rewritten,
    rows,
    weights,
)


@pytest.fixture
def graph():
    with started(TWO) as graph:
        yield graph


def test_forward_operations_are_in_the_stage_that_they_were_built_in(graph):
    x = rows()
    before = tf.identity(x, "before")
    with epl.replicate(1):
        first = tf.tanh(tf.matmul(before, weights("first")), "one")
    between = tf.identity(first, "between")
    with epl.replicate(1):
        second = tf.tanh(tf.matmul(between, weights("second")), "two")
    loss = tf.reduce_mean(second, name="loss")
    partition = partition_of(loss)
    found = [partition.stage[t.op] for t in (x, before, first, between, second, loss)]
    assert found == [0, 0, 0, 0, 1, 1]


@RESOURCE
def test_gradients_are_in_the_stage_of_what_they_differentiate(graph, resource):
    with tf.variable_scope("", use_resource=resource):
        x = rows()
        with epl.replicate(1):
            first = tf.sigmoid(tf.matmul(x, weights("first")))
        with epl.replicate(1):
            second = tf.tanh(tf.matmul(first, weights("second")))
            loss = tf.reduce_mean(second)
    partition = partition_of(loss)
    sigmoid, = of_type(partition, "SigmoidGrad")
    tanh, = of_type(partition, "TanhGrad")
    assert (partition.stage[sigmoid], partition.stage[tanh]) == (0, 1)
    matmuls = [op for op in of_type(partition, "MatMul") if partition.phase[op] == BACKWARD]
    readers = {op: partition.stage[op] for op in matmuls}
    for op in matmuls:  # a product with TanhGrad belongs to the second layer
        assert readers[op] == (1 if tanh.outputs[0] in list(op.inputs) else 0)


@pytest.mark.parametrize("method, used_in_first, handed_back", [
    (tf.AggregationMethod.DEFAULT, False, 1),
    (tf.AggregationMethod.EXPERIMENTAL_ACCUMULATE_N, False, 1),
    (tf.AggregationMethod.DEFAULT, True, 3)])  # it is added to what the first stage has
def test_what_the_next_stage_uses_often_has_one_gradient_handed_back(
        graph, method, used_in_first, handed_back):
    x = epl.divide_feed(tf.placeholder(tf.float32, [4, 3]))  # accumulate_n adds fixed sizes
    with epl.replicate(1):
        first = tf.tanh(tf.matmul(x, weights("first")))
        also = tf.sigmoid(first) if used_in_first else 0.0
    with epl.replicate(1):
        second = tf.add_n([tf.matmul(first, weights(name)) for name in "abc"])
        loss = tf.reduce_mean(tf.exp(second) + also)
    tf.gradients(loss, tf.trainable_variables(), aggregation_method=method)
    partition = rewritten(graph)
    crossing = {t for op in partition.ops if partition.stage[op] == 0 for t in op.inputs
                if partition.stage.get(t.op) == 1 and partition.goes_back(t.op)}
    of_first = [t for t in crossing if t.op.type in ("AccumulateNV2", "AddN", "MatMul")]
    assert len(of_first) == handed_back, crossing


@RESOURCE
def test_a_variable_stays_where_it_was_built_whoever_reads_it(graph, resource):
    x = rows()
    with epl.replicate(1):
        kernel = weights(use_resource=resource)
        hidden = tf.matmul(x, kernel)
    with epl.replicate(1):
        again = tf.matmul(hidden, kernel, transpose_b=True, name="again")
        loss = tf.reduce_mean(again)
    partition = partition_of(loss)
    assert partition.stage[compat.variable_key(kernel)] == 0
    assert partition.stage[again.op] == 1
    backward = {partition.stage[op] for op in of_type(partition, "MatMul")
                if partition.phase[op] == BACKWARD}
    assert backward == {0, 1}  # each product's own stage computes its share of the gradient


def test_rows_of_a_gathers_gradient_are_in_the_stage_of_the_gather(graph):
    ids = tf.placeholder(tf.int32, [None], "ids")
    with epl.replicate(1):
        table = weights("table", (8, 3))
        hidden = tf.nn.embedding_lookup(table, ids)
    with epl.replicate(1):
        logits = tf.matmul(tf.tanh(hidden), tf.gather(table, [0, 1]), transpose_b=True)
        loss = tf.reduce_mean(logits)
    partition = partition_of(loss)
    for op, phase in partition.phase.items():
        if phase == BACKWARD:
            for before in [t.op for t in op.inputs]:
                if partition.phase.get(before) == BACKWARD:
                    assert partition.stage[before] >= partition.stage[op], (before, op)


def test_a_loop_and_its_gradient_are_in_one_stage(graph):
    partition = partition_of(in_second_stage_loop())
    assert len(loops.members(partition.loop)) == 2
    assert {partition.stage[op] for op in partition.loop} == {1}
    assert {partition.stage[op] for op in of_type(partition, "Stack", "StackV2")} == {1}


@pytest.mark.parametrize("stage", [0, 1])
def test_a_loop_in_either_stage_keeps_all_in_order(graph, stage):
    x, kernels = rows(), []
    hidden = x
    for number in range(2):
        with epl.replicate(1):
            kernels.append(weights("w{}".format(number)))
            if number == stage:
                hidden = tf.map_fn(
                    lambda row: tf.tanh(tf.reduce_sum(row * kernels[-1], 1)), hidden)
            else:
                hidden = tf.matmul(hidden, kernels[-1])
    partition = partition_of(tf.reduce_mean(hidden))
    assert {partition.stage[op] for op in partition.loop} == {stage}
    arrays = of_type(partition, "TensorArrayV3", "TensorArrayGradV3")
    assert arrays and {partition.stage[op] for op in arrays} == {stage}
    assert_flows(partition)


def assert_flows(partition):
    """Forward runs through the stages upwards, backward downwards, and never before forward."""
    for op, phase in partition.phase.items():
        for before in [t.op for t in op.inputs] + list(op.control_inputs):
            if before in partition.phase:
                was = partition.phase[before]
                assert (was, phase) != (BACKWARD, FORWARD), (before, op)
                if was == phase:
                    ahead = partition.stage[op] - partition.stage[before]
                    assert (ahead >= 0) if phase == FORWARD else (ahead <= 0), (before, op)


def test_a_branch_that_crosses_stages_flows(graph):
    x = rows()
    with epl.replicate(1):
        hidden = tf.matmul(x, weights("first"))
    with epl.replicate(1):
        kernel = weights("second")
        loss = tf.reduce_mean(tf.cond(tf.reduce_mean(x) > 0,
                                      lambda: tf.matmul(hidden, kernel), lambda: tf.tanh(hidden)))
    assert_flows(partition_of(loss))
