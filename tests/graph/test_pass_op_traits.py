# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an operation is to the rewrite follows from its definition, never from its name."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import gen_data_flow_ops

import epl
from epl import compat
from epl.rewrite import op_traits
from epl.rewrite.walk import ancestors

tf.disable_v2_behavior()

RESOURCE = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])


@pytest.fixture(autouse=True)
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def variable(resource, name="v", shape=(4,), **options):
    return tf.get_variable(name, list(shape), use_resource=resource, **options)


def numbers():
    return tf.data.Dataset.range(8).batch(2)


def table():
    keys, values = tf.constant(["a", "b"]), tf.constant([1.0, 2.0])
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)


def stack():
    return gen_data_flow_ops.stack_v2(max_size=-1, elem_type=tf.float32)


def types_behind(tensor, found):
    return {op.type for op in ancestors([tensor.op]) if found(op)}


OWNERS = {
    "ref_variable": lambda: variable(False).op,
    "resource_variable": lambda: variable(True).handle.op,
    "table": lambda: table().resource_handle.op,
    "queue": lambda: tf.FIFOQueue(3, [tf.float32]).queue_ref.op,
    "shuffling_queue": lambda: tf.RandomShuffleQueue(9, 1, [tf.float32], seed=3).queue_ref.op,
    "reader": lambda: tf.WholeFileReader().reader_ref.op,
    "iterator": lambda: tf.data.make_initializable_iterator(numbers())._iterator_resource.op,
    "one_shot_iterator":
        lambda: tf.data.make_one_shot_iterator(numbers()).get_next().op.inputs[0].op,
    "feedable_iterator": lambda: tf.data.Iterator.from_string_handle(
        tf.placeholder(tf.string, []), tf.int64, [None]).get_next().op.inputs[0].op,
}


@pytest.mark.parametrize("name", sorted(OWNERS))
def test_what_holds_state_beyond_a_step_is_shared(name):
    op = OWNERS[name]()
    assert op_traits.owns_state(op)
    assert not op_traits.starts_batch(op) and not op_traits.brings_data(op)
    assert op_traits.is_variable(op) == name.endswith("_variable")
    assert op_traits.handle_origin(op.outputs[0]) is op


@pytest.mark.parametrize("name", sorted(OWNERS))
def test_what_holds_state_does_not_draw(name):
    # A draw's seed is changed on every worker and in every clone. A queue's is the script's own.
    assert not op_traits.is_random(OWNERS[name]())


STEP_SCOPED = {
    "tensor_array": lambda: tf.TensorArray(tf.float32, 3).handle.op,
    "stack": lambda: stack().op,
}


@pytest.mark.parametrize("name", sorted(STEP_SCOPED))
def test_state_of_one_step_is_made_anew_for_every_clone(name):
    op = STEP_SCOPED[name]()
    assert op_traits.starts_batch(op)
    assert not any(is_so(op) for is_so in (
        op_traits.owns_state, op_traits.brings_data, op_traits.is_random))


READS = {
    "value": lambda v: v.read_value(),
    "sum": lambda v: v + 1.0,
    "gather": lambda v: tf.gather(v, [0, 2]),
    "gather_nd": lambda v: tf.gather_nd(v, [[1]]),
    "lookup": lambda v: tf.nn.embedding_lookup(v, [1]),
    "slice": lambda v: v[1:3],
    "initialized": tf.is_variable_initialized,
    "shape": lambda v: tf.shape(v),
}


@RESOURCE
@pytest.mark.parametrize("name", sorted(READS))
def test_reading_a_variable_is_the_same_for_all_clones(resource, name):
    read = READS[name](variable(resource))
    for op in ancestors([read.op]):
        assert not op_traits.starts_batch(op) and not op_traits.brings_data(op), op
        assert op_traits.written_variable(op) is None, op


WRITES = {
    "assign": lambda v: tf.assign(v, [1.0, 2.0, 3.0, 4.0]),
    "assign_add": lambda v: v.assign_add([1.0, 1.0, 1.0, 1.0]),
    "assign_sub": lambda v: v.assign_sub([1.0, 1.0, 1.0, 1.0]),
    "scatter_update": lambda v: tf.scatter_update(v, [0], [2.0]),
    "scatter_add": lambda v: tf.scatter_add(v, [0], [2.0]),
    "scatter_nd": lambda v: tf.scatter_nd_update(v, [[0]], [2.0]),
    "slice": lambda v: v[:2].assign([1.0, 2.0]),
    "initializer": lambda v: v.initializer,
}


@RESOURCE
@pytest.mark.parametrize("name", sorted(WRITES))
def test_a_write_says_which_variable_it_writes(resource, name):
    tf.get_variable("other", [4])
    owner = compat.variable_key(variable(resource))
    write = WRITES[name](variable_again(resource))
    ops = ancestors([write if isinstance(write, tf.Operation) else write.op])
    writers = [op for op in ops if op_traits.written_variable(op) is not None]
    assert [op_traits.written_variable(op) for op in writers] == [owner]
    assert not any(op_traits.starts_batch(op) for op in writers)


def variable_again(resource):
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        return variable(resource)


@RESOURCE
@pytest.mark.parametrize("make", [
    lambda: tf.train.GradientDescentOptimizer(0.1), lambda: tf.train.AdamOptimizer(0.1),
    lambda: tf.train.MomentumOptimizer(0.1, 0.9)], ids=["sgd", "adam", "momentum"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_what_an_optimizer_applies_writes_the_variable(fresh_graph, resource, make, sparse):
    weights = variable(resource)
    before = fresh_graph.version
    make().minimize(tf.reduce_sum(tf.gather(weights, [1]) if sparse else weights ** 2))
    owner = compat.variable_key(weights)
    own_initializer = {weights.initializer}
    written = [op.type for op in fresh_graph.get_operations()
               if op_traits.written_variable(op) is owner and op not in own_initializer]
    assert before and written
    assert all(op_traits.takes_state(op) for op in fresh_graph.get_operations()
               if op_traits.written_variable(op) is owner)


@RESOURCE
def test_the_owner_is_found_through_control_flow(fresh_graph, resource):
    weights = variable(resource)
    written = []

    def write():
        written.append(tf.assign(weights, [1.0, 2.0, 3.0, 4.0]).op)
        return tf.identity(weights)

    def body(number):
        with tf.control_dependencies([tf.assign_add(weights, [1.0] * 4)]):
            return number + 1

    tf.cond(tf.placeholder(tf.bool, []), write, lambda: tf.identity(weights))
    tf.while_loop(lambda number: number < 3, body, [0])
    inside = [op for op in fresh_graph.get_operations()
              if op_traits.written_variable(op) is not None and op is not weights.initializer]
    assert len(inside) == 2
    assert {op_traits.written_variable(op) for op in inside} == {compat.variable_key(weights)}


DRAWS = {
    "uniform": lambda: tf.random_uniform([3]),
    "integers": lambda: tf.random_uniform([3], maxval=5, dtype=tf.int32),
    "normal": lambda: tf.random_normal([3], seed=1),
    "truncated": lambda: tf.truncated_normal([3]),
    "shuffle": lambda: tf.random_shuffle(tf.range(4), seed=2),
    "gamma": lambda: tf.random_gamma([2], 1.0),
    "multinomial": lambda: tf.multinomial([[0.1, 0.2]], 3),
    "candidates": lambda: tf.nn.uniform_candidate_sampler(
        tf.constant([[1]], tf.int64), 1, 2, True, 9).sampled_candidates,
    "dropout": lambda: tf.nn.dropout(tf.ones([4]), rate=0.5),
}


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_a_draw_is_each_clones_own_but_brings_no_data(name):
    drawing = [op for op in ancestors([DRAWS[name]().op]) if op_traits.is_random(op)]
    assert len(drawing) == 1
    assert op_traits.starts_batch(drawing[0]) and not op_traits.brings_data(drawing[0])


def test_a_stateless_draw_is_the_same_for_all_clones():
    value = tf.random.stateless_uniform([3], seed=[1, 2])
    assert types_behind(value, op_traits.is_random) == set()
    assert types_behind(value, op_traits.starts_batch) == set()


def test_seeds_are_those_of_the_operation():
    tf.set_random_seed(7)
    op = tf.random_shuffle(tf.range(3), seed=5).op
    assert op_traits.seeds(op.node_def, op.op_def) == (7, 5)
    assert op_traits.seeds(op.node_def, None) == (7, 5)
    other = tf.constant(1.0).op
    assert op_traits.seeds(other.node_def, other.op_def) is None


# Placeholders.

@pytest.mark.parametrize("shape, divided", [
    ([], False), ([8], False), ([1, 3], False), ([0], False), ([4, None], False),
    ([None], True), ([None, 3], True), ([None, None], True)], ids=str)
def test_a_placeholder_holds_rows_if_its_first_dimension_is_open(shape, divided):
    op = tf.placeholder(tf.float32, shape).op
    assert op_traits.is_fed_per_batch(op) == divided
    assert op_traits.starts_batch(op) == divided
    assert op_traits.brings_data(op)


def test_a_placeholder_without_a_shape_may_hold_rows():
    op = tf.placeholder(tf.float32, name="mystery").op
    assert op_traits.is_fed_per_batch(op) and op_traits.starts_batch(op)
    assert not op_traits.starts_batch(epl.share_feed(tf.placeholder(tf.float32)).op)


def test_what_is_declared_decides():
    fixed, numbers_ = tf.placeholder(tf.float32, [4]), tf.constant([1.0, 2.0])
    assert not op_traits.starts_batch(fixed.op) and not op_traits.starts_batch(numbers_.op)
    assert epl.divide_feed(fixed) is fixed and epl.divide_feed(numbers_) is numbers_
    assert op_traits.starts_batch(fixed.op) and op_traits.starts_batch(numbers_.op)
    assert not op_traits.starts_batch(epl.share_feed(tf.placeholder(tf.float32, [None])).op)


def test_only_placeholders_are_fed_per_batch():
    assert op_traits.is_fed_per_batch(tf.placeholder_with_default([1.0], [None]).op)
    assert not op_traits.is_fed_per_batch(tf.placeholder_with_default(1.0, []).op)
    assert not op_traits.is_fed_per_batch(tf.constant([1.0]).op)


# Sources.

SOURCES = {
    "one_shot": lambda: tf.data.make_one_shot_iterator(numbers()).get_next(),
    "initializable": lambda: tf.data.make_initializable_iterator(numbers()).get_next(),
    "feedable": lambda: tf.data.Iterator.from_string_handle(
        tf.placeholder(tf.string, []), tf.int64, [None]).get_next(),
    "dequeue": lambda: tf.FIFOQueue(3, [tf.float32], [[]]).dequeue(),
    "dequeue_many": lambda: tf.FIFOQueue(3, [tf.float32], [[]]).dequeue_many(2),
    "py_func": lambda: tf.py_func(lambda: np.float32(1.0), [], tf.float32),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_gives_another_batch_each_time_is_a_source(name):
    op = SOURCES[name]().op
    assert op_traits.brings_data(op) and op_traits.starts_batch(op)
    assert not op_traits.owns_state(op)


# Names.

def test_what_only_looks_at_its_input_brings_nothing_in():
    """TensorFlow calls these stateful, so that they are not folded or left out."""
    value = tf.constant([1.0])
    tf.check_numerics(value, "wrong")
    tf.Print(value, [value])
    tf.Assert(value[0] > 0, [value])
    ops = tf.get_default_graph().get_operations()
    assert {"CheckNumerics", "Print", "Assert"} <= {op.type for op in ops}
    for op in ops:
        assert not op_traits.starts_batch(op)


@RESOURCE
def test_names_decide_nothing(resource):
    x = tf.placeholder(tf.float32, [None], name="iterator/get_next")
    plain = [tf.identity(x, "Variable/Assign"), tf.constant(1.0, name="random_uniform/seed"),
             tf.add(x, 1.0, "global_step/read"), tf.tanh(x, "placeholder_IteratorGetNext"),
             tf.constant("a", name="hash_table/VarHandleOp")]
    for op in [tensor.op for tensor in plain]:
        assert not (op_traits.owns_state(op) or op_traits.is_variable(op) or op_traits.is_random(op)
                    or op_traits.starts_batch(op) or op_traits.brings_data(op))
        assert op_traits.written_variable(op) is None
    weights = variable(resource, name="Identity/Const/tanh")
    assert op_traits.is_variable(compat.variable_key(weights))
    write = tf.assign(weights, [0.0] * 4, name="read/ReadVariableOp")
    writers = [op for op in ancestors([write.op]) if op_traits.written_variable(op) is not None]
    assert [op_traits.written_variable(op) for op in writers] == [compat.variable_key(weights)]
    assert op_traits.is_random(tf.random_shuffle([1, 2], name="constant").op)


def test_function_calls_are_known_by_their_attributes():
    @tf.function
    def twice(value):
        return 2.0 * value

    assert op_traits.calls_functions(twice(tf.ones([2])).op)
    assert not op_traits.calls_functions(tf.constant(1.0, name="PartitionedCall").op)
