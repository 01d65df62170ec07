# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.check` in one process: right programs pass, wrong numbers are found, with their names."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.rewrite import accumulate
from epl.rewrite.passes import accumulate as accumulation
from epl.rewrite.passes import aggregate as aggregation
from tests.graph import devices
from tests.graph.devices import (
    ACCUMULATION,
    BOTH,
    PIPELINE,
    REPLICAS,
    Layout,
    data,
    dense,
    network,
    stages,
    started,
)

opened = devices.session
LAYOUTS = [ACCUMULATION, REPLICAS, BOTH, PIPELINE, Layout(micro_batches=4)]


@contextlib.contextmanager
def checked(layout=ACCUMULATION, steps=1, config=None):
    """EPL for `layout` with a check that is on; gives it."""
    with started(layout, config):
        try:
            yield epl.check(steps)
        finally:
            epl.Env.get().worker.check = None


def squared_error(outputs, labels):
    return tf.reduce_mean(tf.square(outputs - labels))


def placeholders():
    return tf.placeholder(tf.float32, [None, 3], "x"), tf.placeholder(tf.float32, [None, 1], "y")


def fed(x, y, step=0, rows=16):
    features, labels = data()
    return {x: features[step * rows:(step + 1) * rows], y: labels[step * rows:(step + 1) * rows]}


def minimize(loss, optimizer=None):
    optimizer = optimizer or tf.train.AdamOptimizer(0.01)
    return optimizer.minimize(loss, tf.train.get_or_create_global_step())


def verdicts(report):
    return {found.row.name: found.row.verdict for found in report.worst}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_an_equal_program_passes(layout, capsys):
    with checked(layout, steps=2) as check:
        x, y = placeholders()
        loss = squared_error(network(x, stages(layout)), y)
        train = minimize(loss)
        with opened() as session:
            for step in range(3):
                session.run([loss, train], fed(x, y, step))
                assert (check.report is None) == (step < 1)
    report = check.report
    assert report.passed and report.steps == 2 and report.exit_code == 0, report.describe()
    # The loss, the gradients, and the variables with their slots.
    assert {loss.name, "gradient of first/kernel:0", "second/bias", "second/bias/Adam",
            "global_step", "beta1_power"} <= set(verdicts(report))
    printed = capsys.readouterr().out
    assert "epl check: SAME: 1 fetch(es), 4 gradient(s), 15 variable(s)" in printed
    assert "x:0 [16, 3]" in printed


def test_a_sum_in_place_of_a_mean_is_found():
    """The aggregation forgets to divide by the number of clones."""
    def broken(raw, clones, plan, device, ends):
        plan = plan._replace(reduce_method="sum")
        return accumulate.accumulate(raw, clones, plan, device, ends)

    with mock.patch.object(accumulation, "accumulate", broken), checked() as check:
        x, y = placeholders()
        loss = squared_error(network(x, stages(ACCUMULATION)), y)
        train = minimize(loss, tf.train.GradientDescentOptimizer(0.1))
        with opened() as session:
            session.run([loss, train], fed(x, y))
    report = check.report
    assert sorted(report.different) == sorted(
        name for layer in ("first", "second") for part in ("kernel", "bias")
        for name in ("{}/{}".format(layer, part), "gradient of {}/{}:0".format(layer, part)))
    assert verdicts(report)[loss.name] == "same" and verdicts(report)["global_step"] == "same"
    assert report.exit_code == 3
    assert all("2 times plain TensorFlow's" in found.row.detail or found.row.difference < 1e-2
               for found in report.worst if found.row.kind == "gradient")
    assert any("2 is the number of parts" in note for note in report.notes)


def test_one_variable_that_is_wrong_is_named():
    """A small rate: the wrong update changes the variable by less than 1e-5 of its value."""
    original = aggregation.give_back

    def broken(rewriting, group, gradient, value):
        if gradient.variable.op.name == "second/kernel":
            value = value * 1.001
        original(rewriting, group, gradient, value)

    with mock.patch.object(aggregation, "give_back", broken), checked() as check:
        x, y = placeholders()
        train = minimize(squared_error(network(x, stages(ACCUMULATION)), y),
                         tf.train.GradientDescentOptimizer(1e-2))
        with opened() as session:
            session.run(train, fed(x, y))
    assert sorted(check.report.different) == ["gradient of second/kernel:0", "second/kernel"]


def one_shot(columns, rows):
    dataset = tf.data.Dataset.from_tensor_slices(columns).batch(rows)
    return tf.data.make_one_shot_iterator(dataset).get_next()


def test_rows_of_an_iterator():
    with checked(BOTH, steps=2) as check:
        x, y = one_shot(data(), 4)
        train = minimize(squared_error(network(x, stages(BOTH)), y))
        with opened() as session:
            for _ in range(2):
                session.run(train)
    assert check.report.passed, check.report.describe()
    assert any("[16, 3], 4 parts" in line for line in check.report.batch)


def test_dropout_is_repeated():
    """What every clone drew is given to plain TensorFlow, with and without a seed."""
    with checked(BOTH, steps=2) as check:
        x, y = placeholders()
        with stages(BOTH)(0):
            hidden = tf.nn.dropout(dense(x, 8, "first"), rate=0.5)
        with stages(BOTH)(1):
            loss = squared_error(dense(tf.nn.dropout(hidden, rate=0.3, seed=4), 1, "second"), y)
        train = minimize(loss)
        with opened() as session:
            for step in range(2):
                session.run([loss, train], fed(x, y, step))
    assert check.report.passed and not check.report.notes, check.report.describe()


def test_a_draw_for_all_rows_is_named():
    with checked() as check:
        x, y = placeholders()
        epl.set_default_strategy(epl.replicate(1))
        noise = tf.random_normal([3], name="noise")
        train = minimize(squared_error(dense(x + noise, 1, "first"), y))
        with opened() as session:
            session.run(train, fed(x, y))
    assert not check.report.passed
    assert any("'noise/RandomStandardNormal:0' draw(s) once for all rows" in note
               for note in check.report.notes)


def test_batch_normalisation_is_compared_part_after_part():
    with checked(Layout(micro_batches=4)) as check:
        x, y = placeholders()
        epl.set_default_strategy(epl.replicate(1))
        image = tf.reshape(x, [-1, 3, 1, 1])
        normal = tf.layers.batch_normalization(image, training=True, fused=True, name="norm")
        loss = squared_error(dense(tf.reshape(normal, [-1, 3]), 1, "first"), y)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = minimize(loss)
        with opened() as session:
            session.run(train, fed(x, y))
    report = check.report
    assert report.passed and "part after part, as 'norm/FusedBatchNorm" in report.how, \
        report.describe()
    assert {"gradient of norm/gamma:0", "norm/gamma", "first/kernel"} <= set(verdicts(report))
    assert any("cannot be told from the parts: norm/moving_mean" in n for n in report.notes)


def test_sparse_gradients_ref_and_resource():
    for resource in (False, True):
        with checked(BOTH) as check:
            ids = tf.placeholder(tf.int32, [None, 2], "ids")
            y = tf.placeholder(tf.float32, [None, 1], "y")
            with stages(BOTH)(0):
                table = tf.get_variable("table", [6, 3], use_resource=resource)
                rows = tf.reduce_sum(tf.nn.embedding_lookup(table, ids), 1)
            with stages(BOTH)(1):
                loss = squared_error(dense(rows, 1, "second"), y)
            train = minimize(loss)
            with opened() as session:
                random = np.random.RandomState(1)
                session.run(train, {ids: random.randint(0, 5, [16, 2]), y: random.rand(16, 1)})
        assert check.report.passed, check.report.describe()
        assert "gradient of table:0" in verdicts(check.report)


def test_an_element_without_gradient_is_no_difference():
    """Adam makes the rounding of a gradient that is zero in exact arithmetic as large as any."""
    with checked(Layout(micro_batches=4)) as check:
        x, y = placeholders()
        epl.set_default_strategy(epl.replicate(1))
        common = tf.get_variable("common", [], initializer=tf.ones_initializer())
        logits = dense(x, 4, "first") + common
        labels = tf.cast(tf.abs(y[:, 0]) * 3, tf.int32)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        train = minimize(loss)
        with opened() as session:
            session.run(train, fed(x, y))
    report = check.report
    assert report.passed, report.describe()
    assert {verdicts(report)[n] for n in ("first/kernel", "gradient of first/bias:0")} == {"same"}


def test_monitored_session_and_variables_that_a_hook_fetches():
    with checked(REPLICAS, steps=2) as check:
        x, y = one_shot(data(), 8)
        loss = squared_error(network(x, stages(REPLICAS)), y)
        tf.summary.scalar("loss", loss)
        train, summary = minimize(loss), tf.summary.merge_all()
        hooks = [tf.train.StopAtStepHook(3), tf.train.LoggingTensorHook({"loss": loss}, 1)]
        with tf.train.MonitoredTrainingSession(hooks=hooks) as session:
            while not session.should_stop():
                session.run([train, summary])
    assert check.report.passed, check.report.describe()
    assert any(name.endswith("(loss)") for name in verdicts(check.report))


def test_estimator():
    with checked(ACCUMULATION, steps=2) as check:
        def model(features, labels, mode):
            loss = squared_error(network(features, stages(ACCUMULATION)), labels)
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=minimize(loss))

        estimator = tf.estimator.Estimator(model)
        estimator.train(lambda: tf.data.Dataset.from_tensor_slices(data()).batch(8), steps=3)
    assert check.report.passed and check.report.steps == 2, check.report.describe()


def test_keras():
    with checked(ACCUMULATION, steps=2) as check:
        epl.set_default_strategy(epl.replicate(1))
        model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(3,))])
        model.compile(tf.keras.optimizers.SGD(0.1), "mse")
        x, y = data()
        model.fit(x, y, batch_size=16, epochs=1, verbose=0, shuffle=False)
    assert check.report.passed and check.report.steps == 2, check.report.describe()


def test_a_fixed_batch_is_compared_part_after_part():
    with checked(REPLICAS, steps=2) as check:
        dataset = tf.data.Dataset.from_tensor_slices(data()).batch(8, drop_remainder=True)
        x, y = tf.data.make_one_shot_iterator(dataset).get_next()
        loss = squared_error(network(x, stages(REPLICAS)), y)
        train = minimize(loss)
        with opened() as session:
            for _ in range(2):
                session.run([train, loss])
    assert check.report.passed and "fixed shape (8, 3)" in check.report.how, \
        check.report.describe()
    assert verdicts(check.report)[loss.name] == "same"


def test_a_defect_is_found_part_after_part():
    def broken(raw, clones, plan, device, ends):
        return accumulate.accumulate(raw, clones, plan._replace(reduce_method="sum"), device, ends)

    with mock.patch.object(accumulation, "accumulate", broken), checked(ACCUMULATION) as check:
        dataset = tf.data.Dataset.from_tensor_slices(data()).batch(8, drop_remainder=True)
        x, y = tf.data.make_one_shot_iterator(dataset).get_next()
        train = minimize(squared_error(network(x, stages(ACCUMULATION)), y))
        with opened() as session:
            session.run(train)
    assert "gradient of second/kernel:0" in check.report.different


def test_queues_and_tables():
    """The queues of `tf.train` give batches of a fixed size; a table is filled in both programs."""
    with checked(BOTH) as check:
        x, y = tf.train.batch(tf.train.slice_input_producer(list(data()), shuffle=False), 4)
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], [0, 1]), -1)
        word = tf.placeholder(tf.string, [None], "word")
        with stages(BOTH)(0):
            looked_up = tf.get_variable("rows", [2, 3])
            x += tf.nn.embedding_lookup(looked_up, table.lookup(word))
        with stages(BOTH)(1):
            loss = squared_error(dense(x, 1, "second"), y)
        train = minimize(loss)
        with opened() as session:
            session.run(tf.tables_initializer())
            coordinator = tf.train.Coordinator()
            threads = tf.train.start_queue_runners(session, coordinator)
            session.run(train, {word: ["a", "b", "b", "b"] * 4})
            coordinator.request_stop()
            coordinator.join(threads)
    assert check.report.passed, check.report.describe()
    assert "gradient of rows:0" in verdicts(check.report)


def test_a_step_goes_on_unchanged_under_a_check():
    """Losses and variables are those of a training without the check."""
    def train(context):
        with context:
            x, y = placeholders()
            loss = squared_error(network(x, stages(BOTH)), y)
            train = minimize(loss)
            with opened() as session:
                losses = [session.run([loss, train], fed(x, y, step))[0] for step in range(3)]
                return losses, session.run(tf.trainable_variables())

    tf.nest.map_structure(np.testing.assert_array_equal,
                          train(started(BOTH)), train(checked(BOTH, steps=2)))


def test_stop_ends_the_script_with_the_verdict():
    with started(ACCUMULATION):
        check = epl.check(1, stop=True)
        x, y = placeholders()
        train = minimize(squared_error(network(x, stages(ACCUMULATION)), y))
        with opened() as session, pytest.raises(SystemExit) as ended:
            session.run(train, fed(x, y))
    assert ended.value.code == 0 and check.report.passed


def test_wrong_use():
    with started(ACCUMULATION):
        with pytest.raises(ValueError, match="0 step"):
            epl.check(0)
        try:
            epl.check()
            with pytest.raises(RuntimeError, match="a check is on already"):
                epl.check()
        finally:
            epl.Env.get().worker.check = None


def test_sparse_rows_of_a_dataset():
    with checked(BOTH) as check:
        random = np.random.RandomState(2)
        ids = tf.SparseTensor(*[np.array(part) for part in (
            [[row, column] for row in range(16) for column in range(1 + row % 3)],
            random.randint(0, 6, sum(1 + row % 3 for row in range(16))), [16, 3])])
        dataset = tf.data.Dataset.from_tensor_slices((ids, data()[1][:16])).batch(4)
        iterator = tf.data.make_initializable_iterator(dataset)
        words, y = iterator.get_next()
        with stages(BOTH)(0):
            table = tf.get_variable("table", [6, 3])
            hidden = tf.nn.embedding_lookup_sparse(table, words, None, combiner="mean")
        with stages(BOTH)(1):
            train = minimize(squared_error(dense(hidden, 1, "second"), y))
        with opened() as session:
            session.run(iterator.initializer)
            session.run(train)
    assert check.report.passed and check.report.how == "the whole batch", check.report.describe()


def test_control_flow_and_a_python_function():
    with checked(Layout(micro_batches=4)) as check:
        epl.set_default_strategy(epl.replicate(1))
        x, y = placeholders()
        hidden = dense(x, 4, "first", tf.tanh)
        weights = tf.get_variable("weights", [4, 4])
        _, hidden = tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(h @ weights)),
                                  [0, hidden])
        extra = tf.py_func(lambda value: np.cos(value), [hidden], tf.float32, name="cosine")
        extra.set_shape(hidden.shape)
        loss = squared_error(dense(hidden + extra, 1, "second"), y)
        train = minimize(loss)
        with opened() as session:
            session.run([loss, train], fed(x, y))
    assert check.report.passed, check.report.describe()
    assert "gradient of weights:0" in verdicts(check.report)
    assert any("the Python function of 'cosine" in note for note in check.report.notes)


def test_a_draw_inside_of_a_loop_is_named():
    with checked() as check:
        epl.set_default_strategy(epl.replicate(1))
        x, y = placeholders()
        _, hidden = tf.while_loop(
            lambda i, _: i < 2, lambda i, h: (i + 1, tf.nn.dropout(h, rate=0.5)), [0, x])
        train = minimize(squared_error(dense(hidden, 1, "first"), y))
        with opened() as session:
            session.run(train, fed(x, y))
    assert any("inside of control flow" in note and "random_uniform" in note
               for note in check.report.notes), check.report.describe()


def test_two_optimizers_of_one_loss_and_clipping():
    with checked(REPLICAS, steps=2) as check:
        x, y = placeholders()
        loss = squared_error(network(x, stages(REPLICAS)), y)
        first, second = tf.train.AdamOptimizer(0.01), tf.train.MomentumOptimizer(0.1, 0.9)
        kernels = [v for v in tf.trainable_variables() if "kernel" in v.name]
        biases = [v for v in tf.trainable_variables() if "bias" in v.name]
        pairs = first.compute_gradients(loss, kernels)
        clipped, _ = tf.clip_by_global_norm([g for g, _ in pairs], 0.1)
        train = [first.apply_gradients(list(zip(clipped, kernels))),
                 second.minimize(loss, var_list=biases)]
        with opened() as session:
            for step in range(2):
                session.run([loss] + train, fed(x, y, step))
    assert check.report.passed, check.report.describe()
    assert "first/bias/Momentum" in verdicts(check.report)


def test_state_that_is_no_variable_is_refused():
    with checked() as check:
        epl.set_default_strategy(epl.replicate(1))
        x, y = placeholders()
        counter = tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.float32,
                                                name="memory")
        seen = tf.raw_ops.LookupTableFindV2(table_handle=counter, keys=tf.cast(y[:, 0], tf.int64),
                                            default_value=1.0)
        train = minimize(squared_error(dense(x, 1, "first") * seen[:, None], y))
        with opened() as session:
            session.run(train, fed(x, y))
    assert "'memory' (MutableHashTableV2)" in check.report.unchecked
    assert check.report.exit_code == 4 and not check.report.passed


def test_feeds_that_are_declared():
    """A fixed batch size, another axis, a shared vector; rows of a sparse tensor."""
    layout = Layout(micro_batches=2)
    for size in (8, None):
        with checked(layout) as check:
            epl.set_default_strategy(epl.replicate(1))
            x = epl.divide_feed(tf.placeholder(tf.float32, [5, size, 3]), axis=1)
            y = epl.divide_feed(tf.placeholder(tf.float32, [size, 1]))
            mask = epl.share_feed(tf.placeholder(tf.float32, [3]))
            hidden = dense(tf.reduce_mean(x * mask, 0), 4, "first", tf.tanh)
            loss = squared_error(dense(hidden, 1, "second"), y)
            train = minimize(loss)
            with opened() as session:
                random = np.random.RandomState(3)
                session.run([loss, train], {x: random.rand(5, 16, 3), y: random.rand(16, 1),
                                            mask: [1, 0, 1]})
        report = check.report
        assert report.passed and ("part after part" in report.how) == (size is not None), \
            report.describe()


def test_a_sparse_placeholder():
    for fixed in (False, True):
        with checked(ACCUMULATION) as check:
            epl.set_default_strategy(epl.replicate(1))
            words = tf.sparse_placeholder(tf.int32, [None, 3])
            y = tf.placeholder(tf.float32, [None, 1])
            if fixed:
                y = epl.divide_feed(tf.placeholder(tf.float32, [4, 1]))
            table = tf.get_variable("table", [6, 3])
            hidden = tf.nn.embedding_lookup_sparse(table, words, None, combiner="mean")
            train = minimize(squared_error(dense(hidden, 1, "second"), y))
            with opened() as session:
                indices = [[row, column] for row in range(8) for column in range(1 + row % 3)]
                sparse = tf.SparseTensorValue(indices, np.arange(len(indices)) % 6, [8, 3])
                session.run(train, {words: sparse, y: data()[1][:8]})
        assert check.report.passed, check.report.describe()
