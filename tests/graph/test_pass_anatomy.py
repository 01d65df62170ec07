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
from tests.graph.devices import started
from tests.graph.dissection import (
    RESOURCE,
    TWO,
    anatomy_of,
    dissected,
    in_second_stage_loop,
    of_type,
    rows,
    weights,
)


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
    anatomy = anatomy_of(loss)
    assert anatomy.sources == [x.op]
    per_batch = anatomy.per_batch
    assert hidden.op in per_batch and loss.op in per_batch
    assert scaled.op in anatomy.ops and scaled.op not in per_batch
    shared = [op for op in anatomy.ops if op not in per_batch and op not in anatomy.sources]
    assert compat.variable_key(kernel) in shared
    assert not {op.type for op in shared} & {"MatMul", "Mean"}
    assert anatomy.updates == [] and anatomy.late == set()


def test_every_operation_is_exactly_one_thing(graph):
    x = rows()
    with epl.replicate(1):
        hidden = tf.layers.dense(tf.nn.dropout(x, rate=0.5), 3)
    with epl.replicate(1):
        loss = tf.reduce_mean(tf.layers.dense(hidden, 1))
    anatomy = anatomy_of(loss)
    assert anatomy.ops == sorted(anatomy.ops, key=lambda op: op._id)
    assert set(anatomy.sources) | anatomy.per_batch <= set(anatomy.ops)
    assert not set(anatomy.sources) & anatomy.per_batch
    assert set(anatomy.stage) == set(anatomy.ops)
    assert set(anatomy.phase) <= anatomy.per_batch
    for op in anatomy.ops:  # what differs between clones makes all behind it differ
        if any(t.op in anatomy.per_batch or t.op in anatomy.sources for t in op.inputs):
            assert op in anatomy.per_batch, op


def test_a_draw_is_per_batch_and_no_source(graph):
    x = rows()
    with epl.replicate(1):
        noise = tf.random_normal([3, 3], name="noise")
        hidden = tf.matmul(x, weights() + noise)
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    anatomy = anatomy_of(loss)
    drawing, = of_type(anatomy, "RandomStandardNormal")
    assert drawing in anatomy.per_batch and drawing not in anatomy.sources
    assert anatomy.sources == [x.op]


def test_scalars_and_fixed_placeholders_are_shared(graph):
    x, rate = rows(), tf.placeholder(tf.float32, [], "rate")
    mask = epl.share_feed(tf.placeholder(tf.float32, [3], "mask"))
    with epl.replicate(1):
        shared = tf.multiply(rate, mask, "shared")
        hidden = tf.matmul(x, weights()) * shared
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    anatomy = anatomy_of(loss)
    assert anatomy.sources == [x.op]
    assert not {rate.op, mask.op, shared.op} & anatomy.per_batch


def test_iterators_and_queues_are_sources_and_their_state_is_shared(graph):
    iterator = tf.data.make_initializable_iterator(
        tf.data.Dataset.from_tensors([1.0, 2.0, 3.0]).repeat().batch(2))
    queue = tf.FIFOQueue(9, [tf.float32], [[3]])
    batch, queued = iterator.get_next(), queue.dequeue_many(2)
    with epl.replicate(1):
        hidden = tf.matmul(batch + queued, weights())
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    anatomy = anatomy_of(loss)
    assert anatomy.sources == [batch.op, queued.op]
    for owner in (iterator._iterator_resource.op, queue.queue_ref.op):
        assert owner in anatomy.ops and owner not in anatomy.per_batch


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
    anatomy = anatomy_of(waiting)
    writing, = anatomy.updates
    assert writing.type in ("AssignSub", "AssignSubVariableOp")
    assert {writing, barrier} <= anatomy.late
    assert not anatomy.late & anatomy.per_batch
    assert waiting.op in anatomy.per_batch and waiting.op not in anatomy.late


def test_a_loop_over_a_batch_is_per_batch_as_a_whole(graph):
    x = rows()
    with epl.replicate(1):
        kernel = weights()
        _, hidden = tf.while_loop(lambda n, _: n < 2,
                                  lambda n, v: (n + 1, tf.matmul(v, kernel)), [0, x])
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    anatomy = anatomy_of(loss)
    assert anatomy.loop and set(anatomy.loop) <= anatomy.per_batch
    counters = [op for op in anatomy.loop if op.type in ("Less", "LoopCond")]
    assert len(counters) >= 2  # although the counter itself depends on no batch


def test_a_loop_over_variables_alone_is_shared(graph):
    x = rows()
    with epl.replicate(1):
        kernel = weights()
        _, power = tf.while_loop(lambda n, _: n < 2,
                                 lambda n, v: (n + 1, tf.matmul(v, v)), [0, kernel])
        hidden = tf.matmul(x, tf.stop_gradient(power))
    with epl.replicate(1):
        loss = tf.reduce_mean(tf.layers.dense(hidden, 1))
    anatomy = anatomy_of(loss, [v for v in tf.trainable_variables() if v is not kernel])
    assert anatomy.loop
    assert not set(anatomy.loop) & anatomy.per_batch


def test_others_are_per_batch_without_a_phase():
    with tf.Graph().as_default():
        x = rows()
        loss = tf.reduce_mean(x)
        metric = tf.reduce_max(x, name="metric")
        anatomy = dissected([loss], others=[metric])
        assert metric.op in anatomy.per_batch and metric.op not in anatomy.phase
        assert anatomy.phase[loss.op] == FORWARD


# Phases.

def test_what_the_loss_needs_is_forward_and_the_rest_backward(graph):
    x = rows()
    with epl.replicate(1):
        hidden = tf.tanh(tf.matmul(x, weights()), "hidden")
    with epl.replicate(1):
        loss = tf.reduce_mean(hidden)
    anatomy = anatomy_of(loss)
    assert {anatomy.phase[op] for op in (hidden.op, loss.op)} == {FORWARD}
    backward = [op for op, phase in anatomy.phase.items() if phase == BACKWARD]
    assert {"TanhGrad", "MatMul"} <= {op.type for op in backward}
    state = state_of(graph)
    assert all(state.provenance.is_gradient(op) for op in backward)


def test_what_a_gradient_puts_into_a_forward_loop_is_forward(graph):
    anatomy = anatomy_of(in_second_stage_loop())
    pushes = of_type(anatomy, "StackPush", "StackPushV2")
    pops = of_type(anatomy, "StackPop", "StackPopV2")
    assert pushes and pops
    assert {anatomy.phase[op] for op in pushes} == {FORWARD}
    assert {anatomy.phase[op] for op in pops} == {BACKWARD}
    for op in of_type(anatomy, "Stack", "StackV2"):
        assert anatomy.phase[op] == FORWARD and op in anatomy.per_batch
    for name, members in loops.members(anatomy.loop).items():
        assert len({anatomy.phase[op] for op in members}) == 1, name


def test_gradients_that_are_part_of_a_loss_are_forward(graph):
    x = rows()
    with epl.replicate(1):
        hidden = tf.tanh(tf.matmul(x, weights()))
    with epl.replicate(1):
        score = tf.reduce_sum(hidden ** 2)
        slope, = tf.gradients(score, [x])
        loss = tf.reduce_mean(slope ** 2) + score
    anatomy = anatomy_of(loss)
    assert anatomy.phase[slope.op] == FORWARD
    # Nothing of the first stage's forward waits for the second stage: the pipeline would stand.
    for op, phase in anatomy.phase.items():
        for before in [t.op for t in op.inputs] + list(op.control_inputs):
            if phase == FORWARD and before in anatomy.phase:
                assert anatomy.phase[before] == FORWARD
                assert anatomy.stage[before] <= anatomy.stage[op], (before, op)


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
        loss = tf.reduce_mean(merged + tf.layers.dense(x, 3))
    anatomy = anatomy_of(loss)
    assert inside[0].op in anatomy.conditional
    assert not {merged.op, loss.op, x.op} & anatomy.conditional
    built = {op for op in anatomy.ops if compat.control_flow_context(op) is not None
             and op.type != "Switch" and "Switch" in {t.op.type for t in op.inputs}}
    assert built and built <= anatomy.conditional
    gradient, = of_type(anatomy, "TanhGrad")
    assert gradient in anatomy.conditional
    for gradient in state_of(graph).groups[0].gradients:
        assert gradient.raw.op not in anatomy.conditional


def test_a_branch_in_a_branch_is_conditional_until_the_outer_merge():
    with tf.Graph().as_default():
        x, parts = rows(), []

        def outer():
            inner = tf.cond(tf.reduce_max(x) > 1, lambda: tf.tanh(x), lambda: tf.sin(x))
            parts.append(inner)
            return inner + 1.0

        merged = tf.cond(tf.reduce_mean(x) > 0, outer, lambda: x)
        after = tf.identity(merged)
        anatomy = dissected([after])
        assert parts[0].op in anatomy.conditional
        assert merged.op not in anatomy.conditional and after.op not in anatomy.conditional
        assert {op.type for op in anatomy.conditional} >= {"Tanh", "Sin"}


def test_a_loop_alone_is_not_conditional():
    with tf.Graph().as_default():
        _, y = tf.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, tf.tanh(v)), [0, rows()])
        anatomy = dissected([tf.identity(y)])
        assert anatomy.loop and anatomy.conditional == set()


def test_a_loop_in_a_branch_ends_conditional():
    with tf.Graph().as_default():
        x, results = rows(), []

        def looped():
            results.append(tf.while_loop(lambda n, _: n < 2,
                                         lambda n, v: (n + 1, tf.tanh(v)), [0, x])[1])
            return tf.identity(results[0])

        merged = tf.cond(tf.reduce_mean(x) > 0, looped, lambda: x)
        anatomy = dissected([merged])
        assert results[0].op in anatomy.loop
        assert results[0].op in anatomy.conditional  # nothing may wait for it from outside
        assert merged.op not in anatomy.conditional


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
            dissected([y])


def test_a_loop_in_two_stages_is_refused_with_both():
    with tf.Graph().as_default() as graph:
        border = []

        def body(number, value):
            value = tf.tanh(value)
            border.append(compat.last_id(graph))
            return number + 1, tf.sin(value)

        _, y = tf.while_loop(lambda n, _: n < 2, body, [0, rows()])
        with pytest.raises(NotImplementedError, match="stages 0 and 1"):
            dissected([y], second_stage_from=border[-1])


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
            dissected([y])


def test_a_write_inside_a_function_is_refused_by_name():
    with tf.Graph().as_default():
        total = weights("total", (3,), trainable=False, use_resource=True)
        x = rows()

        @tf.function
        def counted(value):
            total.assign_add(tf.reduce_sum(value, 0))
            return 2.0 * value

        with pytest.raises(NotImplementedError, match="inside a function.*AssignAddVariableOp"):
            dissected([counted(x)])


def test_a_stage_that_the_loss_does_not_need_is_refused_by_name(graph):
    x = rows()
    with epl.replicate(1, name="needed"):
        hidden = tf.layers.dense(x, 3)
    loss = tf.reduce_mean(hidden)
    with epl.replicate(1, name="idle"):
        tf.layers.dense(hidden, 3)
    with pytest.raises(ValueError, match="'idle'"):
        anatomy_of(loss, tf.trainable_variables()[:2])
