# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every clone gets rows of its own, in a fixed order; outside of steps the script gets them all."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.graph_state import state_of
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import groups_of
from epl.rewrite.rewriter import rewrite
from epl.rewrite.sources import Sources
from tests.graph.devices import Layout, session, started

CLONES = [CloneId(r, m, 0) for r in range(2) for m in range(3)]
FOUR = Layout(replicas=2, micro_batches=2)
KEYS = epl.GraphKeys


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def numbers(count=64, batch=None):
    data = tf.data.Dataset.from_tensor_slices(np.arange(count, dtype=np.float32))
    return data if batch is None else data.batch(batch)


def one_shot(data):
    return tf.data.make_one_shot_iterator(data).get_next()


def queue():
    waiting = tf.FIFOQueue(64, [tf.float32], [[]])
    fill = waiting.enqueue_many([np.arange(64, dtype=np.float32)])
    tf.add_to_collection("fill", fill)
    return waiting.dequeue()


def counter():
    state = []

    def following():
        state.append(None)
        return np.float32(len(state) - 1)
    value = tf.py_func(following, [], tf.float32)
    value.set_shape([])
    return value


TAKERS = {"one_shot": lambda: one_shot(numbers()), "queue": queue, "py_func": counter}


# CloneMap of the sources.

@pytest.mark.parametrize("name", sorted(TAKERS))
def test_clones_take_their_batches_one_after_the_other(graph, name):
    taken = TAKERS[name]()
    sources = Sources(graph, CLONES)
    sources.add([taken.op])
    each = [sources.tensor(taken, clone) for clone in CLONES]
    assert each[0] is taken and len({t.name for t in each}) == 6
    for before, after in zip(each, each[1:]):
        assert list(after.op.control_inputs) == [before.op]
    assert list(taken.op.control_inputs) == []
    with tf.Session() as running:
        running.run(tf.get_collection("fill"))
        for step in range(3):
            np.testing.assert_array_equal(running.run(each), 6 * step + np.arange(6))


def test_iterators_of_clones_share_their_state(graph):
    taken = one_shot(numbers())
    sources = Sources(graph, CLONES)
    sources.add([taken.op])
    owners = {sources.tensor(taken, clone).op.inputs[0].op for clone in CLONES}
    assert len(owners) == 1


def test_the_outputs_of_one_iterator_stay_together(graph):
    pair = one_shot(tf.data.Dataset.zip((numbers(), numbers().map(lambda v: -v))))
    sources = Sources(graph, CLONES)
    sources.add([pair[0].op])
    for clone in CLONES:
        first, second = [sources.tensor(t, clone) for t in pair]
        assert first.op is second.op and (first.value_index, second.value_index) == (0, 1)
    with tf.Session() as running:
        found = running.run([[sources.tensor(t, clone) for t in pair] for clone in CLONES])
    assert all(first == -second for first, second in found)


def test_two_iterators_do_not_wait_for_each_other(graph):
    left, right = one_shot(numbers()), one_shot(numbers())
    sources = Sources(graph, CLONES)
    sources.add([left.op, right.op])
    of_left = {sources.tensor(left, clone).op for clone in CLONES}
    of_right = {sources.tensor(right, clone).op for clone in CLONES}
    assert not of_left & of_right
    for ops in (of_left, of_right):
        assert {c for op in ops for c in op.control_inputs} <= ops


def test_a_placeholder_of_rows_gets_one_copy_per_clone(graph):
    x = tf.placeholder(tf.float32, [None, 3], "x")
    sources = Sources(graph, CLONES)
    sources.add([x.op])
    each = [sources.tensor(x, clone) for clone in CLONES]
    assert each[0] is x and len({t.name for t in each}) == 6
    assert all(t.op.type == "Placeholder" and t.shape.as_list() == [None, 3] for t in each)
    assert all(not t.op.control_inputs for t in each)


def test_adding_a_source_again_adds_nothing(graph):
    taken, x = one_shot(numbers()), tf.placeholder(tf.float32, [None])
    sources = Sources(graph, CLONES)
    sources.add([taken.op, x.op])
    version = graph.version
    sources.add([x.op, taken.op])
    assert graph.version == version
    assert not any(len(sources.tensor(taken, clone).op.control_inputs) > 1 for clone in CLONES)


def test_what_is_no_source_is_itself_for_every_clone(graph):
    sources = Sources(graph, CLONES)
    other = tf.constant(1.0)
    assert all(sources.tensor(other, clone) is other for clone in CLONES)
    assert sources.clones == CLONES and sources.num_slices == 1 and sources.count is None
    assert not sources.cut([one_shot(numbers()).op])


def test_a_step_takes_one_batch_per_clone_in_order():
    with started(FOUR):
        batch = one_shot(numbers(batch=2))
        with epl.replicate(1):
            weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
            loss = tf.reduce_mean(batch * weight)
        gradient, = tf.gradients(loss, [weight])
        epl.add_to_collection(batch, KEYS.LOCAL_CONCAT_OBJECTS)
        with session() as running:
            for step in range(3):
                found, _ = running.run([batch, gradient])
                np.testing.assert_array_equal(found, 8 * step + np.arange(8))
            # Outside of a step: the script's own, one batch.
            np.testing.assert_array_equal(running.run(batch), [24, 25])


# Slices.

def sliced_model(batch):
    """One stage on two devices; (the loss's gradient, the weight)."""
    with epl.replicate(2):
        weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
        loss = tf.reduce_mean(tf.multiply(batch, weight, "product"))
    return tf.gradients(loss, [weight])[0]


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_batches_are_cut_into_neighbouring_slices(micro_batches):
    with started(Layout(micro_batches=micro_batches), devices=2) as graph:
        batch = one_shot(numbers(batch=4))
        gradient = sliced_model(batch)
        product = graph.get_tensor_by_name("product:0")
        epl.add_to_collection(product, KEYS.LOCAL_CONCAT_OBJECTS)
        with session() as running:
            found, mean = running.run([product, gradient])
            np.testing.assert_array_equal(found, np.arange(4.0 * micro_batches))
            assert mean == np.mean(np.arange(4.0 * micro_batches))
        copies = groups_of(state_of(graph))[0].clones
        assert len(copies.clones) == 2 * micro_batches
        taken = [op for op in graph.get_operations() if op.type == "IteratorGetNext"]
        assert len(taken) == micro_batches  # slices of a batch share it


def test_slices_keep_the_static_shape_of_the_batch():
    with started(Layout(), devices=2) as graph:
        batch = one_shot(numbers(batch=4).map(lambda v: tf.stack([v, v, v], 1)))
        assert batch.shape.as_list() == [None, 3]
        sliced_model(batch)
        rewrite(graph)
        read = graph.get_operation_by_name("product").inputs[0]
        assert read is not batch and read.shape.as_list() == [None, 3]


def test_outside_of_a_step_nothing_is_cut():
    with started(Layout(), devices=2) as graph:
        batch = one_shot(numbers(batch=4))
        gradient = sliced_model(batch)
        with session() as running:
            running.run(gradient)
            np.testing.assert_array_equal(
                running.run(graph.get_tensor_by_name("product:0")), [4, 5, 6, 7])


def test_rows_that_cannot_be_cut_are_an_error_with_both_numbers():
    with started(Layout(), devices=2):
        gradient = sliced_model(one_shot(numbers(batch=5)))
        with session() as running:
            with pytest.raises(tf.errors.InvalidArgumentError,
                               match=r"(?s)cannot be cut.*5.*2"):
                running.run(gradient)


def test_a_fixed_batch_size_cannot_be_cut():
    with started(Layout(), devices=2) as graph:
        sliced_model(one_shot(tf.data.Dataset.from_tensors(np.zeros(4, np.float32)).repeat()))
        with pytest.raises(NotImplementedError, match="drop_remainder=False"):
            rewrite(graph)


def test_numbers_without_rows_are_whole_for_all_slices():
    with started(Layout(), devices=2):
        pair = one_shot(tf.data.Dataset.zip((numbers(batch=4), numbers())))
        gradient = sliced_model(pair[0] + 100.0 * pair[1])
        with session() as running:
            assert [running.run(gradient) for _ in range(2)] == [1.5, 105.5]


SHARED = {
    "lookup": lambda: tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
        tf.constant(["a", "b"]), tf.constant([1.0, 2.0])), 0.0).lookup(tf.constant(["a", "b"])),
    "print": lambda: tf.Print(tf.constant([1.0, 2.0]), [], "seen"),
    "py_func": lambda: tf.ensure_shape(
        tf.py_func(lambda v: v, [tf.constant([1.0, 2.0])], tf.float32), [2]),
}


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_does_not_depend_on_a_batch_is_not_cut(name):
    with started(Layout(), devices=2):
        x = tf.placeholder(tf.float32, [None, 2])
        gradient = sliced_model(x * SHARED[name]())
        with session() as running:
            running.run(tf.tables_initializer())
            assert running.run(gradient, {x: np.ones([4, 2])}) == 1.5


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("devices", [1, 2])
def test_an_iterators_batch_can_be_fed_instead(micro_batches, devices):
    with started(Layout(micro_batches=micro_batches), devices=devices):
        batch = one_shot(numbers(batch=4))
        with epl.replicate(devices):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(batch * weight)
        gradient, = tf.gradients(loss, [weight])
        with session() as running:
            fed = np.arange(8.0, dtype=np.float32)
            assert running.run(gradient, {batch: 100 * fed}) == 350.0
