# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What operations take and give back, on graphs small enough to count by hand."""

import pytest
import tensorflow.compat.v1 as tf

from epl.ir.lifetimes import Again, Lifetimes, computed

KIB = 1024


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def size(tensor):
    return tensor.shape.num_elements() * tensor.dtype.base_dtype.size


def rows(count=256):
    """Data of 1 KiB, which is there before anything runs."""
    return tf.placeholder(tf.float32, [count])


def peak_of(*ends):
    ops = computed(t.op for t in ends)
    return Lifetimes(ops, size).run(ops)


def test_memory_is_free_once_the_last_reader_has_run():
    x = rows()
    for _ in range(5):
        x = tf.reverse(x, [0])
    assert peak_of(x) == 2 * KIB  # an input and an output at a time


def test_element_by_element_works_in_place_unless_another_reads_it():
    x = tf.reverse(rows(), [0])
    assert peak_of(tf.exp(tf.exp(x))) == 2 * KIB  # while it is reversed
    both = tf.exp(x) + x
    assert peak_of(both) == 2 * KIB  # the exponential beside its input, then into either
    kept = tf.reverse(tf.exp(x), [0]), tf.reverse(x, [0])
    assert peak_of(*kept) == 3 * KIB  # x, its exponential, one of them reversed


def test_views_share_memory():
    x = tf.reverse(rows(), [0])
    assert peak_of(tf.reshape(tf.identity(x), [16, 16])) == 2 * KIB


def test_what_follows_from_constants_is_computed_before():
    table = tf.tile(tf.constant([1.0]), [4096])
    assert peak_of(tf.gather(table, tf.zeros([4], tf.int32))) == 0
    drawn = tf.random.uniform([256])
    assert peak_of(drawn) == KIB


def test_what_is_only_waited_for_is_not_computed():
    x = rows()
    other = tf.tile(tf.exp(x), [64])
    with tf.control_dependencies([other]):
        end = tf.reverse(x, [0])
    assert other.op not in computed([end.op])
    count = tf.get_variable("count", [], use_resource=True)
    with tf.control_dependencies([count.assign_add(1.0)]):
        end = tf.reverse(x, [0])
    assert any("Assign" in op.type for op in computed([end.op]))


def test_what_others_give_is_there_while_it_is_read():
    x = tf.reverse(rows(), [0])
    end = tf.reverse(tf.exp(x), [0])
    device = Lifetimes([end.op.inputs[0].op, end.op], size)  # x is another's
    assert device.run([end.op.inputs[0].op, end.op]) == 2 * KIB
    assert device.in_use == 0


def test_a_later_part_finds_what_was_left_for_it():
    x = tf.reverse(rows(), [0])
    first = tf.exp(x)
    second = tf.reverse(first, [0])
    last = tf.reverse(x, [0]) + second
    ops = computed([last.op])
    early = {op for op in ops if op is x.op or op.type == "Placeholder"}
    device = Lifetimes(ops, size)
    device.run(early)
    assert device.in_use == KIB
    assert device.run(ops - early) == 3 * KIB  # x and both that are made of it
    assert device.in_use == 0


def test_what_is_computed_again_is_not_kept():
    x = tf.reverse(rows(), [0])
    hidden = tf.reverse(x, [0])
    loss = tf.reduce_sum(hidden)
    backward = [tf.reverse(hidden, [0]).op, tf.reverse(x, [0]).op]
    forward = computed([loss.op])
    members = forward | set(backward)
    plain = Lifetimes(members, size)
    plain.run(forward)
    assert plain.in_use == 2 * KIB
    tensors = {hidden.name: (hidden, 0), x.name: (x, 0)}
    again = Lifetimes(members, size, again=Again(tensors, set(backward)))
    again.run(forward)
    assert again.in_use == 0
    assert again.run(backward) == 3 * KIB  # both at once, and one reversed
    assert again.in_use == 0
