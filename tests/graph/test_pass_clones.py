# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A copy is the same computation on another clone's data, and leaves the script's own alone."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import loops, op_traits
from epl.rewrite.clones import CloneId, CloneMap
from epl.rewrite.walk import ancestors

tf.disable_v2_behavior()

CLONES = [CloneId(0, micro_batch, 0) for micro_batch in range(3)]


@pytest.fixture(autouse=True)
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def copied(graph, *results, first_seed=0, clones=CLONES, device=lambda op, clone: op.device,
           dropped=()):
    """CloneMap of all behind `results` that depends on a placeholder or draws."""
    behind = ancestors([r if isinstance(r, tf.Operation) else r.op for r in results])
    starts = [op for op in behind if op_traits.starts_batch(op)]
    successors = loops.successors(behind)
    reached = set()
    while starts:
        op = starts.pop()
        if op not in reached:
            reached.add(op)
            starts.extend(successors[op])
    loop = loops.outermost_loops(successors)
    frames = {loop[op] for op in reached if op in loop}
    reached.update(op for op in loop if loop[op] in frames)
    copies = CloneMap(graph, "copies", list(clones), first_seed)
    copies.add(reached, clones, device, dropped)
    return copies


def rows(name="x"):
    return tf.placeholder(tf.float32, [None, 2], name)


def test_the_first_clone_is_the_scripts_own(fresh_graph):
    y = tf.tanh(rows())
    before = fresh_graph.as_graph_def(add_shapes=True)
    copies = copied(fresh_graph, y)
    assert copies.op(y.op, CLONES[0]) is y.op
    assert copies.tensor(y, CLONES[0]) is y
    after = {node.name: node for node in fresh_graph.as_graph_def(add_shapes=True).node}
    assert all(after[node.name] == node for node in before.node)


def test_every_clone_computes_from_its_own_rows(fresh_graph):
    x = rows()
    y = tf.reduce_sum(tf.tanh(x) * tf.constant([1.0, 2.0]))
    copies = copied(fresh_graph, y)
    values = [np.full([3, 2], float(n)) for n in range(3)]
    with tf.Session() as session:
        found = session.run([copies.tensor(y, clone) for clone in CLONES],
                            {copies.tensor(x, clone): v for clone, v in zip(CLONES, values)})
    np.testing.assert_allclose(found, [9 * np.tanh(n) for n in range(3)], rtol=1e-6)


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_shared_inputs_are_the_very_same_tensors(fresh_graph, resource):
    kernel = tf.get_variable("w", [2, 2], use_resource=resource)
    shared = tf.tanh(kernel)
    y = tf.matmul(rows(), shared)
    copies = copied(fresh_graph, y)
    for clone in CLONES[1:]:
        copy = copies.op(y.op, clone)
        assert copy is not y.op
        assert copy.inputs[1] is shared
    assert copies.tensor(shared, CLONES[1]) is shared
    owners = [op for op in fresh_graph.get_operations() if op_traits.is_variable(op)]
    assert len(owners) == 1


def test_what_stands_behind_a_tensor_is_asked_for(fresh_graph):
    x, other = rows(), rows("other")
    y = tf.tanh(x)
    copies = CloneMap(fresh_graph, "copies", CLONES, 0,
                    lambda tensor, clone: other if clone == CLONES[2] else tensor)
    copies.add([y.op], CLONES, lambda op, clone: "")
    assert copies.op(y.op, CLONES[1]).inputs[0] is x
    assert copies.op(y.op, CLONES[2]).inputs[0] is other


def test_copying_twice_adds_nothing(fresh_graph):
    x = rows()
    y = tf.tanh(x)
    copies = copied(fresh_graph, y)
    version = fresh_graph.version
    copies.add([x.op, y.op], CLONES, lambda op, clone: "")
    assert fresh_graph.version == version


def test_what_is_added_later_reads_the_earlier_copies(fresh_graph):
    x = rows()
    y = tf.tanh(x)
    copies = copied(fresh_graph, y)
    z = tf.sin(y)
    assert not copies.has(z.op)
    copies.add([x.op, y.op, z.op], CLONES, lambda op, clone: "")
    assert copies.has(z.op)
    for clone in CLONES:
        assert copies.op(z.op, clone).inputs[0] is copies.tensor(y, clone)


def test_copies_for_some_clones_alone(fresh_graph):
    x = rows()
    copies = CloneMap(fresh_graph, "copies", CLONES, 0)
    copies.add([x.op], [CLONES[0], CLONES[2]], lambda op, clone: "")
    assert copies.op(x.op, CLONES[1]) is x.op
    assert copies.op(x.op, CLONES[2]) is not x.op


def test_types_attributes_and_shapes_are_the_originals(fresh_graph):
    x = tf.placeholder(tf.float32, [None, 4, 4, 3])
    y = tf.nn.conv2d(x, tf.get_variable("k", [3, 3, 3, 2]), [1, 2, 2, 1], "SAME")
    parts = tf.split(y, 2, axis=3)
    copies = copied(fresh_graph, *parts)
    for tensor in [y] + parts:
        copy = copies.tensor(tensor, CLONES[1])
        assert (copy.dtype, copy.op.type) == (tensor.dtype, tensor.op.type)
        assert copy.shape.as_list() == tensor.shape.as_list()
        assert copy.value_index == tensor.value_index
        ours, theirs = dict(tensor.op.node_def.attr), dict(copy.op.node_def.attr)
        assert all(theirs[name] == ours[name] for name in ours if name != "_output_shapes")


# Loops.

def looped(x, inner=False):
    def body(number, value):
        if inner:
            _, value = tf.while_loop(lambda n, _: n < 2,
                                     lambda n, v: (n + 1, v * 1.1), [0, value])
        return number + 1, tf.tanh(value)
    return tf.while_loop(lambda n, _: n < 3, body, [0, x])[1]


def frames(copies, ops, clone):
    return {copies.op(op, clone).get_attr("frame_name").decode()
            for op in ops if loops.is_enter(op)}


@pytest.mark.parametrize("inner", [False, True], ids=["flat", "nested"])
def test_frames_of_loops_differ_between_clones(fresh_graph, inner):
    x = rows()
    y = looped(x, inner)
    gradient, = tf.gradients(tf.reduce_sum(y), [x])
    copies = copied(fresh_graph, y, gradient)
    members = [op for op in ancestors([gradient.op, y.op]) if loops.is_enter(op)]
    found = [frames(copies, members, clone) for clone in CLONES]
    assert [len(names) for names in found] == [4 if inner else 2] * 3
    assert len(set.union(*found)) == sum(len(names) for names in found)
    values = np.random.RandomState(0).rand(3, 4, 2)
    feeds = {copies.tensor(x, clone): value for clone, value in zip(CLONES, values)}
    with tf.Session() as session:
        results = session.run([copies.tensor(gradient, clone) for clone in CLONES], feeds)
        for value, result in zip(values, results):
            np.testing.assert_allclose(session.run(gradient, {x: value}), result, rtol=1e-6)


def test_a_branch_takes_each_clones_own_way(fresh_graph):
    x = rows()
    y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.reduce_sum(x) * 2.0, lambda: tf.constant(-1.0))
    copies = copied(fresh_graph, y)
    feeds = {copies.tensor(x, clone): [[sign, 0.0]] for clone, sign in zip(CLONES, (1, -1, 3))}
    with tf.Session() as session:
        found = session.run([copies.tensor(y, clone) for clone in CLONES], feeds)
    assert found == [2.0, -1.0, 6.0]


def test_tensor_arrays_of_clones_do_not_mix(fresh_graph):
    x = tf.placeholder(tf.float32, [None])
    y = tf.map_fn(lambda value: value * 2.0, x)
    copies = copied(fresh_graph, y)
    feeds = {copies.tensor(x, clone): np.arange(4.0) + 10 * n for n, clone in enumerate(CLONES)}
    with tf.Session() as session:
        found = session.run([copies.tensor(y, clone) for clone in CLONES], feeds)
    np.testing.assert_array_equal(found, [2 * np.arange(4.0) + 20 * n for n in range(3)])


# Seeds.

def drawn(first_seed=0, **seed):
    """What three clones draw, twice."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        y = tf.random_normal([8], **seed)
        copies = copied(graph, y, first_seed=first_seed)
        return [session.run([copies.tensor(y, clone) for clone in CLONES]) for _ in range(2)]


def test_seeded_clones_draw_differently_and_reproducibly():
    first, again = drawn(seed=3), drawn(seed=3)
    np.testing.assert_array_equal(first, again)
    flat = np.reshape(first, [6, 8])
    assert len({tuple(row) for row in flat}) == 6


def test_the_first_clone_keeps_the_scripts_seed():
    with tf.Graph().as_default(), tf.Session() as session:
        alone = session.run(tf.random_normal([8], seed=3))
    np.testing.assert_array_equal(drawn(seed=3)[0][0], alone)


def test_clones_of_two_workers_draw_differently():
    here, there = drawn(seed=3)[0][1:], drawn(first_seed=3, seed=3)[0][1:]
    assert not any(np.array_equal(a, b) for a in here for b in there)


def test_two_operations_of_one_clone_draw_differently(fresh_graph):
    y = tf.stack([tf.random_normal([8], seed=3), tf.random_normal([8], seed=4)])
    copies = copied(fresh_graph, y)
    with tf.Session() as session:
        one, other = session.run(copies.tensor(y, CLONES[2]))
    assert not np.array_equal(one, other)


def test_unseeded_draws_stay_unseeded(fresh_graph):
    y = tf.random_shuffle(tf.range(9))
    copies = copied(fresh_graph, y)
    for clone in CLONES:
        op = copies.op(y.op, clone)
        assert (op.get_attr("seed"), op.get_attr("seed2")) == (0, 0)


# Devices, colocation, waiting.

def test_a_copy_is_on_the_device_that_is_chosen_for_it(fresh_graph):
    x = rows()
    with tf.device("/device:CPU:0"):
        y = tf.tanh(x)
    copies = copied(fresh_graph, y, device=lambda op, clone: "/device:CPU:{}".format(
        clone.micro_batch))
    assert [copies.op(y.op, clone).device for clone in CLONES] == [
        "/device:CPU:0", "/device:CPU:1", "/device:CPU:2"]


def test_colocation_does_not_tie_a_copy_to_the_original(fresh_graph):
    x = rows()
    with tf.device(None), fresh_graph.colocate_with(x.op):
        y = tf.tanh(x)
    assert compat.colocated_with(y.op) == [x.op]
    copies = copied(fresh_graph, y)
    assert compat.colocated_with(copies.op(y.op, CLONES[1])) == []
    assert compat.colocated_with(y.op) == [x.op]


def test_copies_wait_for_copies_and_for_what_is_shared(fresh_graph):
    x = rows()
    shared = tf.no_op("shared")
    first = tf.sin(x)
    with tf.control_dependencies([first, shared]):
        y = tf.tanh(x)
    copies = copied(fresh_graph, y)
    for clone in CLONES:
        assert set(copies.op(y.op, clone).control_inputs) == {copies.op(first.op, clone), shared}


def test_copies_do_not_wait_for_what_is_dropped(fresh_graph):
    x = rows()
    late = tf.no_op("late")
    with tf.control_dependencies([late]):
        y = tf.tanh(x)
    copies = copied(fresh_graph, y, dropped=[late])
    assert list(y.op.control_inputs) == [late]
    assert list(copies.op(y.op, CLONES[1]).control_inputs) == []


def test_copies_owe_nothing_to_what_the_script_has_open(fresh_graph):
    x = rows()
    y = tf.tanh(x)
    with tf.device("/device:CPU:7"), tf.name_scope("open"), tf.control_dependencies([tf.no_op()]):
        copies = copied(fresh_graph, y)
    copy = copies.op(y.op, CLONES[1])
    assert copy.device == "" and list(copy.control_inputs) == []
    assert copy.name.startswith("copies/replica_0/micro_batch_1/")


def test_names_say_the_slice_where_there_are_several():
    assert CloneId(1, 2, 0).describe(1) == "replica_1/micro_batch_2"
    assert CloneId(1, 2, 3).describe(4) == "replica_1/micro_batch_2/slice_3"
