# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What several devices or micro-batches cannot do is refused, by operation and with a cure.

Nothing runs then: a script that would train otherwise than on one device stops.
"""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, REPLICAS, ROWS, control_flow_v2

EACH = pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)


@contextlib.contextmanager
def refused(*words, error=NotImplementedError):
    """The block raises `error`, and its message has all of `words`."""
    with pytest.raises(error) as caught:
        yield
    for word in words:
        assert word in str(caught.value), str(caught.value)


@EACH
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_the_value_of_a_variable_after_a_write_from_the_batch(layout, resource):
    with devices.started(layout):
        x = tf.placeholder(tf.float32, [None], "x")
        average = tf.get_variable("average", [], initializer=tf.zeros_initializer(),
                                  trainable=False, use_resource=resource)
        write = tf.assign(average, tf.reduce_mean(x), name="remember")
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, write)
        with tf.control_dependencies([write]):
            value = average.read_value()
        devices.fit(devices.stages(layout), x=x - value)
        with refused("remember", "before the update"):
            devices.session()


@EACH
def test_a_write_inside_of_a_loop(layout):
    with devices.started(layout):
        x = tf.placeholder(tf.float32, [None], "x")
        total = tf.get_variable("total", [], initializer=tf.zeros_initializer(), trainable=False)

        def body(number, value):
            with tf.control_dependencies([tf.assign_add(total, tf.reduce_sum(x), name="add_up")]):
                return number + 1, value + x

        _, looped = tf.while_loop(lambda number, _: number < 2, body, [0, tf.zeros_like(x)])
        devices.fit(devices.stages(layout), x=looped)
        with refused("add_up", "outside of the loop"):
            devices.session()


@EACH
def test_a_write_inside_of_a_function(layout):
    with devices.started(layout), control_flow_v2():
        x = tf.placeholder(tf.float32, [None], "x")
        count = tf.get_variable("count", [], initializer=tf.zeros_initializer(), trainable=False,
                                use_resource=True)

        def counted():
            with tf.control_dependencies([count.assign_add(tf.reduce_sum(x))]):
                return tf.identity(x)

        value = tf.cond(tf.reduce_sum(x) > 0, counted, lambda: x, name="count_if")
        devices.fit(devices.stages(layout), x=value)
        with refused("count_if", "tf.GraphKeys.UPDATE_OPS"):
            devices.session()


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_loop_that_lies_in_two_stages(layout):
    with devices.started(layout):
        stage = devices.stages(layout)
        x = tf.placeholder(tf.float32, [None], "x")
        with stage(0):
            weight = tf.get_variable("w", [])
            hidden = x * weight
        blocks = contextlib.ExitStack()

        def body(number, value):
            value = value + 1.0
            blocks.enter_context(stage(1))
            return number + 1, value * 2.0

        _, looped = tf.while_loop(lambda number, _: number < 2, body, [0, hidden])
        blocks.close()
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(looped))
        with refused("while/", "stages 0 and 1", "begin the next stage before or after"):
            devices.session()


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_stage_that_the_loss_does_not_depend_on(layout):
    with devices.started(layout):
        model = devices.fit(lambda number: devices.stages(layout)(0 if number == 0 else 9))
        del model
        with epl.replicate(1, name="idle"):
            tf.constant(1.0)
        loss = tf.reduce_sum(tf.get_default_graph().get_tensor_by_name("loss:0"))
        tf.gradients(loss, tf.trainable_variables())
        with refused("TaskGraph 1 ('idle')", "remove this epl.replicate", error=ValueError):
            devices.session()


@EACH
@pytest.mark.parametrize("kind", ["cond", "while"])
def test_a_random_operation_with_a_seed_in_a_function(layout, kind):
    with devices.started(layout), control_flow_v2():
        x = tf.placeholder(tf.float32, [None], "x")

        def noisy():
            return x + tf.random.uniform([], seed=3, name="noise")

        if kind == "cond":
            value = tf.cond(tf.reduce_sum(x) > 0, noisy, lambda: x, name="maybe")
        else:
            _, value = tf.while_loop(lambda number, _: number < 2,
                                     lambda number, _: (number + 1, noisy()), [0, x], name="maybe")
        devices.fit(devices.stages(layout), x=value)
        with refused("maybe", "noise", "disable_control_flow_v2"):
            devices.session()


@pytest.mark.parametrize("count", [2, 4])
def test_several_devices_without_a_strategy(count):
    with devices.started(PIPELINE, devices=count), \
            refused("{} device(s)".format(count), "epl.set_default_strategy", error=RuntimeError):
        devices.fit(lambda number: contextlib.nullcontext())


def test_gradients_inside_of_a_branch():
    with devices.started(BOTH), epl.replicate(1):
        x = tf.placeholder(tf.float32, [None], "x")
        weight = tf.get_variable("w", [])
        loss = tf.reduce_mean(x * weight)
        with refused("tf.cond", "outside", error=RuntimeError):
            tf.cond(tf.reduce_sum(x) > 0, lambda: tf.gradients(loss, weight)[0], lambda: 0.0)


@pytest.mark.parametrize("count", [1, 3])
def test_a_number_of_devices_that_does_not_fit_the_stages(count):
    with devices.started(PIPELINE, devices=count), \
            refused("{} device(s)".format(count), "--gpu_per_worker 2", error=epl.ConfigError):
        devices.fit(devices.stages(PIPELINE))


def test_slices_of_a_batch_of_a_fixed_size():
    def script(drop_remainder):
        dataset = tf.data.Dataset.from_tensor_slices(ROWS).batch(4, drop_remainder).repeat()
        rows = tf.data.make_one_shot_iterator(dataset).get_next("next_rows")
        with epl.replicate(2):
            model = devices.fit(lambda number: contextlib.nullcontext(), x=rows)
        with devices.session() as session:
            return session.run([model.loss, model.train])[0]

    with devices.started(ACCUMULATION, devices=2):
        with refused("next_rows", "(4,)", "drop_remainder=False", "device_count=1"):
            script(True)
    with devices.started(ACCUMULATION, devices=2):
        assert script(False) == 25.5


def test_rows_that_cannot_be_cut_into_slices():
    with devices.started(ACCUMULATION, devices=2):
        rows = tf.data.make_one_shot_iterator(
            tf.data.Dataset.from_tensor_slices(ROWS[:6]).batch(3).repeat()).get_next()
        with epl.replicate(2):
            model = devices.fit(lambda number: contextlib.nullcontext(), x=rows)
        with devices.session() as session:
            with refused("multiple", "3", "2", error=tf.errors.InvalidArgumentError):
                session.run(model.train)
            assert session.run([model.weight, model.step]) == [0.0, 0]


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_session_has_the_devices_of_its_worker(layout):
    """Whatever its configuration says: that of Keras's own session counts one CPU."""
    needed = layout.stages * layout.replicas
    with devices.started(layout):
        counts = [needed + 1, needed, 1]
        for given in [None, tf.ConfigProto()] + [
                tf.ConfigProto(device_count={"CPU": count}) for count in counts]:
            before = str(given)
            with tf.Session(config=given) as session:
                assert len(session.list_devices()) >= needed
            assert str(given) == before


def test_micro_batches_of_a_constant_batch_are_the_same_for_all():
    """What no batch brings in is shared: nothing is divided, and the loss is that of one device."""
    with devices.started(BOTH):
        model = devices.fit(devices.stages(BOTH), x=tf.constant(ROWS))
        with devices.session() as session:
            assert session.run([model.loss, model.train])[0] == 25.5
            assert session.run(model.weight) == 2.25


@EACH
def test_a_tensor_that_input_and_model_share_divides_nothing_less(layout):
    """The size of a batch, a tensor, is used by the dataset and by the loss."""
    with devices.started(layout):
        size = tf.constant(8 // layout.clones, tf.int64)
        rows = tf.data.Dataset.from_tensor_slices(ROWS).batch(size)
        x = tf.data.make_one_shot_iterator(rows).get_next()
        model = devices.fit(devices.stages(layout), x=x * tf.cast(size, tf.float32))
        with devices.session() as session:
            factor = 8.0 / layout.clones
            assert session.run([model.loss, model.train])[0] == 25.5 * factor ** 2
            assert session.run(model.weight) == 2.25 * factor


def test_an_error_of_the_rewrite_comes_again():
    with devices.started(BOTH):
        devices.fit(devices.stages(BOTH), x=tf.placeholder(tf.float32, None, "anything"))
        for _ in range(2):
            with refused("'anything'", error=ValueError):
                devices.session()
        with refused("'anything'", error=ValueError):
            tf.get_default_graph().finalize()


@EACH
def test_rows_that_cannot_be_divided_are_refused_before_anything_runs(layout):
    rows = np.ones(layout.clones * 2 + 1, np.float32)
    with devices.started(layout):
        number = tf.data.make_one_shot_iterator(tf.data.Dataset.range(100)).get_next()
        x = tf.placeholder(tf.float32, [None], "x")
        model = devices.fit(devices.stages(layout), x=x + 0.0 * tf.cast(number, tf.float32))
        epl.add_to_collection(number, epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
        with devices.session() as session:
            for wrong in (rows, np.zeros([0], np.float32)):
                with pytest.raises(ValueError, match="{} rows.*'x:0'.*{} clones".format(
                        len(wrong), layout.clones)):
                    session.run(model.train, {x: wrong})
            assert session.run([model.step, model.weight]) == [0, 0.0]
            found = session.run([number, model.train], {x: ROWS})[0]
            np.testing.assert_array_equal(found, np.arange(layout.clones))


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS, BOTH], ids=str)
def test_placeholders_that_cannot_be_divided_are_refused_by_name(layout):
    with devices.started(layout):
        with pytest.raises(ValueError, match="'anything'.*shape="):
            devices.fit(devices.stages(layout), x=tf.placeholder(tf.float32, None, "anything"))
            devices.session()


@EACH
@pytest.mark.parametrize("functional", [False, True], ids=["v1", "v2"])
def test_data_that_is_taken_inside_of_a_loop(layout, functional):
    """Clones would take it in the order in which they happen to run."""
    with control_flow_v2() if functional else contextlib.nullcontext(), devices.started(layout):
        numbers = tf.data.Dataset.from_tensor_slices(np.arange(64, dtype=np.float32)).batch(2)
        iterator = tf.data.make_initializable_iterator(numbers)
        first = tf.placeholder(tf.float32, [None], "first")
        _, x = tf.while_loop(
            lambda step, _: step < 2, lambda step, sum_: (step + 1, sum_ + iterator.get_next()),
            [0, first], shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])])
        devices.fit(devices.stages(layout), x=x)
        with refused("takes data from 'Iterator", "no certain order", "before the model"):
            devices.session()


def test_a_loss_with_a_value_for_every_row():
    """Its gradient is that of the sum, in which every row counts as much as in a batch of one."""
    def train(stage):
        x = tf.placeholder(tf.float32, [None], "x")
        with stage(0):
            weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        train = tf.train.GradientDescentOptimizer(0.01).minimize(
            tf.square(x - weight, name="per_row"), var_list=[weight])
        with devices.session() as session:
            session.run(train, {x: ROWS})
            return session.run(weight)

    with refused("per_row:0", "tf.reduce_mean", "gradients_reduce_method = 'sum'",
                 error=ValueError):
        devices.run(ACCUMULATION, train)
    summed = devices.run(ACCUMULATION, train, {"communication.gradients_reduce_method": "sum"})
    devices.assert_same(summed, devices.run(None, train))


def test_a_stage_that_begins_after_a_session_has_run_the_graph():
    with devices.started(REPLICAS):
        model = devices.fit(devices.stages(devices.Layout()))
        with devices.session() as session:
            session.run(model.train, {model.x: ROWS})
        with epl.replicate(1, name="late"):
            loss = tf.reduce_mean(tf.abs(model.x - model.weight))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with refused("1 stage(s)", "late", "before the first session.run", error=RuntimeError):
            with devices.session() as session:
                session.run(train, {model.x: ROWS})


@EACH
@pytest.mark.parametrize("inside", [
    lambda of_row, x: tf.map_fn(of_row, x),
    lambda of_row, x: tf.cond(x[0] > 0.0, lambda: of_row(x), lambda: x)], ids=["map_fn", "cond"])
def test_gradients_of_variables_inside_control_flow(layout, inside):
    with devices.started(layout), devices.stages(layout)(0):
        x = tf.placeholder(tf.float32, [None], "x")
        weight = tf.get_variable("w", [], initializer=tf.ones_initializer())

        def of_row(row):
            return row * tf.gradients(tf.square(row * weight), weight)[0]

        with refused("inside tf.cond or tf.while_loop", "build the training step outside", "MAML",
                     error=RuntimeError):
            inside(of_row, x)
