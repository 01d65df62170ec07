# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a script feeds is divided as it says, or refused with what to say."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, REPLICAS, Layout

FOUR = Layout(micro_batches=4)
EACH = pytest.mark.parametrize("layout", [FOUR, REPLICAS, PIPELINE, BOTH], ids=str)
RESOURCE = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
ROWS, STEPS = 8, 3
RANDOM = np.random.RandomState(0)
IDS = RANDOM.randint(0, 6, [STEPS, ROWS, 2])
LABELS = RANDOM.randn(STEPS, ROWS, 1).astype(np.float32)
OPTIMIZERS = {"sgd": lambda: tf.train.GradientDescentOptimizer(0.3),
              "adam": lambda: tf.train.AdamOptimizer(0.05)}


def lookups(optimizer, resource, size_of):
    """Embeddings of fed rows of a fixed number; `size_of` is that number under a layout."""
    def script(stage, layout):
        size = size_of(layout)
        ids = epl.divide_feed(tf.placeholder(tf.int32, [size, 2], "ids"))
        labels = epl.divide_feed(tf.placeholder(tf.float32, [size, 1], "labels"))
        with stage(0):
            table = tf.get_variable("table", [6, 3], use_resource=resource,
                                    initializer=tf.random_uniform_initializer(seed=3))
            hidden = tf.reduce_sum(tf.nn.embedding_lookup(table, ids), 1)
        with stage(1):
            loss = tf.reduce_mean(tf.square(devices.dense(hidden, 1, "out") - labels))
        train = OPTIMIZERS[optimizer]().minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, train], {ids: rows, labels.name: y.tolist()})[0]
                      for rows, y in zip(IDS, LABELS)]
            return losses, session.run({v.name: v for v in tf.global_variables()})
    return script


def compared(layout, script):
    expected = devices.run(None, lambda stage: script(stage, None))
    devices.assert_same(devices.run(layout, lambda stage: script(stage, layout)), expected)


@EACH
@RESOURCE
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_fixed_batch_size_that_is_declared(layout, resource, optimizer):
    compared(layout, lookups(optimizer, resource,
                             lambda layout: ROWS // (layout.clones if layout else 1)))


@EACH
def test_clones_of_a_declared_placeholder_keep_its_shape(layout):
    with devices.started(layout) as graph:
        x = epl.divide_feed(tf.placeholder(tf.float32, [2, 3]))
        shapes = []
        model = devices.fit(devices.stages(layout), x=tf.reshape(x, [6]))
        rewrite(graph)
        for op in graph.get_operations():
            if op.type == "Placeholder":
                shapes.append(op.outputs[0].shape.as_list())
        assert shapes == [[2, 3]] * layout.clones
        rows = np.arange(6.0 * layout.clones).reshape(-1, 3)
        with devices.session() as session:
            found, _ = session.run([model.loss, model.train], {x: rows})
            assert abs(found - np.mean(np.square(rows))) < 1e-3
            # Outside of a step the script's own operations take what their shape says.
            assert abs(session.run(model.loss, {x: rows[:2], }) - np.mean(
                np.square(rows[:2] - session.run(model.weight)))) < 1e-3
            for wrong in (rows[:1], rows[:2], np.zeros([2 * layout.clones + 1, 3])):
                with pytest.raises(ValueError, match="{} rows.*{} x 2 = {} rows|multiple".format(
                        len(wrong), layout.clones, 2 * layout.clones)):
                    session.run(model.train, {x: wrong})
            with pytest.raises(ValueError, match="no training step"):
                session.run(model.loss, {x: rows})
            with pytest.raises(ValueError, match="shape"):
                session.run(model.train, {x: np.zeros([2 * layout.clones, 4])})


@EACH
@pytest.mark.parametrize("fixed", [False, True], ids=["open", "fixed"])
def test_a_time_major_batch_is_divided_along_its_second_axis(layout, fixed):
    frames = RANDOM.randn(5, ROWS, 3).astype(np.float32)

    def script(stage, layout):
        size = ROWS // (layout.clones if layout else 1) if fixed else None
        x = epl.divide_feed(tf.placeholder(tf.float32, [None, size, 3], "frames"), axis=1)
        y = tf.placeholder(tf.float32, [None, 1])
        with stage(0):
            cell = tf.nn.rnn_cell.BasicRNNCell(3, name="cell")
            with tf.variable_scope("rnn", initializer=tf.glorot_uniform_initializer(seed=2)):
                hidden, _ = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32, time_major=True)
        with stage(1):
            loss = tf.reduce_mean(tf.square(devices.dense(hidden[-1], 1, "out") - y))
        train = OPTIMIZERS["adam"]().minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, train], {(x, y): (frames, labels)})[0]
                      for labels in LABELS]
            return losses, session.run({v.name: v for v in tf.global_variables()})
    compared(layout, script)


LOOPS = {
    "rnn": lambda x: tf.nn.dynamic_rnn(
        tf.nn.rnn_cell.GRUCell(3), x, dtype=tf.float32, time_major=True)[0],
    "lookup": lambda x: tf.nn.dynamic_rnn(
        tf.nn.rnn_cell.BasicRNNCell(3), tf.nn.embedding_lookup(
            tf.get_variable("table", [4, 3]), tf.cast(x, tf.int32)),
        dtype=tf.float32, time_major=True)[0],
    "scan": lambda x: tf.scan(lambda total, row: total + row, tf.tanh(x) * 2.0, tf.zeros([8, 3])),
    "foldl": lambda x: tf.foldl(lambda total, row: total + tf.reduce_sum(row), x, 0.0),
}


@EACH
@pytest.mark.parametrize("name", sorted(LOOPS))
def test_a_loop_from_step_to_step_tells_that_the_first_axis_is_time(layout, name):
    with devices.started(layout):
        x = tf.placeholder(tf.float32, [None, 8] + [3] * (name != "lookup"), "frames")
        devices.fit(devices.stages(layout), x=tf.reshape(LOOPS[name](x), [-1]))
        with pytest.raises(ValueError, match=r"'frames' \(.*feeds.py:.*axis=1"):
            devices.session()


@EACH
def test_a_loop_that_takes_each_row_by_itself_is_divided(layout):
    def script(stage, layout):
        x = tf.placeholder(tf.float32, [None, 3])
        model = devices.fit(stage, x=tf.reshape(tf.map_fn(lambda row: row * 2.0, x), [-1]))
        with devices.session() as session:
            return session.run([model.loss, model.train], {
                x: np.arange(24.0).reshape(8, 3) / 24})[0], session.run(model.weight)
    compared(layout, script)


@EACH
def test_feeds_of_different_numbers_of_rows_have_to_be_declared(layout):
    def script(stage, layout, declare=lambda x: x):
        x = declare(tf.placeholder(tf.float32, [None], "tokens"))  # three to a row
        y = tf.placeholder(tf.float32, [None], "labels")
        weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        with stage(0):
            sums = tf.reduce_sum(tf.reshape(x, [-1, 3]), 1) * weight
        with stage(1):
            loss = tf.reduce_mean(tf.square(sums - y))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        with devices.session() as session:
            fed = {x: np.arange(24.0), y: np.arange(8.0)}
            return session.run([loss, train], fed)[0], session.run(weight)

    with pytest.raises(ValueError, match=r"'labels:0' 8, 'tokens:0' 24.*epl.divide_feed\("):
        devices.run(layout, lambda stage: script(stage, layout))
    compared(layout, lambda stage, layout: script(stage, layout, epl.divide_feed))


@EACH
def test_what_is_shared_is_the_same_for_all_whatever_its_shape(layout):
    def script(stage, layout):
        x = tf.placeholder(tf.float32, [None, 2])
        known = epl.share_feed(tf.placeholder(tf.float32, [2]))
        open_ = epl.share_feed(tf.placeholder(tf.float32, [None]))
        anything = epl.share_feed(tf.placeholder(tf.float32))
        with stage(0):
            weights = tf.get_variable("w", [2], initializer=tf.ones_initializer())
            hidden = x * known * weights
        with stage(1):
            loss = tf.reduce_mean(tf.square(hidden * open_ + tf.reshape(anything, [2])))
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
        rows = np.arange(16.0).reshape(8, 2)
        with devices.session() as session:
            losses = [session.run([loss, train], {
                x: rows, known: [1.0, number], open_: [0.5, 2.0], anything: [number, 1.0]})[0]
                for number in range(3)]
            return losses, session.run(weights)
    compared(layout, script)


@EACH
def test_a_placeholder_without_a_shape_that_is_declared(layout):
    def script(stage, layout):
        x = epl.divide_feed(tf.placeholder(tf.float32))
        model = devices.fit(stage, x=tf.reshape(x, [-1]))
        with devices.session() as session:
            return session.run([model.loss, model.train], {x: devices.ROWS})[0], \
                session.run(model.weight)
    compared(layout, script)


@pytest.mark.parametrize("shape", [[4, 1], [4], None], ids=str)
@EACH
def test_what_only_the_script_knows_is_refused_with_its_line_and_both_cures(layout, shape):
    with devices.started(layout):
        x = tf.placeholder(tf.float32, shape, "batch_of_four")
        devices.fit(devices.stages(layout), x=tf.reshape(x, [-1]))
        with pytest.raises(ValueError) as caught:
            devices.session()
    for word in ("'batch_of_four'", "test_declared_feeds.py:", "epl.divide_feed(placeholder)",
                 "epl.share_feed(placeholder)", "{} clones".format(layout.clones)):
        assert word in str(caught.value)


def test_with_one_clone_nothing_has_to_be_declared():
    # Two stages of one micro-batch: what is fed goes to them as it is.
    layout = Layout(stages=2)

    def script(stage, layout):
        fixed, anything = tf.placeholder(tf.float32, [8]), tf.placeholder(tf.float32)
        model = devices.fit(stage, x=fixed * tf.reshape(anything, [8]))
        with devices.session() as session:
            return session.run([model.loss, model.train], {
                fixed: devices.ROWS, anything: devices.ROWS})[0], session.run(model.weight)
    compared(layout, script)


def test_a_fixed_placeholder_that_only_the_update_reads_needs_no_word():
    with devices.started(ACCUMULATION):
        model = devices.fit(devices.stages(ACCUMULATION))
        rates = tf.placeholder(tf.float32, [2], "rates")
        gradient, = tf.gradients(model.loss, [model.weight])
        train = tf.train.GradientDescentOptimizer(rates[1]).apply_gradients(
            [(gradient, model.weight)])
        with devices.session() as session:
            session.run(train, {model.x: devices.ROWS, rates: [0.0, 0.25]})
            assert session.run(model.weight) == devices.weight_after(1)


FED_INSTEAD = {
    "constant": lambda: tf.constant([1.0, 2.0, 3.0, 4.0], name="fed"),
    "computed": lambda: tf.identity(tf.range(4.0) + 1.0, "fed"),
    "default": lambda: tf.placeholder_with_default([1.0, 2.0, 3.0, 4.0], [4], "fed"),
}


@pytest.mark.parametrize("name", sorted(FED_INSTEAD))
@EACH
def test_whatever_is_fed_of_a_fixed_size_is_refused_or_declared(layout, name):
    """A session may feed any tensor, also one that all clones share."""
    def script(stage, declare):
        x = declare(FED_INSTEAD[name]())
        model = devices.fit(stage, x=tf.identity(x))
        with devices.session() as session:
            # By itself it is the same for all.
            loss, _ = session.run([model.loss, model.train])
            assert loss == 7.5
            return session.run([model.loss, model.train], {
                x: np.tile(devices.ROWS[:4], layout.clones) if declare is epl.divide_feed
                   else devices.ROWS[:4]})[0], session.run(model.weight)

    with devices.started(layout), pytest.raises(ValueError, match=r"'fed'.*share_feed"):
        script(devices.stages(layout), lambda x: x)
    for declare in (epl.share_feed, epl.divide_feed):
        with devices.started(layout):
            assert script(devices.stages(layout), declare) == (
                np.mean(np.square(devices.ROWS[:4] - 1.25)), 1.25 + 0.5 * (2.5 - 1.25))


@EACH
@RESOURCE
def test_a_variables_value_can_be_fed_to_all(layout, resource):
    def script(stage, layout):
        x = tf.placeholder(tf.float32, [None, 2])
        with stage(0):
            weights = tf.get_variable("w", [2], initializer=tf.ones_initializer(),
                                      use_resource=resource)
            value = tf.identity(weights)
        with stage(1):
            loss = tf.reduce_mean(tf.square(x * value))
        gradient, = tf.gradients(loss, [weights])
        with devices.session() as session:
            return session.run([loss, gradient], {
                x: np.arange(16.0).reshape(8, 2), value: [3.0, 5.0]})
    compared(layout, script)


def test_declarations_that_make_no_sense():
    with devices.started(ACCUMULATION):
        x = tf.placeholder(tf.float32, [None, 2])
        for axis in (2, -1, None, 0.5, True):
            with pytest.raises(ValueError, match="no axis"):
                epl.divide_feed(x, axis=axis)
        for declare in (epl.divide_feed, epl.share_feed):
            with pytest.raises(ValueError, match="not of 'x:0' of type str"):
                declare("x:0")
        assert epl.divide_feed(epl.divide_feed(x, 1), 1) is x
        with pytest.raises(ValueError, match="divided along axis 1 already, and now to be shared"):
            epl.share_feed(x)
        model = devices.fit(devices.stages(ACCUMULATION))
        with devices.session():
            with pytest.raises(RuntimeError, match="where the tensor is made"):
                epl.divide_feed(model.x)


def test_a_fixed_dimension_cannot_be_cut_into_slices():
    with devices.started(Layout(), devices=2) as graph:
        x = epl.divide_feed(tf.placeholder(tf.float32, [4], "x"))
        with epl.replicate(2):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            tf.gradients(tf.reduce_mean(x * weight), [weight])
        with pytest.raises(NotImplementedError, match=r"'x:0'.*device_count=1"):
            rewrite(graph)


@EACH
def test_a_callable_feeds_as_session_run_does(layout):
    def script(stage, layout):
        size = 8 // (layout.clones if layout else 1)
        x = epl.divide_feed(tf.placeholder(tf.float32, [size], "x"))
        model = devices.fit(stage, x=tf.identity(x))
        with devices.session() as session:
            step = session.make_callable([model.loss, model.train], feed_list=[x])
            return [step(devices.ROWS)[0] for _ in range(2)], session.run(model.weight)
    compared(layout, script)
