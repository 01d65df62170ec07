# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches of a fixed number of rows, where a step computes something from the whole batch.

Each value mixes rows (a softmax over the batch), so that nothing of it can be joined from parts. A
script writes down the rows of a part under EPL, and those of the batch in plain TensorFlow.
"""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, REPLICAS, ROWS, Layout

EACH = pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS, BOTH, Layout(micro_batches=4)],
                               ids=str)
VERSIONS = pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])


def mixed(x):
    return tf.nn.softmax(x, axis=0)


def numbered(rows):
    """Rows in their order, which must not be lost, and how many there are."""
    flat = tf.reshape(rows, [-1])
    return tf.reduce_sum(flat * tf.cast(tf.range(tf.size(flat)), tf.float32))


def written_in_turns(x, shape):
    array = tf.TensorArray(tf.float32, 3, element_shape=shape)
    return tf.while_loop(lambda turn, *_: turn < 3, lambda turn, array, x: (
        turn + 1, array.write(turn, mixed(x)), mixed(x) + x), [0, array, x])[1]


def array_stacked(x, rows):
    return written_in_turns(x, x.shape).stack()


def array_joined(x, rows):
    return written_in_turns(x, x.shape).concat()


def array_of_open_elements(x, rows):
    return written_in_turns(x, None).stack()


def recurrent(x, rows):
    """Its arrays have elements of as many rows as the batch, and so has its first state."""
    with tf.variable_scope("", initializer=tf.glorot_uniform_initializer(seed=1)):
        return tf.nn.dynamic_rnn(
            tf.nn.rnn_cell.BasicRNNCell(2, name="cell"), tf.stack([mixed(x), x], axis=1),
            initial_state=tf.zeros([rows, 2]), dtype=tf.float32)[0]


def recurrent_of_any_batch(x, rows):
    return recurrent(x, tf.shape(x)[0])


def checked_shape(x, rows):
    return tf.ensure_shape(mixed(x), [rows, 1])


def other_numbers(x, rows):
    """Numbers that count no rows of the batch."""
    wide = tf.reshape(tf.tile(mixed(x), [1, 6]), [-1, 2, 3])
    return wide[:, :1, :2] * tf.gather(tf.range(9.0), tf.range(1, 3))


OPENED = [array_stacked, array_joined, array_of_open_elements, recurrent_of_any_batch,
          checked_shape, other_numbers]
OF_LISTS = OPENED[:4]  # what v2 control flow makes of arrays; their shapes are numbers in a graph


def script_of(layout, value, in_loss=False):
    """What a step writes and fetches, and all variables after it."""
    def script(stage):
        rows = len(ROWS) // (layout or devices.ONE).clones
        fed = tf.placeholder(tf.float32, [rows, 1])
        if layout is not None:
            epl.divide_feed(fed)
        kept = tf.get_variable("kept", [], initializer=tf.zeros_initializer(), trainable=False)
        model = devices.fit(stage, x=tf.reshape(fed, [-1]))
        result = numbered(value(fed, rows))
        write = kept.assign(result)
        loss = model.loss + (0.0 * tf.stop_gradient(result) if in_loss else 0.0)
        step = tf.train.GradientDescentOptimizer(0.125).minimize(loss, var_list=[model.weight])
        with devices.session() as session:
            _, _, got = session.run([step, write, result], {fed: ROWS[:, None]})
            return got, session.run({v.name: v for v in tf.global_variables()})
    return script


def run(layout, value, config=None, in_loss=False):
    return devices.run(layout, script_of(layout, value, in_loss), config)


def of_one_device(key, value):
    return devices.reference(("fixed rows", key), script_of(None, value))


@EACH
@VERSIONS
@pytest.mark.parametrize("in_loss", [False, True], ids=["apart", "in_loss"])
@pytest.mark.parametrize("value", OPENED)
def test_shapes_of_a_part_do_not_bind_the_whole_batch(value, in_loss, v2, layout):
    """`in_loss`: the clones work on arrays of their own in the same step."""
    with devices.control_flow_v2() if v2 else contextlib.nullcontext():
        if v2 and value in OF_LISTS:
            with pytest.raises(NotImplementedError, match="takes the fixed number of rows"):
                run(layout, value, in_loss=in_loss)
        else:
            devices.assert_same(run(layout, value, in_loss=in_loss),
                                of_one_device((value, v2), value))


def recurrent_in_a_branch(x, rows):
    """The batch decides whether the first state is used, and it passes through the branch."""
    state = tf.zeros([rows, 1])
    return tf.cond(tf.reduce_min(x) > 2.0, lambda: state + 1.0,
                   lambda: tf.concat([mixed(x), state], 1))


# What a script may write down, and how it says the same of any batch.
COUNTED = {
    "reshape": (lambda x, rows: tf.cumsum(tf.reshape(mixed(x), [rows, -1]))),
    "reshape_packed": (lambda x, rows: tf.cumsum(
        tf.reshape(mixed(x), tf.stack([rows, tf.size(x) // tf.shape(x)[0]])))),
    "slice": (lambda x, rows: tf.slice(mixed(x), [0, 0], tf.stack([rows, 1]))),
    "strided_slice": (lambda x, rows: mixed(x)[:rows]),
    "first_state": recurrent,
    "first_state_in_a_branch": recurrent_in_a_branch,
    "range": (lambda x, rows: tf.gather(mixed(x), tf.range(rows))),
    "pairs": (lambda x, rows: tf.gather_nd(mixed(x), tf.stack(
        [tf.range(rows), tf.cast(x[:, 0] * 0.0, tf.int32)], axis=1))),
}


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
@pytest.mark.parametrize("name", sorted(COUNTED))
def test_a_number_of_rows_written_down_is_refused(name, layout):
    """The cure that the error names, to take the number from the batch, is right."""
    def by_shape(x, rows):
        return COUNTED[name](x, tf.shape(x)[0])

    with pytest.raises(NotImplementedError, match="takes the fixed number of rows.*tf.shape"):
        run(layout, COUNTED[name])
    devices.assert_same(run(layout, by_shape), of_one_device(name, COUNTED[name]))


def test_indices_that_are_constants_and_parts_of_a_split_are_refused():
    for value in (lambda x, rows: tf.gather(mixed(x), np.arange(rows)),
                  lambda x, rows: tf.add_n(tf.split(mixed(x), rows))):
        with pytest.raises(NotImplementedError, match="takes the fixed number of rows"):
            run(ACCUMULATION, value)


def test_a_number_of_rows_in_a_function_is_refused():
    def value(x, rows, numbers=lambda x, rows: rows):
        return tf.cond(tf.reduce_sum(x) > 0.0, lambda: tf.cumsum(tf.reshape(
            mixed(x), [numbers(x, rows), -1])), lambda: x)

    def by_shape(x, rows):
        number = tf.shape(x)[0]
        return value(x, rows, lambda x, rows: number)

    with devices.control_flow_v2():
        with pytest.raises(NotImplementedError, match="takes the fixed number of rows"):
            run(ACCUMULATION, value)
        devices.assert_same(run(ACCUMULATION, by_shape), run(None, value))


@EACH
def test_what_is_counted_behind_the_step_are_the_rows_of_all(layout):
    """Constants to TensorFlow, of a tensor that the script makes behind its step."""
    def script(stage):
        rows = 8 // parts
        x = tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(ROWS).repeat().batch(
            rows, drop_remainder=True)).get_next()
        fit = devices.fit(stage, x=x)
        with tf.control_dependencies([fit.train]):
            behind = tf.tanh(tf.stop_gradient(x))
            total = tf.get_variable("total", [3], initializer=tf.zeros_initializer(),
                                    trainable=False)
            counted = tf.assign_add(total, tf.cast(tf.stack([
                tf.shape(behind)[0], tf.size(behind),
                tf.shape(tf.zeros_like(tf.identity(behind)))[0]]), tf.float32))
        with devices.session() as session:
            for _ in range(2):
                session.run(counted)
            return session.run(total)

    parts = layout.clones
    np.testing.assert_array_equal(devices.run(layout, script), [16, 16, 16])
