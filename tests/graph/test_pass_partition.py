# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each operation behind a training step is, on graphs of two stages and two micro-batches."""

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.ir.graph_state import state_of
from epl.plan.action import BACKWARD, FORWARD
from epl.rewrite import loops
from epl.rewrite.groups import groups_of
from tests.graph.devices import started
from tests.graph.partitions import (
    RESOURCE,
    TWO,
    in_second_stage_loop,
    of_type,
    partition_of,
    partitioned,
    rows,
    weights,
)
from tests.support import layers


@pytest.fixture
def graph():
    with started(TWO) as graph:
        yield graph


# Shared, source, per batch, update.

@RESOURCE
def test_what_depends_on_variables_and_constants_alone_is_shared(graph, resource):
    x = rows()
    with epl.replicate(1):
        kernel = weights(use_resource=resource)
        scaled = tf.tanh(kernel * tf.constant(2.0), "shared_tanh")
        hidden = tf.matmul(x, scaled, name="product")
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden) + tf.nn.l2_loss(kernel)
    partition = partition_of(loss)
    assert partition.sources == [x.op]
    batch_dependent = partition.batch_dependent
    assert hidden.op in batch_dependent and loss.op in batch_dependent
    assert scaled.op in partition.ops and scaled.op not in batch_dependent
    shared = [op for op in partition.ops
              if op not in batch_dependent and op not in partition.sources]
    assert compat.variable_key(kernel) in shared
    assert not {op.type for op in shared} & {"MatMul", "Mean"}
    assert partition.updates == [] and partition.deferred == set()


def test_every_operation_is_exactly_one_thing(graph):
    x = rows()
    with epl.replicate(1):
        hidden = layers.dense(tf.nn.dropout(x, rate=0.5), 3)
    with epl.replicate(1):
        loss = tf.reduce_mean(layers.dense(hidden, 1))
    partition = partition_of(loss)
    assert partition.ops == sorted(partition.ops, key=lambda op: op._id)
    assert set(partition.sources) | partition.batch_dependent <= set(partition.ops)
    assert not set(partition.sources) & partition.batch_dependent
    assert set(partition.stage) == set(partition.ops)
    assert set(partition.phase) <= partition.batch_dependent
    for op in partition.ops:  # what differs between clones makes all behind it differ
        if any(t.op in partition.batch_dependent or t.op in partition.sources for t in op.inputs):
            assert op in partition.batch_dependent, op


def test_a_draw_is_per_batch_and_no_source(graph):
    x = rows()
    with epl.replicate(1):
        noise = tf.random_normal([3, 3], name="noise")
        hidden = tf.matmul(x, weights() + noise)
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    partition = partition_of(loss)
    drawing, = of_type(partition, "RandomStandardNormal")
    assert drawing in partition.batch_dependent and drawing not in partition.sources
    assert partition.sources == [x.op]


def test_scalars_and_fixed_placeholders_are_shared(graph):
    x, rate = rows(), tf.placeholder(tf.float32, [], "rate")
    mask = epl.share_feed(tf.placeholder(tf.float32, [3], "mask"))
    with epl.replicate(1):
        shared = tf.multiply(rate, mask, "shared")
        hidden = tf.matmul(x, weights()) * shared
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    partition = partition_of(loss)
    assert partition.sources == [x.op]
    assert not {rate.op, mask.op, shared.op} & partition.batch_dependent


def test_iterators_and_queues_are_sources_and_their_state_is_shared(graph):
    iterator = tf.data.make_initializable_iterator(
        tf.data.Dataset.from_tensors([1.0, 2.0, 3.0]).repeat().batch(2))
    queue = tf.FIFOQueue(9, [tf.float32], [[3]])
    batch, queued = iterator.get_next(), queue.dequeue_many(2)
    with epl.replicate(1):
        hidden = tf.matmul(batch + queued, weights())
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    partition = partition_of(loss)
    assert partition.sources == [batch.op, queued.op]
    for owner in (iterator._iterator_resource.op, queue.queue_ref.op):
        assert owner in partition.ops and owner not in partition.batch_dependent


@RESOURCE
def test_update_ops_are_updates_and_what_follows_them_is_late(graph, resource):
    x = rows()
    with epl.replicate(1):
        average = weights("average", (3,), trainable=False, use_resource=resource)
        hidden = tf.matmul(x, weights(use_resource=resource))
        update = tf.assign_sub(average, average - tf.reduce_mean(hidden, 0))
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        barrier = tf.no_op("after_updates")
        with tf.control_dependencies([barrier]):
            waiting = tf.identity(loss)
    partition = partition_of(waiting)
    writing, = partition.updates
    assert writing.type in ("AssignSub", "AssignSubVariableOp")
    assert {writing, barrier} <= partition.deferred
    assert not partition.deferred & partition.batch_dependent
    assert waiting.op in partition.batch_dependent and waiting.op not in partition.deferred


def test_a_loop_over_a_batch_is_per_batch_as_a_whole(graph):
    x = rows()
    with epl.replicate(1):
        kernel = weights()
        _, hidden = tf.while_loop(lambda n, _: n < 2,
                                  lambda n, v: (n + 1, tf.matmul(v, kernel)), [0, x])
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    partition = partition_of(loss)
    assert partition.loop and set(partition.loop) <= partition.batch_dependent
    counters = [op for op in partition.loop if op.type in ("Less", "LoopCond")]
    assert len(counters) >= 2  # although the counter itself depends on no batch


def test_a_loop_over_variables_alone_is_shared(graph):
    x = rows()
    with epl.replicate(1):
        kernel = weights()
        _, power = tf.while_loop(lambda n, _: n < 2,
                                 lambda n, v: (n + 1, tf.matmul(v, v)), [0, kernel])
        hidden = tf.matmul(x, tf.stop_gradient(power))
    with epl.replicate(1):
        loss = tf.reduce_mean(layers.dense(hidden, 1))
    partition = partition_of(loss, [v for v in tf.trainable_variables() if v is not kernel])
    assert partition.loop
    assert not set(partition.loop) & partition.batch_dependent


def test_others_are_per_batch_without_a_phase():
    with tf.Graph().as_default():
        x = rows()
        loss = tf.reduce_mean(x)
        metric = tf.reduce_max(x, name="metric")
        partition = partitioned([loss], others=[metric])
        assert metric.op in partition.batch_dependent and metric.op not in partition.phase
        assert partition.phase[loss.op] == FORWARD


# Phases.

def test_what_the_loss_needs_is_forward_and_the_rest_backward(graph):
    x = rows()
    with epl.replicate(1):
        hidden = tf.tanh(tf.matmul(x, weights()), "hidden")
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    partition = partition_of(loss)
    assert {partition.phase[op] for op in (hidden.op, loss.op)} == {FORWARD}
    backward = [op for op, phase in partition.phase.items() if phase == BACKWARD]
    assert {"TanhGrad", "MatMul"} <= {op.type for op in backward}
    state = state_of(graph)
    assert all(state.provenance.is_gradient(op) for op in backward)


def test_what_a_gradient_puts_into_a_forward_loop_is_forward(graph):
    partition = partition_of(in_second_stage_loop())
    pushes = of_type(partition, "StackPush", "StackPushV2")
    pops = of_type(partition, "StackPop", "StackPopV2")
    assert pushes and pops
    assert {partition.phase[op] for op in pushes} == {FORWARD}
    assert {partition.phase[op] for op in pops} == {BACKWARD}
    for op in of_type(partition, "Stack", "StackV2"):
        assert partition.phase[op] == FORWARD and op in partition.batch_dependent
    for name, members in loops.members(partition.loop).items():
        assert len({partition.phase[op] for op in members}) == 1, name


def test_gradients_that_are_part_of_a_loss_are_forward(graph):
    x = rows()
    with epl.replicate(1):
        hidden = tf.tanh(tf.matmul(x, weights()))
    with epl.replicate(1):
        score = tf.reduce_sum(hidden ** 2)
        slope, = tf.gradients(score, [x])
        loss = tf.reduce_mean(slope ** 2) + score
    partition = partition_of(loss)
    assert partition.phase[slope.op] == FORWARD
    # Nothing of the first stage's forward waits for the second stage: the pipeline would stand.
    for op, phase in partition.phase.items():
        for before in [t.op for t in op.inputs] + list(op.control_inputs):
            if phase == FORWARD and before in partition.phase:
                assert partition.phase[before] == FORWARD
                assert partition.stage[before] <= partition.stage[op], (before, op)


# Branches.

def test_what_is_in_a_branch_is_conditional_and_the_merge_is_not(graph):
    x = rows()
    with epl.replicate(1):
        kernel, inside = weights(), []

        def branch():
            inside.append(tf.tanh(tf.matmul(x, kernel)))
            return inside[0]

        merged = tf.cond(tf.reduce_mean(x) > 0, branch, lambda: 2.0 * tf.matmul(x, kernel))
    with epl.replicate(1):
        loss = tf.reduce_mean(merged + layers.dense(x, 3))
    partition = partition_of(loss)
    assert inside[0].op in partition.conditional
    assert not {merged.op, loss.op, x.op} & partition.conditional
    built = {op for op in partition.ops if compat.control_flow_context(op) is not None
             and op.type != "Switch" and "Switch" in {t.op.type for t in op.inputs}}
    assert built and built <= partition.conditional
    gradient, = of_type(partition, "TanhGrad")
    assert gradient in partition.conditional
    for gradient in groups_of(state_of(graph))[0].gradients:
        assert gradient.raw.op not in partition.conditional


def test_a_branch_in_a_branch_is_conditional_until_the_outer_merge():
    with tf.Graph().as_default():
        x, parts = rows(), []

        def outer():
            inner = tf.cond(tf.reduce_max(x) > 1, lambda: tf.tanh(x), lambda: tf.sin(x))
            parts.append(inner)
            return inner + 1.0

        merged = tf.cond(tf.reduce_mean(x) > 0, outer, lambda: x)
        after = tf.identity(merged)
        partition = partitioned([after])
        assert parts[0].op in partition.conditional
        assert merged.op not in partition.conditional and after.op not in partition.conditional
        assert {op.type for op in partition.conditional} >= {"Tanh", "Sin"}


def test_a_loop_alone_is_not_conditional():
    with tf.Graph().as_default():
        _, y = tf.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, tf.tanh(v)), [0, rows()])
        partition = partitioned([tf.identity(y)])
        assert partition.loop and partition.conditional == set()


def test_a_loop_in_a_branch_ends_conditional():
    with tf.Graph().as_default():
        x, results = rows(), []

        def looped():
            results.append(tf.while_loop(lambda n, _: n < 2,
                                         lambda n, v: (n + 1, tf.tanh(v)), [0, x])[1])
            return tf.identity(results[0])

        merged = tf.cond(tf.reduce_mean(x) > 0, looped, lambda: x)
        partition = partitioned([merged])
        assert results[0].op in partition.loop
        assert results[0].op in partition.conditional  # nothing may wait for it from outside
        assert merged.op not in partition.conditional


# Refusals.

def test_a_write_inside_a_loop_is_refused_by_name():
    with tf.Graph().as_default():
        x, total = rows(), weights("total", (3,), trainable=False)

        def body(number, value):
            with tf.control_dependencies([
                    tf.assign_add(total, tf.reduce_sum(x, 0), name="adds_up")]):
                return number + 1, tf.tanh(value)

        _, y = tf.while_loop(lambda n, _: n < 2, body, [0, x])
        with pytest.raises(NotImplementedError, match="adds_up.*outside of the loop"):
            partitioned([y])


def test_a_loop_in_two_stages_is_refused_with_both():
    with tf.Graph().as_default() as graph:
        border = []

        def body(number, value):
            value = tf.tanh(value)
            border.append(compat.last_id(graph))
            return number + 1, tf.sin(value)

        _, y = tf.while_loop(lambda n, _: n < 2, body, [0, rows()])
        with pytest.raises(NotImplementedError, match="stages 0 and 1"):
            partitioned([y], second_stage_from=border[-1])


@RESOURCE
def test_reading_what_an_update_wrote_is_refused_with_both_names(resource):
    with tf.Graph().as_default():
        x = rows()
        average = weights("average", (3,), trainable=False, use_resource=resource)
        with tf.control_dependencies([
                tf.assign(average, tf.reduce_mean(x, 0), name="remembers").op]):
            value = tf.add(average.read_value(), 0.0)
        y = tf.multiply(x, value, name="uses")
        with pytest.raises(NotImplementedError, match="remembers.*before the update"):
            partitioned([y])


def test_a_write_inside_a_function_is_refused_by_name():
    with tf.Graph().as_default():
        total = weights("total", (3,), trainable=False, use_resource=True)
        x = rows()

        @tf.function
        def counted(value):
            total.assign_add(tf.reduce_sum(value, 0))
            return 2.0 * value

        with pytest.raises(NotImplementedError, match="inside a function.*AssignAddVariableOp"):
            partitioned([counted(x)])


def test_a_stage_that_the_loss_does_not_need_is_refused_by_name(graph):
    x = rows()
    with epl.replicate(1, name="needed"):
        hidden = layers.dense(x, 3)
    loss = tf.reduce_mean(hidden)
    with epl.replicate(1, name="idle"):
        layers.dense(hidden, 3)
    with pytest.raises(ValueError, match="'idle'"):
        partition_of(loss, tf.trainable_variables()[:2])
