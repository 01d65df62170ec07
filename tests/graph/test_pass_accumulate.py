# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients of clones become one: their mean or sum, in a fixed order, of the same kind."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.graph_state import state_of
from epl.plan.parallel_plan import make_plan
from epl.rewrite.accumulate import accumulate, scale
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import groups_of
from epl.rewrite.rewriter import rewrite
from tests.graph.devices import Layout, session, started

tf.disable_v2_behavior()

KEYS = {"mean": lambda parts: sum(parts) / len(parts), "sum": sum}


class Clones:
    """Stands for `CloneMap`: the tensor of every clone is given."""

    def __init__(self, clones, tensors):
        self.clones = clones
        self._tensors = tensors

    def tensor(self, tensor, clone):
        return self._tensors[tensor.name][self.clones.index(clone)]


@pytest.fixture(autouse=True)
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def plan(replicas=1, micro_batches=1, method="mean", devices=1):
    return make_plan([("", devices)], 1, replicas * devices, micro_batches, method)


def clones_of(replicas, micro_batches, slices=1):
    return [CloneId(r, m, s) for r in range(replicas) for m in range(micro_batches)
            for s in range(slices)]


def constants(values, dtype=tf.float32, device=None):
    found = []
    for number, value in enumerate(values):
        with tf.device(device(number) if device else None):
            found.append(tf.constant(value, dtype))
    return found


def evaluated(tensor):
    with tf.Session() as running:
        return running.run(tensor)


def test_one_clone_has_nothing_to_add():
    gradient = tf.constant([1.0])
    assert accumulate(gradient, Clones(clones_of(1, 1), {}), plan(), "") is gradient


@pytest.mark.parametrize("method", ["mean", "sum"])
@pytest.mark.parametrize("replicas, micro_batches", [(1, 2), (1, 4), (2, 1), (2, 3)])
def test_dense_gradients(method, replicas, micro_batches):
    clones = clones_of(replicas, micro_batches)
    values = [np.array([1.0, 4.0]) * (n + 1) for n in range(len(clones))]
    parts = constants(values)
    found = accumulate(parts[0], Clones(clones, {parts[0].name: parts}),
                       plan(replicas, micro_batches, method), "")
    np.testing.assert_allclose(evaluated(found), KEYS[method](values), rtol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [
    (tf.float16, 2e-3), (tf.bfloat16, 2e-2), (tf.float32, 3e-7), (tf.float64, 1e-15)],
    ids=["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("micro_batches", [2, 3])
def test_a_mean_is_as_precise_as_its_type(dtype, tolerance, micro_batches):
    values = [[0.1 * (n + 1), 3.7] for n in range(micro_batches)]
    parts = constants(values, dtype)
    found = accumulate(parts[0], Clones(clones_of(1, micro_batches), {parts[0].name: parts}),
                       plan(1, micro_batches), "")
    assert found.dtype == dtype
    np.testing.assert_allclose(evaluated(tf.cast(found, tf.float64)), np.mean(values, 0),
                               rtol=tolerance)


def test_a_mean_of_half_precision_that_fits_does_not_overflow():
    # The sum is 80,000, more than the largest 16-bit float.
    parts = constants([[20000.0]] * 4, tf.float16)
    found = accumulate(parts[0], Clones(clones_of(1, 4), {parts[0].name: parts}), plan(1, 4), "")
    np.testing.assert_array_equal(evaluated(found), [20000.0])


def test_the_order_of_additions_is_that_of_the_clones():
    # 1e8 swallows a 1 in 32 bits, so that another order would give another sum.
    values = [1e8, 1.0, -1e8, 1.0]
    parts = constants(values)
    found = accumulate(parts[0], Clones(clones_of(1, 4), {parts[0].name: parts}),
                       plan(1, 4, "sum"), "")
    total = np.float32(0)
    for value in values:
        total = np.float32(total + np.float32(value))
    assert evaluated(found) == total


def test_no_clone_waits_for_all_others_before_it_is_added(fresh_graph):
    # One running sum: memory does not grow with the number of micro-batches.
    parts = constants([1.0, 2.0, 3.0, 4.0])
    before = set(fresh_graph.get_operations())
    accumulate(parts[0], Clones(clones_of(1, 4), {parts[0].name: parts}), plan(1, 4, "sum"), "")
    added = [op for op in fresh_graph.get_operations() if op not in before]
    sums = [op for op in added if len(op.inputs) > 1]
    assert len(sums) == 3 and all(len(op.inputs) == 2 for op in sums)


def test_the_static_shape_is_kept():
    ones = [tf.placeholder_with_default(tf.ones([2, 3]), shape)
            for shape in ([2, 3], [None, 3], None)]
    clones = Clones(clones_of(1, 3), {ones[0].name: ones})
    assert accumulate(ones[0], clones, plan(1, 3), "").shape.as_list() == [2, 3]


def rows_of(values, indices):
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([9, 2]))


@pytest.mark.parametrize("method", ["mean", "sum"])
def test_sparse_rows_are_joined_in_the_order_of_the_clones(method):
    clones = clones_of(2, 2)
    values = [np.full([n + 1, 2], 10.0 * n, np.float32) for n in range(4)]
    indices = [np.arange(n + 1) + n for n in range(4)]
    parts = [rows_of(v, i) for v, i in zip(values, indices)]
    tensors = {parts[0].values.name: [p.values for p in parts],
               parts[0].indices.name: [p.indices for p in parts]}
    found = accumulate(parts[0], Clones(clones, tensors), plan(2, 2, method), "")
    assert isinstance(found, tf.IndexedSlices)
    joined = evaluated([found.values, found.indices, found.dense_shape])
    np.testing.assert_array_equal(joined[1], np.concatenate(indices))
    np.testing.assert_allclose(joined[0],
                               np.concatenate(values) / (4 if method == "mean" else 1))
    assert list(joined[2]) == [9, 2]


@pytest.mark.parametrize("method, slices, expected", [
    ("mean", 1, 1 / 6), ("sum", 1, 1.0), ("mean", 2, 1 / 12), ("sum", 2, 1 / 2)])
def test_slices_are_averaged_even_where_clones_are_added(method, slices, expected):
    assert scale(plan(2, 3, method, slices), 6 * slices) == expected


def test_sums_are_made_where_a_replica_is_and_the_result_where_the_variable_is(fresh_graph):
    clones = clones_of(2, 2)
    parts = constants([1.0, 2.0, 3.0, 4.0],
                      device=lambda n: "/device:CPU:{}".format(2 * (n // 2) + 1))
    before = set(fresh_graph.get_operations())
    found = accumulate(parts[0], Clones(clones, {parts[0].name: parts}), plan(2, 2),
                       "/device:CPU:7")
    added = [op for op in fresh_graph.get_operations() if op not in before]
    of_replica = [op.device for op in added
                  if len(op.inputs) == 2 and {t.op for t in op.inputs} < {p.op for p in parts}]
    assert of_replica == ["/device:CPU:1", "/device:CPU:3"]
    assert found.op.device == "/device:CPU:7"


def test_sparse_rows_are_joined_where_the_table_is():
    parts = [rows_of([[1.0, 2.0]], [0]), rows_of([[3.0, 4.0]], [1])]
    tensors = {parts[0].values.name: [p.values for p in parts],
               parts[0].indices.name: [p.indices for p in parts]}
    found = accumulate(parts[0], Clones(clones_of(1, 2), tensors), plan(1, 2), "/device:CPU:5")
    assert found.values.op.device == found.indices.op.device == "/device:CPU:5"


# Whole steps.

@pytest.mark.parametrize("dtype, tolerance", [(tf.float32, 1e-6), (tf.float64, 1e-14)],
                         ids=["float32", "float64"])
@pytest.mark.parametrize("layout", [Layout(micro_batches=3), Layout(2, 3, 2)], ids=str)
def test_a_step_is_as_precise_as_its_type(dtype, tolerance, layout):
    rows = np.random.RandomState(1).rand(12, 3)
    with started(layout):
        x = tf.placeholder(dtype, [None, 3])
        hidden = x
        for number in range(layout.stages):
            with epl.replicate(1):
                hidden = hidden * tf.get_variable("w{}".format(number), [3], dtype,
                                                  tf.ones_initializer())
        gradients = tf.gradients(tf.reduce_mean(hidden), tf.trainable_variables())
        with session() as running:
            for found in running.run(gradients, {x: rows}):
                np.testing.assert_allclose(found, rows.mean(0) / 3, rtol=tolerance)


def test_the_same_step_gives_the_same_bits_again():
    def gradient():
        rows = np.random.RandomState(1).rand(24, 3).astype(np.float32)
        with started(Layout(2, 2, 3)):
            x = tf.placeholder(tf.float32, [None, 3])
            with epl.replicate(1):
                hidden = tf.tanh(x * tf.get_variable("a", [3], initializer=tf.ones_initializer()))
            with epl.replicate(1):
                kernel = tf.get_variable("b", [3], initializer=tf.ones_initializer())
                loss = tf.reduce_mean(tf.exp(hidden * kernel))
            found = tf.gradients(loss, tf.trainable_variables())
            with session() as running:
                return np.stack(running.run(found, {x: rows}))
    first = gradient()
    assert all(np.array_equal(gradient(), first) for _ in range(3))


def test_rows_that_are_the_same_for_all_clones_are_added_up():
    with started(Layout(micro_batches=2)) as graph:
        with epl.replicate(1):
            table = tf.get_variable("t", [5, 2], initializer=tf.ones_initializer())
            x = tf.placeholder(tf.float32, [None])
            picked = tf.gather(table, [3, 1])  # the same two rows for every clone
            loss = tf.reduce_mean(x) * tf.reduce_sum(picked)
        gradient, = tf.gradients(loss, [table])
        assert gradient.values.shape.as_list() == [None, 2]
        rewrite(graph)
        assert groups_of(state_of(graph))[0].rewritten
        with session() as running:
            values, indices = running.run([gradient.values, gradient.indices],
                                          {x: [1.0, 1.0, 3.0, 3.0]})
    np.testing.assert_array_equal(indices, [3, 1])
    np.testing.assert_array_equal(values, np.full([2, 2], (1 + 3) / 2))


def test_gradients_are_added_as_they_come():
    """TensorFlow's graph optimizer leaves the additions alone: it joins what waits for nothing."""
    with started(Layout(2, 1, 4)):
        hidden = x = tf.placeholder(tf.float32, [None, 3])
        for number in range(2):
            with epl.replicate(1):
                hidden = tf.matmul(hidden, tf.get_variable(
                    "w{}".format(number), [3, 3], initializer=tf.ones_initializer()))
        gradients = tf.gradients(tf.reduce_mean(hidden), tf.trainable_variables())
        metadata = tf.RunMetadata()
        with session() as running:
            running.run(gradients, {x: np.ones([8, 3])},
                        tf.RunOptions(output_partition_graphs=True), metadata)
    nodes = [n for graph in metadata.partition_graphs for n in graph.node
             if "/accumulate/" in n.name]
    added = [n for n in nodes if n.op in ("Add", "AddV2")]
    assert len(added) == 2 * 3 and not any(n.op == "AddN" for n in nodes)
