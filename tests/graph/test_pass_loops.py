# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every operation of a v1 loop is known to be in it, and in the outermost one around it."""

import pytest
import tensorflow.compat.v1 as tf

from epl.rewrite import loops
from epl.rewrite.walk import ancestors

tf.disable_v2_behavior()


@pytest.fixture(autouse=True)
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def found_behind(*tensors):
    """Frame of the outermost loop of each operation behind `tensors` that is in one."""
    return loops.outermost_loops(loops.successors(ancestors([t.op for t in tensors])))


def outermost_context(op):
    """The outermost loop as TensorFlow itself remembers it; None outside of loops."""
    context, found = op._get_control_flow_context(), None
    while context is not None:
        if context.IsWhileContext():
            found = context
        context = context.outer_context
    return found.name if found is not None else None


def assert_as_tensorflow_says(loop, ops):
    """An operation is in the loop that TensorFlow built it in; its Exits are, too.

    TensorFlow counts the outermost Exits to what is around the loop.
    """
    for op in ops:
        expected = outermost_context(op)
        if loops.is_exit(op) and expected is None:
            assert op in loop, op
        else:
            assert (op in loop) == (expected is not None), op


def rows():
    return tf.placeholder(tf.float32, [None, 2], "x")


def powers(value, times=3, name=None):
    return tf.while_loop(lambda n, _: n < times, lambda n, v: (n + 1, tf.tanh(v) * v),
                         [0, value], name=name)[1]


def nested(value):
    return tf.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, powers(v)), [0, value])[1]


def thrice(value):
    return tf.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, nested(v)), [0, value])[1]


def loop_in_cond(value):
    return tf.cond(tf.reduce_sum(value) > 0, lambda: powers(value), lambda: value)


def cond_in_loop(value):
    def body(number, inner):
        return number + 1, tf.cond(number > 0, lambda: tf.tanh(inner), lambda: 2.0 * inner)
    return tf.while_loop(lambda n, _: n < 2, body, [0, value])[1]


def mapped(value):
    return tf.map_fn(lambda row: row * tf.constant([1.0, 2.0]), value)


SHAPES = {"powers": powers, "nested": nested, "thrice": thrice, "loop_in_cond": loop_in_cond,
          "cond_in_loop": cond_in_loop, "map_fn": mapped}
EACH = pytest.mark.parametrize("name", sorted(SHAPES))


@EACH
def test_membership_is_what_tensorflow_built(name):
    y = SHAPES[name](rows())
    loop = found_behind(y)
    assert loop and len(set(loop.values())) == 1
    assert_as_tensorflow_says(loop, ancestors([y.op]))


@EACH
def test_membership_with_gradients_is_what_tensorflow_built(name):
    x = rows()
    y = SHAPES[name](x)
    gradient, = tf.gradients(tf.reduce_sum(y), [x])
    loop = found_behind(y, gradient)
    assert_as_tensorflow_says(loop, ancestors([y.op, gradient.op]))
    assert len(set(loop.values())) == 2  # one forward, one backward, whatever is inside


@EACH
def test_no_edge_crosses_a_loops_border_but_at_enters_and_exits(name):
    x = rows()
    gradient, = tf.gradients(tf.reduce_sum(SHAPES[name](x)), [x])
    loop = found_behind(gradient)
    for op in ancestors([gradient.op]):
        for source in [t.op for t in op.inputs] + list(op.control_inputs):
            if loop.get(op) != loop.get(source):
                assert loops.is_enter(op) or loops.is_exit(source), (source, op)


def test_nothing_is_in_a_loop_where_there_is_none():
    x = rows()
    y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.tanh(x), lambda: x)
    assert found_behind(y) == {}


def test_inner_loops_count_as_the_outer_one():
    loop = found_behind(nested(rows()))
    frames = {op.get_attr("frame_name").decode() for op in loop if loops.is_enter(op)}
    assert len(frames) == 2
    assert len(set(loop.values())) == 1 and set(loop.values()) < frames


def test_frames_of_inner_loops_lie_in_that_of_the_outer_one():
    x = rows()
    gradient, = tf.gradients(tf.reduce_sum(nested(x)), [x])
    stacks = loops.frames(loops.successors(ancestors([gradient.op])))
    assert {len(stack) for stack in stacks.values()} == {1, 2}
    for op, stack in stacks.items():
        if loops.is_enter(op):
            assert stack[-1] == op.get_attr("frame_name").decode()
        inside = [stacks.get(t.op, ()) for t in op.inputs if not loops.is_exit(t.op)]
        assert all(s == (stack[:-1] if loops.is_enter(op) else stack) for s in inside), op


def test_two_loops_one_after_the_other_stay_apart():
    first = powers(rows(), name="first")
    second = powers(first + 1.0, name="second")
    loop = found_behind(second)
    members = loops.members(loop)
    assert len(members) == 2
    between = second.op.inputs[0].op
    for ops in members.values():
        assert [op._id for op in ops] == sorted(op._id for op in ops)
        assert any(loops.is_exit(op) for op in ops) and any(loops.is_enter(op) for op in ops)
    assert sum(len(ops) for ops in members.values()) == len(loop)
    assert between in loop and first.op in loop
    assert loop[first.op] != loop[second.op]
    add = next(op for op in ancestors([second.op]) if op.type in ("Add", "AddV2")
               and first.op in [t.op for t in op.inputs])
    assert add not in loop


def test_what_a_gradient_adds_to_the_forward_loop_belongs_to_it():
    x = rows()
    y = powers(x)
    gradient, = tf.gradients(tf.reduce_sum(y), [x])
    loop = found_behind(y, gradient)
    pushes = [op for op in loop if op.type in ("StackPush", "StackPushV2")]
    pops = [op for op in loop if op.type in ("StackPop", "StackPopV2")]
    assert pushes and pops
    assert {loop[op] for op in pushes} == {loop[y.op]}
    assert {loop[op] for op in pops} == {loop[gradient.op]} != {loop[y.op]}
    stacks = [op for op in ancestors([gradient.op]) if op.type in ("Stack", "StackV2")]
    assert stacks and not any(op in loop for op in stacks)


def test_successors_are_the_users_by_data_and_by_control():
    x = rows()
    y = tf.tanh(x)
    with tf.control_dependencies([y]):
        z = tf.identity(x)
    outside = tf.sin(y)
    successors = loops.successors([x.op, y.op, z.op])
    assert successors == {x.op: [y.op, z.op], y.op: [z.op], z.op: []}
    assert outside.op not in successors[y.op]


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_a_variable_stays_outside_of_the_loop_that_reads_it(resource):
    weights = tf.get_variable("w", [2], use_resource=resource)
    y = tf.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, v * weights), [0, rows()])[1]
    loop = found_behind(y)
    owner = weights.handle.op if resource else weights.op
    assert owner in ancestors([y.op]) and owner not in loop
