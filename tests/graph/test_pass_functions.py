# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What called functions do is found at any depth; those of an input pipeline do not count."""


import pytest
import tensorflow.compat.v1 as tf

from epl.rewrite.functions import Library
from epl.rewrite.seeds import check_seeds
from tests.graph.devices import control_flow_v2

tf.disable_v2_behavior()


@pytest.fixture(autouse=True)
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def calls(graph):
    return [op for op in graph.get_operations() if list(Library(graph).nodes(op))]


def test_operations_without_functions_have_no_nodes(fresh_graph):
    tf.tanh(tf.get_variable("v", [2])) + tf.random_uniform([2], seed=3)
    assert calls(fresh_graph) == []


def test_nodes_of_nested_functions_are_found_once(fresh_graph):
    @tf.function
    def inner(value):
        return tf.tanh(value)

    @tf.function
    def outer(value):
        return inner(value) + inner(tf.sin(value))

    outer(tf.placeholder(tf.float32, [None]))
    op, = calls(fresh_graph)
    types = [node.op for node in Library(fresh_graph).nodes(op)]
    assert types.count("Sin") == 1 and "Tanh" in types


WRITES = {
    "assign": lambda v: v.assign([1.0, 2.0]),
    "assign_add": lambda v: v.assign_add([1.0, 2.0]),
    "scatter": lambda v: tf.scatter_update(v, [0], [1.0]),
    "slice": lambda v: v[:1].assign([1.0]),
}


@pytest.mark.parametrize("name", sorted(WRITES))
@pytest.mark.parametrize("how", ["branch", "loop", "branch_in_loop"])
def test_a_write_in_functional_control_flow_is_found(fresh_graph, name, how):
    with control_flow_v2():
        weights = tf.get_variable("v", [2], use_resource=True)

        def write():
            with tf.control_dependencies([WRITES[name](weights)]):
                return tf.constant(1)

        def branch():
            return tf.cond(tf.placeholder_with_default(True, []), write, lambda: tf.constant(0))

        if how == "branch":
            branch()
        else:
            inner = write if how == "loop" else branch
            tf.while_loop(lambda number: number < 2, lambda number: number + inner(), [0])
    writing = [Library(fresh_graph).writing_node(op) for op in calls(fresh_graph)]
    assert [node is not None for node in writing] == [True]


def test_a_read_in_functional_control_flow_is_no_write(fresh_graph):
    with control_flow_v2():
        weights = tf.get_variable("v", [2], use_resource=True)
        tf.cond(tf.placeholder_with_default(True, []),
                lambda: tf.gather(weights, [0]), lambda: weights.read_value()[:1])
    op, = calls(fresh_graph)
    assert Library(fresh_graph).writing_node(op) is None


def drawn(value):
    return tf.cast(value, tf.float32) + tf.random_uniform([], seed=3)


PIPELINES = {
    "map": lambda data: data.map(drawn),
    "parallel_map": lambda data: data.map(drawn, num_parallel_calls=2),
    "map_and_batch": lambda data: data.map(drawn).batch(2),
    "filter": lambda data: data.filter(lambda value: drawn(value) > 0.5),
    "flat_map": lambda data: data.flat_map(
        lambda value: tf.data.Dataset.from_tensors(drawn(value))),
    "interleave": lambda data: data.interleave(
        lambda value: tf.data.Dataset.from_tensors(drawn(value)), cycle_length=2),
    "parallel_interleave": lambda data: data.interleave(
        lambda value: tf.data.Dataset.from_tensors(drawn(value)), cycle_length=2,
        num_parallel_calls=2),
}


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_functions_of_a_dataset_do_not_count(fresh_graph, name):
    # They run outside of the step; a seeded draw there stays as it is, on every worker.
    PIPELINES[name](tf.data.Dataset.range(4))
    assert [op.type for op in calls(fresh_graph)] == []


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_a_seeded_draw_in_the_input_pipeline_is_not_refused(name):
    data = PIPELINES[name](tf.data.Dataset.range(4)).batch(2)
    for make in (tf.data.make_initializable_iterator, tf.data.make_one_shot_iterator):
        check_seeds([make(data).get_next()])
    check_seeds([tf.data.experimental.get_single_element(data.take(1))])


def test_a_seeded_draw_in_a_function_is_refused_by_name():
    @tf.function
    def noisy(value):
        return value + tf.random_normal([2], seed=5)

    @tf.function
    def outer(value):
        return noisy(value)

    with pytest.raises(NotImplementedError, match="RandomStandardNormal"):
        check_seeds([outer(tf.zeros([2]))])


def test_an_unseeded_draw_in_a_function_is_fine():
    @tf.function
    def noisy(value):
        return value + tf.random_normal([2])

    check_seeds([noisy(tf.zeros([2]))])
