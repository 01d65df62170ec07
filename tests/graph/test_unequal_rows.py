# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parts of a step with other numbers of rows: each counts as many times as it has rows."""

from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, REPLICAS, assert_same, reference, run
from tests.support import loopback

LAYOUTS = [ACCUMULATION, REPLICAS, PIPELINE, BOTH]
ROWS = 31  # the last part of the last step has a row less than the others
FEATURES, LABELS = devices.data(ROWS)
MASK = (np.arange(ROWS) % 3 != 1).astype(np.float32)


def mean(error, mask, weights):
    return tf.reduce_mean(error)


def with_decay(error, mask, weights):
    return tf.reduce_mean(error) * 2.0 + 0.1 * tf.add_n([tf.nn.l2_loss(w) for w in weights])


def by_number(error, mask, weights):
    return tf.reduce_sum(error) / tf.cast(tf.shape(error)[0], tf.float32)


def two_means(error, mask, weights):
    return tf.reduce_mean(error) - 0.5 * tf.reduce_mean(tf.reduce_mean(tf.tanh(error), 1))


def masked(error, mask, weights):
    return tf.reduce_sum(error[:, 0] * mask) / tf.reduce_sum(mask) + tf.nn.l2_loss(weights[0])


def mean_and_masked(error, mask, weights):
    return masked(error, mask, weights) + tf.reduce_mean(error)


def mean_and_sum(error, mask, weights):
    return tf.reduce_mean(error) + 0.15 * tf.reduce_sum(error) + 0.06 * tf.nn.l2_loss(error)


def normalised_mask(error, mask, weights):
    return tf.reduce_mean(error[:, 0] * (mask / tf.reduce_mean(mask)))


LOSSES = [mean, with_decay, by_number, two_means, masked, mean_and_masked, mean_and_sum,
          normalised_mask]


def minimize(loss):
    """One step of an optimizer whose updates depend on the size of gradients, clipped."""
    pairs = tf.train.MomentumOptimizer(0.1, 0.9).compute_gradients(loss)
    return behind(loss, clipped_step, *zip(*pairs))


def behind(loss, update, *of):
    """Updates that wait for the loss: no gradient waits for its weight decay to be read."""
    with tf.control_dependencies([loss]):
        return update(*of)


def clipped_step(gradients, variables):
    """(an update, which waits for all gradients; their norm)."""
    clipped, norm = tf.clip_by_global_norm(gradients, 0.8)
    return tf.train.MomentumOptimizer(0.1, 0.9).apply_gradients(zip(clipped, variables)), norm


def model(stage, x, y, mask, loss_of):
    with stage(0):
        hidden = devices.dense(x, 4, "first", tf.tanh)
    with stage(1):
        error = tf.square(devices.dense(hidden, 1, "second") - y)
        return loss_of(error, mask, tf.trainable_variables())


def batches(layout):
    """The dataset of `layout`: a step takes eight rows, the last fewer."""
    clones = 1 if layout is None else layout.clones
    return tf.data.Dataset.from_tensor_slices((FEATURES, LABELS, MASK)).batch(8 // clones)


def train(layout, loss_of, steps=4, of=minimize):
    """Losses and norms of steps, and the variables behind them."""
    def script(stage):
        x, y, mask = tf.data.make_one_shot_iterator(batches(layout)).get_next()
        loss = model(stage, x, y, mask, loss_of)
        op, norm = of(loss)
        fetched = [loss, norm]
        with devices.session() as session:
            found = [session.run([op] + fetched)[1:] for _ in range(steps)]
            return found, session.run(tf.trainable_variables())

    if layout is None:
        return reference(("unequal rows", loss_of.__name__, of.__name__, steps), script)
    with mock.patch.object(tf.logging, "warning") as said:
        found = run(layout, script)
    assert [call[0][0] for call in said.call_args_list] == []
    return found


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("loss_of", LOSSES)
def test_a_smaller_last_batch_equals_one_device(layout, loss_of):
    assert_same(train(layout, loss_of), train(None, loss_of))


@pytest.mark.parametrize("kind", [tf.float64, tf.float16])
def test_other_types(kind):
    def cast(error, mask, weights):
        return tf.reduce_mean(tf.cast(error, kind))

    cast.__name__ += kind.name
    tolerance = {"relative": 2e-3, "absolute": 1e-3} if kind == tf.float16 else {}
    assert_same(train(ACCUMULATION, cast), train(None, cast), **tolerance)


def test_of_double_precision_are_as_exact():
    def script(stage):
        data = tf.data.Dataset.from_tensor_slices(FEATURES.astype(np.float64)).batch(
            8 // clones)
        x = tf.data.make_one_shot_iterator(data).get_next()
        with stage(0):
            w = tf.get_variable("w", [3], tf.float64, tf.initializers.ones())
            loss = tf.reduce_mean(tf.square(tf.tanh(tf.reduce_sum(x * w, 1)) - 0.3))
        op = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
        with devices.session() as session:
            return [session.run([op, loss])[1] for _ in range(4)] + [session.run(w)]

    clones = 1
    expected = run(None, script)
    clones = 2
    assert_same(run(ACCUMULATION, script), expected, 1e-14, 1e-15)


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
@pytest.mark.parametrize("loss_of", [mean, masked])
def test_registered_means_and_written_ones(layout, loss_of):
    """A mean of the script's, one that Python takes, one by `tf.metrics`, and one that is kept."""
    def more(mask):
        kept = tf.reduce_mean(mask, name="kept")
        total, update = tf.metrics.mean(mask)
        register(kept)
        average = tf.get_variable("average", [], initializer=tf.zeros_initializer(),
                                  trainable=False)
        moved = tf.assign(average, 0.9 * average + 0.1 * tf.reduce_mean(mask))
        by_python = tf.py_func(np.mean, [mask], tf.float32, name="by_python")
        by_python.set_shape([])
        return [kept, update, moved, register(by_python)]

    def register(tensor):
        if of is not None:
            epl.add_to_collection(tensor, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
        return tensor

    def script(stage):
        x, y, mask = tf.data.make_one_shot_iterator(batches(of)).get_next()
        fetched = []

        def of_all(error, mask, weights):
            fetched.extend([loss_of(error, mask, weights)] + more(mask))
            return fetched[0]

        loss = model(stage, x, y, mask, of_all)
        op, _ = minimize(loss)
        with devices.session() as session:
            return [session.run([op] + fetched)[1:] for _ in range(4)]

    of = None
    expected = run(None, script)
    of = layout
    assert_same(run(layout, script), expected)


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS], ids=str)
@pytest.mark.parametrize("together", [True, False])
def test_two_losses_of_which_one_has_a_sum(layout, together):
    def script(stage):
        x, y, mask = tf.data.make_one_shot_iterator(batches(of)).get_next()
        with stage(0):
            weights = [tf.get_variable(name, [3], initializer=tf.initializers.ones())
                       for name in ("first", "second")]
            errors = [tf.square(tf.reduce_sum(x * w, 1) - y[:, 0]) for w in weights]
            losses = [masked(errors[0][:, None], mask, weights),
                      tf.reduce_mean(errors[1]) + 0.07 * tf.reduce_sum(errors[1])]
        ops = [tf.train.GradientDescentOptimizer(0.05).minimize(loss, var_list=[w])
               for loss, w in zip(losses, weights)]
        with devices.session() as session:
            for number in range(4):
                session.run(ops if together else ops[number % 2])
            return session.run(weights)

    of = None
    expected = run(None, script)
    of = layout
    assert_same(run(layout, script), expected)


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS], ids=str)
def test_sparse_gradients_and_two_losses(layout):
    def script(stage):
        x, y, mask = tf.data.make_one_shot_iterator(batches(of)).get_next()
        with stage(0):
            table = tf.get_variable("table", [5, 3], initializer=tf.initializers.ones())
            ids = tf.cast(tf.abs(x[:, 0]) * 2.0, tf.int32)
            rows = tf.nn.embedding_lookup(table, ids) * x
            first = tf.reduce_mean(tf.square(tf.reduce_sum(rows, 1) - y[:, 0]))
            second = tf.reduce_mean(tf.tanh(tf.reduce_sum(rows, 1))) + tf.nn.l2_loss(table)
        ops = [behind(loss, kind.apply_gradients, kind.compute_gradients(loss)) for loss, kind in (
            (first, tf.train.AdagradOptimizer(0.1)),
            (second, tf.train.GradientDescentOptimizer(0.1)))]
        with devices.session() as session:
            found = [session.run([ops[n % 2], first, second])[1:] for n in range(4)]
            return found, session.run(table)

    of = None
    expected = run(None, script)
    of = layout
    found = run(layout, script)
    assert_same(found[1], expected[1])
    assert_same([step[n % 2] for n, step in enumerate(found[0])],
                [step[n % 2] for n, step in enumerate(expected[0])])


def clipped_by_row(error, mask, weights):
    """A gradient function that is not linear: it works on each row's gradient."""
    @tf.custom_gradient
    def clip(value):
        return tf.identity(value), lambda gradient: tf.clip_by_value(gradient, -0.05, 0.05)

    return tf.reduce_mean(tf.square(clip(tf.sqrt(error + 1e-3))))


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
def test_gradient_functions_get_the_size_of_the_whole_batch(layout):
    assert_same(train(layout, clipped_by_row), train(None, clipped_by_row))


def given(loss):
    """Gradients of a loss whose own is given, as those of a scaled loss are."""
    variables = tf.trainable_variables()
    return clipped_step(tf.gradients(loss, variables, grad_ys=tf.constant(3.0)), variables)


def by_the_chain_rule(loss):
    """Of what lies between first, then of the variables."""
    graph, variables = loss.graph, tf.trainable_variables()
    hidden = [op for op in graph.get_operations() if op.type == "Tanh"][0].outputs[0]
    second = [v for v in variables if "second" in v.name]
    first = [v for v in variables if "first" in v.name]
    by_hidden, *by_second = tf.gradients(loss, [hidden] + second)
    by_first = tf.gradients(hidden, first, grad_ys=by_hidden)
    return clipped_step(by_second + by_first, second + first)


@pytest.mark.parametrize("of", [given, by_the_chain_rule])
def test_other_ways_to_gradients(of):
    assert_same(train(ACCUMULATION, with_decay, of=of), train(None, with_decay, of=of))


# Workers: each feeds, or reads, its own rows of a step's eight.
DIVISIONS = [(5, 3), (1, 7), (4, 4)]


def of_workers(loss_of, config=None, divisions=DIVISIONS, feeds=True):
    """Losses and variables of two workers that have the rows of `divisions`."""
    def body(rank):
        epl.init(epl.Config(config or {}))
        tf.set_random_seed(11)
        epl.set_default_strategy(epl.replicate(1))
        begins = np.cumsum([0] + [a + b for a, b in divisions])
        parts = [slice(b, b + d[0]) if rank == 0 else slice(b + d[0], b + sum(d))
                 for b, d in zip(begins, divisions)]
        if feeds:
            x, y, mask = (tf.placeholder(tf.float32, [None] + list(array.shape[1:]))
                          for array in (FEATURES, LABELS, MASK))
        else:
            data = tf.data.Dataset.from_generator(
                lambda: ((FEATURES[p], LABELS[p], MASK[p]) for p in parts), (tf.float32,) * 3,
                ([None, 3], [None, 1], [None]))
            x, y, mask = tf.data.make_one_shot_iterator(data).get_next()
        loss = model(devices.stages(None), x, y, mask, loss_of)
        op, norm = minimize(loss)
        with devices.session() as session:
            found = [session.run([op, loss, norm], {
                x: FEATURES[p], y: LABELS[p], mask: MASK[p]} if feeds else None)[1:]
                for p in parts]
            return found, session.run(tf.trainable_variables())

    with mock.patch.object(tf.logging, "warning") as said:
        found = loopback.run(body)
    assert not said.call_args_list
    return found


@pytest.mark.parametrize("feeds", [True, False], ids=["fed", "read"])
@pytest.mark.parametrize("loss_of", [with_decay, by_number, mean_and_masked, mean_and_sum])
def test_workers_with_unequal_rows_equal_one_device(loss_of, feeds):
    expected = train(None, loss_of, steps=3)
    for found in of_workers(loss_of, feeds=feeds):
        assert_same(found, expected)


@pytest.mark.parametrize("config", [
    {"zero.level": "v0"}, {"zero.level": "v1"}, {"communication.max_splits": 1},
    {"amp.loss_scale": 8.0}, {"communication.fp16": True}], ids=str)
def test_workers_with_other_settings(config):
    expected = train(None, with_decay, steps=3)
    rough = {"relative": 3e-3, "absolute": 1e-3} if "communication.fp16" in config else {}
    for found in of_workers(with_decay, config):
        assert_same(found, expected, **rough)


def test_nothing_is_weighed_where_shapes_say_that_rows_are_equal():
    def script(stage):
        x, y, mask = tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(
            (FEATURES, LABELS, MASK)).batch(4, drop_remainder=True)).get_next()
        minimize(model(stage, x, y, mask, mean))
        devices.session()
        return groups_of(state_of(tf.get_default_graph()))

    group, = run(ACCUMULATION, script)
    assert group.rewritten and group.weighed is None and group.counts is None


def test_a_mean_over_other_rows_than_those_that_were_read_is_named():
    """Sentences, and words, of which a sentence of one part has more."""
    def script(stage):
        parts = [(np.ones(4, np.float32), np.ones(4, np.float32)),
                 (np.ones(3, np.float32), np.ones(5, np.float32))]
        sentences, words = tf.data.make_one_shot_iterator(tf.data.Dataset.from_generator(
            lambda: parts, (tf.float32,) * 2, ([None], [None]))).get_next()
        with stage(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(sentences * w) + tf.reduce_mean(words * w, name="of_words")
        op = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            session.run(op)

    with mock.patch.object(tf.logging, "warning") as said:
        run(ACCUMULATION, script)
    texts = [call[0][0] for call in said.call_args_list]
    assert len(texts) == 1 and "(tests/graph/test_unequal_rows.py:" in texts[0], texts
    assert "has 1, 1.66667 times as many as 'mul' on this worker" in texts[0]


def test_rows_are_those_of_the_mean():
    """Words that are summed up to sentences: parts have other numbers of words alone."""
    ids = [np.array([0, 0, 1, 2, 3]), np.array([0, 1, 2, 3, 3, 3, 3, 3])]

    def script(stage):
        if whole:
            parts = [(np.ones(13, np.float32), np.concatenate([ids[0], ids[1] + 4]),
                      LABELS[:8, 0])]
        else:
            parts = [(np.ones(len(i), np.float32), i, LABELS[4 * n:4 * n + 4, 0])
                     for n, i in enumerate(ids)]
        words, sentences, y = tf.data.make_one_shot_iterator(tf.data.Dataset.from_generator(
            lambda: parts, (tf.float32, tf.int64, tf.float32), ([None],) * 3)).get_next()
        with stage(0):
            w = tf.get_variable("w", [], initializer=tf.ones_initializer())
            found = tf.math.unsorted_segment_sum(words * w, sentences, tf.shape(y)[0])
            loss = tf.reduce_mean(tf.square(found - y))
        op = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            return session.run([op, loss])[1], session.run(w)

    whole = True
    expected = run(None, script)
    whole = False
    assert_same(run(ACCUMULATION, script), expected)


def test_a_sum_by_a_number_that_may_count_rows_is_named():
    def by_four(error, mask, weights):
        return tf.reduce_mean(error) + tf.reduce_sum(error) / 4.0

    with pytest.raises(AssertionError, match="different numbers of rows: 4, 3 on this worker"):
        train(ACCUMULATION, by_four)
