# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step writes and returns is what one device with the whole batch writes and returns."""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, REPLICAS, ROWS, Layout

LAYOUTS = (ACCUMULATION, REPLICAS, PIPELINE, BOTH, Layout(micro_batches=4))
EACH = pytest.mark.parametrize("layout", LAYOUTS, ids=str)
KINDS = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
STEPS = 3
LABELS = np.array([0, 1, 1, 2, 0, 0, 2, 1])


def kept(name, shape=(), dtype=tf.float32, value=0, local=False):
    """A variable that is not trained."""
    return tf.get_variable(
        name, shape, dtype, tf.constant_initializer(value), trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES if local else tf.GraphKeys.GLOBAL_VARIABLES])


def summed(x, label, local):
    return tf.assign_add(kept("v", local=local), tf.reduce_sum(x))


def counted(x, label, local):
    return tf.assign_add(kept("v", local=local), tf.cast(tf.shape(x)[0], tf.float32))


def counted_in_whole_numbers(x, label, local):
    return tf.assign_add(kept("v", (), tf.int64, local=local), tf.size(label, out_type=tf.int64))


def largest(x, label, local):
    variable = kept("v", value=3, local=local)
    return tf.assign(variable, tf.maximum(variable, tf.reduce_max(x)))


def smallest(x, label, local):
    return tf.assign(kept("v", local=local), tf.reduce_min(x) * 2.0)


def any_and_all(x, label, local):
    both = tf.stack([tf.reduce_any(x > 7.5), tf.reduce_all(x < 7.5)])
    return tf.assign(kept("v", (2,), local=local), tf.cast(both, tf.float32))


def a_cast_of_any(x, label, local):
    return tf.assign(kept("v", local=local), tf.cast(tf.reduce_any(x > 7.5), tf.float32))


def a_rounded_sum(x, label, local):
    rounded = tf.cast(tf.reduce_sum(x * 0.3), tf.int32)
    return tf.assign_add(kept("v", (), tf.int32, local=local), rounded)


def moving_average(x, label, local):
    variable = kept("v", value=1, local=local)
    return tf.assign(variable, 0.9 * variable + 0.1 * tf.sqrt(tf.reduce_mean(x * x)))


def spread(x, label, local):
    """The square of a mean is not the mean of squares."""
    return tf.assign(kept("v", local=local), tf.square(tf.reduce_mean(x)))


def rows_added_to_a_table(x, label, local):
    return tf.scatter_add(kept("v", (3,), local=local), label, x)


def rows_put_into_a_table(x, label, local):
    return tf.scatter_update(kept("v", (9,), local=local), label + tf.cast(x, tf.int64) // 2, x)


def rows_added_by_position(x, label, local):
    return tf.scatter_nd_add(kept("v", (3,), local=local), label[:, None], x)


def rows_taken_off(x, label, local):
    variable = kept("v", (3,), value=2, local=local)
    return tf.scatter_sub(variable, label, 0.5 * (tf.gather(variable, label) - x))


def by_class(x, label, local):
    return tf.assign_add(kept("v", (3,), local=local), tf.unsorted_segment_sum(x, label, 3))


def in_py_func(x, label, local):
    return tf.assign(kept("v", local=local), tf.py_func(np.median, [x], tf.float32))


def median(x, label, local):
    middle = tf.nn.top_k(x, tf.size(x) // 2).values[-1]
    return tf.assign(kept("v", local=local), tf.reshape(middle, []))


def by_product(x, label, local):
    return tf.assign_add(kept("v", (3, 3), local=local), tf.matmul(
        tf.one_hot(label, 3), tf.one_hot(label, 3) * x[:, None], transpose_a=True))


def in_a_loop(x, label, local):
    added = tf.while_loop(lambda n, _: n < tf.size(x), lambda n, s: (n + 1, 0.9 * s + x[n]),
                          [0, 0.0])[1]
    return tf.assign(kept("v", local=local), added)


def if_it_is_the_largest_so_far(x, label, local):
    variable = kept("v", value=9, local=local)
    return tf.cond(tf.reduce_sum(x) > variable, lambda: tf.assign(variable, tf.reduce_sum(x)),
                   lambda: tf.identity(variable))


def a_number_if_the_batch_says_so(x, label, local):
    variable = kept("v", local=local)
    return tf.cond(tf.reduce_max(x) > 7.0, lambda: tf.assign_add(variable, 5.0),
                   lambda: tf.assign_add(variable, 100.0))


def rows_beside_numbers_of_the_batch(x, label, local):
    """What becomes of a row depends on the others: a mean, a count, a row, a decision."""
    counts = tf.reduce_sum(tf.one_hot(label, 3), 0)
    factor = tf.cond(tf.reduce_mean(x) > 4.0, lambda: 2.0, lambda: 1.0)
    return tf.assign(kept("v", (5,), local=local), tf.stack([
        tf.reduce_max(x - tf.reduce_mean(x)), tf.reduce_sum(x / tf.cast(tf.size(x), tf.float32)),
        tf.reduce_max(x * tf.gather(counts, label)), tf.reduce_mean(tf.abs(x - x[0])),
        tf.reduce_max(x * factor)]))


def rows_one_by_one(x, label, local):
    """A loop that works on one row after the other, in branches."""
    def half(row):
        return tf.cond(row > 4.0, lambda: row * 0.5, lambda: tf.zeros_like(row))

    found = tf.map_fn(half, x)
    return tf.assign(kept("v", local=local), tf.reduce_mean(found))


WRITES = [summed, counted, counted_in_whole_numbers, largest, smallest, any_and_all,
          a_cast_of_any, a_rounded_sum, moving_average, spread, rows_added_to_a_table,
          rows_put_into_a_table, rows_added_by_position, rows_taken_off, by_class,
          in_py_func, median, by_product, in_a_loop,
          rows_beside_numbers_of_the_batch, if_it_is_the_largest_so_far,
          a_number_if_the_batch_says_so, rows_one_by_one]
# All cases of a write are compared with the same numbers.
EACH_WRITE = pytest.mark.parametrize("write", [
    pytest.param(write, id=write.__name__, marks=pytest.mark.xdist_group("whole " + write.__name__))
    for write in WRITES])
# Scatters of tensors that are no variables do not exist for local ones of TensorFlow 2.
PLACES = ("update_ops", "under_update_ops", "before", "after", "beside", "local")


def fed(dtype, layout=None, fixed=False):
    """A placeholder for the labels or rows of a step; `fixed`: as many as one clone gets."""
    if not fixed:
        return tf.placeholder(dtype, [None])
    return epl.divide_feed(tf.placeholder(dtype, [len(ROWS) // (layout or devices.ONE).clones]))


def written(write, place, resource, *batch):
    """A script that trains with a write in a certain place: what it writes, and all variables."""
    def script(stage):
        x, label = fed(tf.float32, *batch), fed(tf.int64, *batch)
        with tf.variable_scope("", use_resource=resource):
            model = devices.fit(stage, x=tf.identity(x))
            before = [write(x, label, place == "local")] if place not in ("after",) else []
            with tf.control_dependencies(before if place == "under_update_ops" else []):
                step = tf.train.GradientDescentOptimizer(0.125).minimize(
                    model.loss, var_list=[model.weight])
            if place == "update_ops":
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, before[0])
                step = tf.group(step, *tf.get_collection(tf.GraphKeys.UPDATE_OPS))
            elif place == "after":
                with tf.control_dependencies([step]):
                    step = tf.group(write(x, label, False))
            elif place == "before":
                step = tf.group(step, before[0])
        fetches = [model.loss, step] + (before if place in ("beside", "local") else [])
        every = tf.global_variables() + tf.local_variables()
        with devices.session() as session:
            losses = [session.run(fetches, {x: ROWS[::-1] + n, label: LABELS})[0]
                      for n in range(STEPS)]
            return losses, session.run({v.name: v for v in every})
    return script


def written_by_one_device(write):
    """The losses and variables; they are the same wherever the write stands."""
    return devices.reference(("write", write), written(write, "before", True))


@EACH
@KINDS
@EACH_WRITE
def test_writes_the_whole_batch(write, resource, layout):
    place = PLACES[(WRITES.index(write) + LAYOUTS.index(layout)) % len(PLACES)]
    script = written(write, place, resource)
    expected = written_by_one_device(write)
    assert np.any(expected[1]["v:0"])
    with contextlib.nullcontext() if layout == BOTH else devices.unoptimized():
        devices.assert_same(devices.run(layout, script), expected)


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
@EACH_WRITE
def test_constants_that_count_a_fixed_batch_count_the_whole_one(write, layout):
    """`tf.size(x)` is a constant where the shape of x is known when the graph is built."""
    place = PLACES[(WRITES.index(write) + LAYOUTS.index(layout)) % len(PLACES)]
    devices.assert_same(devices.run(layout, written(write, place, True, layout, True)),
                        written_by_one_device(write))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("write", [counted, rows_added_to_a_table, spread])
def test_wherever_the_write_stands(write, place):
    script = written(write, place, True)
    devices.assert_same(devices.run(ACCUMULATION, script), devices.run(None, script))


def behind_a_loop(x, weight):
    return tf.while_loop(lambda turn, _: turn < 3, lambda turn, value: (
        turn + 1, 0.1 * value * weight + tf.reduce_max(value)), [0, x])[1]


def behind_a_branch(x, weight):
    return tf.cond(tf.train.get_global_step() < 2, lambda: x * weight - tf.reduce_max(x), lambda: x)


@pytest.mark.parametrize("layout", [ACCUMULATION, BOTH], ids=str)
@pytest.mark.parametrize("value", [behind_a_loop, behind_a_branch])
def test_an_update_waits_for_a_loop_or_branch_that_reads_a_ref_variable(value, layout):
    """What is written is computed once more from the whole batch, with the weight of before."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        tf.train.get_or_create_global_step()
        with tf.variable_scope("", use_resource=False):
            model = devices.fit(stage, x=tf.identity(x))
            write = tf.assign(kept("v"), tf.reduce_sum(value(x, model.weight)))
        with tf.control_dependencies([write]):
            step = tf.train.GradientDescentOptimizer(0.125).minimize(
                model.loss, tf.train.get_global_step(), [model.weight])
        with devices.session() as session:
            for number in range(STEPS):
                session.run(step, {x: ROWS + number})
            return session.run({v.name: v for v in tf.global_variables()})

    devices.assert_same(devices.run(layout, script), devices.reference(("behind", value), script))


def mean_in_a_branch(x, size):
    return tf.cond(tf.train.get_global_step() < 9, lambda: tf.reduce_sum(x) / size(), lambda: 0.0)


def mean_in_a_loop(x, size):
    return tf.while_loop(lambda turn, _: turn < 2, lambda turn, value: (
        turn + 1, value + tf.reduce_sum(x) / size()), [0, 0.0])[1]


@pytest.mark.parametrize("mean", [mean_in_a_branch, mean_in_a_loop])
def test_a_function_that_holds_the_size_of_a_fixed_batch_is_refused(mean):
    """The cure that the error names, to take the number outside, gives what one device gives."""
    def script(stage, layout=None, outside=True):
        x = fed(tf.float32, layout, True)
        tf.train.get_or_create_global_step()
        model = devices.fit(stage, x=tf.identity(x))
        number = tf.cast(tf.size(x), tf.float32)
        write = tf.assign(kept("v"), mean(x, lambda: number if outside else tf.cast(
            tf.size(x), tf.float32)))
        with tf.control_dependencies([write]):
            step = tf.train.GradientDescentOptimizer(0.125).minimize(
                model.loss, tf.train.get_global_step(), [model.weight])
        with devices.session() as session:
            session.run(step, {x: ROWS})
            return session.run({v.name: v for v in tf.global_variables()})

    with devices.control_flow_v2():
        with pytest.raises(NotImplementedError, match="takes the fixed number of rows"):
            devices.run(ACCUMULATION, lambda stage: script(stage, ACCUMULATION, False))
        devices.assert_same(devices.run(ACCUMULATION, lambda stage: script(stage, ACCUMULATION)),
                            devices.run(None, script))


def metrics(label, x, weight):
    """name -> a metric of `tf.metrics`."""
    predicted = tf.cast(x * weight > 4.0, tf.int64)
    return {
        "mean": tf.metrics.mean(x), "accuracy": tf.metrics.accuracy(label, predicted),
        "mean_of_a_mean": tf.metrics.mean(tf.reduce_mean(x)),
        "precision": tf.metrics.precision(label > 0, predicted > 0),
        "auc": tf.metrics.auc(label > 0, tf.sigmoid(x - 4.0)),
        "iou": tf.metrics.mean_iou(label, predicted, 3),
        "rmse": tf.metrics.root_mean_squared_error(tf.cast(label, tf.float32), x),
        "per_class": tf.metrics.mean_per_class_accuracy(label, predicted, 3),
        "weighted": tf.metrics.mean(x, weights=tf.cast(label, tf.float32)),
        "streaming": tf.metrics.mean_tensor(tf.stack([tf.reduce_sum(x), tf.reduce_max(x)])),
    }


@EACH
@pytest.mark.parametrize("built", ["before", "after"])
def test_metrics_see_all_rows(layout, built):
    def script(stage):
        x, label = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int64, [None])
        model = devices.fit(stage, x=x)
        every = metrics(label, x, model.weight)
        updates = {name: update for name, (_, update) in every.items()}
        with devices.session() as session:
            found = []
            for number in range(STEPS):
                fed = {x: ROWS[::-1] + number, label: LABELS}
                # In the run of the step, and in one of its own between the steps.
                found.append(session.run([updates, model.loss, model.train], fed)[:2])
                if built == "after":
                    found.append(session.run(updates, {x: ROWS[:3], label: LABELS[:3]}))
            return found, session.run({name: value for name, (value, _) in every.items()})

    def without_race(stage):
        """In plain TensorFlow a metric of the weight may see it before or after its update."""
        with devices_without_update():
            return script(stage)

    devices.assert_same(devices.run(layout, without_race),
                        devices.reference(("metrics", built), without_race))


def devices_without_update():
    return _Patched(tf.train.GradientDescentOptimizer, "__init__", lambda original: (
        lambda self, rate, *args, **kwargs: original(self, 0.0, *args, **kwargs)))


class _Patched:
    """For the time of a `with` block an attribute is another one."""

    def __init__(self, owner, name, make):
        self._owner, self._name = owner, name
        self._original = getattr(owner, name)
        self._new = make(self._original)

    def __enter__(self):
        setattr(self._owner, self._name, self._new)

    def __exit__(self, *_):
        setattr(self._owner, self._name, self._original)


@EACH
@KINDS
def test_fetches_of_a_step_are_of_the_whole_batch(layout, resource):
    def script(stage):
        features, labels = devices.data(16)
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with tf.variable_scope("", use_resource=resource):
            output = devices.network(x, stage)
        error = tf.square(output - y)
        mse = tf.reduce_mean(error)
        l2 = 0.01 * tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()])
        loss = mse + l2
        train = tf.train.AdamOptimizer(0.1).minimize(loss)
        fetched = {
            "loss": loss, "same_loss": tf.identity(loss), "scaled": loss * 3.0 + 1.0, "mse": mse,
            "l2": l2, "rows": error, "largest": tf.reduce_max(error), "count": tf.size(error),
            "shape": tf.shape(output), "hits": tf.reduce_mean(tf.cast(error < 0.5, tf.float32)),
            "norm": tf.global_norm([output]), "sorted": tf.nn.top_k(error[:, 0], 16).values,
            "middle": tf.reduce_mean(tf.square(output - tf.reduce_mean(output))),
            "columns": tf.reduce_sum(x, 0), "turned": tf.transpose(output),
        }
        if resource:  # see below
            fetched["input_gradient"] = tf.gradients(loss, x)[0]
        with devices.session() as session:
            return [session.run([fetched, train], {x: features, y: labels})[0]
                    for _ in range(STEPS)]

    found = devices.run(layout, script)
    for one, other in zip(found, devices.reference(("fetches", resource), script)):
        del one["middle"]  # a clone's rows less the mean of that clone's
        devices.assert_same(one, {name: value for name, value in other.items() if name in one})
        assert set(other) - set(one) == {"middle"}


def registered_metric(key):
    def script(stage):
        x, label = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int64, [None])
        model = devices.fit(stage, x=x)
        update = tf.metrics.accuracy(label > 0, x > 4.0)[1]
        if key is not None:
            epl.add_to_collection(update, key)
        with devices.session() as session:
            return [session.run([update, model.train], {x: ROWS + n, label: LABELS})[0]
                    for n in range(STEPS)]
    return script


@EACH
@pytest.mark.parametrize("key", ["GLOBAL_MEAN_OBJECTS", "LOCAL_MEAN_OBJECTS"])
def test_the_update_of_a_metric_may_be_registered(layout, key):
    expected = devices.reference("registered metric", registered_metric(None))
    found = devices.run(layout, registered_metric(getattr(epl.GraphKeys, key)))
    devices.assert_same(found, expected)


@pytest.mark.parametrize("key", ["GLOBAL_SUM_OBJECTS", "LOCAL_CONCAT_OBJECTS"])
def test_the_update_of_a_metric_has_no_parts(key):
    with pytest.raises(NotImplementedError, match=r"test_whole_batch.py:\d+.*unregistered"):
        devices.run(ACCUMULATION, registered_metric(getattr(epl.GraphKeys, key)))


def test_what_cannot_be_told_says_what_to_register():
    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        model = devices.fit(stage, x=x)
        drawn = tf.random_shuffle(x, seed=3)[0]
        with devices.session() as session:
            session.run([drawn, model.train], {x: ROWS})

    with pytest.raises(NotImplementedError, match=r"value of strided_slice:0.*'RandomShuffle.*"
                       r"test_whole_batch\.py:\d+.*epl\.add_to_collection"):
        devices.run(ACCUMULATION, script)


def test_what_an_update_may_overtake_is_refused():
    """Computed once more from the whole batch it would read ref variables too late."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        loss = tf.reduce_mean(tf.square(devices.network(x, stage)))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        gradient = tf.gradients(loss, x)[0]
        with devices.session() as session:
            session.run([gradient, train], {x: devices.data(4)[0]})

    with pytest.raises(NotImplementedError, match="from a ref variable.*may come first.*resource"):
        devices.run(ACCUMULATION, script)


def test_windows_in_time_are_to_be_fed():
    """A queue of numbers gives each clone another window; its state does not follow from theirs."""
    def script(stage):
        number = tf.train.range_input_producer(3, shuffle=False).dequeue()
        series = tf.constant(np.arange(24.0, dtype=np.float32).reshape([2, 12]))
        window = tf.slice(series, [0, 4 * number], [2, 4])
        model = devices.fit(stage, x=tf.reshape(window, [-1]))
        state = tf.cumsum(window, 1) * model.weight
        with devices.session() as session:
            session.run([state, model.train])

    with pytest.raises(NotImplementedError, match="'input_producer_Dequeue' .*counts windows in "
                       r"time.*epl\.divide_feed"):
        devices.run(ACCUMULATION, script)


def test_a_summary_is_registered_by_what_it_shows():
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        output = devices.network(x, stage)
        train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(output))
        shown = tf.reduce_max(tf.matmul(tf.cumsum(x), tf.trainable_variables()[0]))
        summary = tf.summary.scalar("shown", shown)
        with devices.session() as session:
            session.run([summary, train], {x: devices.data(4)[0]})

    with pytest.raises(NotImplementedError, match="asked for shown:0.*MatMul.*from a ref variable.*"
                       "register the numbers that it shows"):
        devices.run(ACCUMULATION, script)


def test_a_finalized_graph_returns_the_whole_batch():
    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        model = devices.fit(stage, x=x)
        largest = tf.reduce_max(x)
        with tf.train.MonitoredTrainingSession(config=devices.session_config()) as session:
            found = session.run([largest, model.loss, model.train], {x: ROWS})[:2]
            assert session.graph.finalized
            return found

    devices.assert_same(devices.run(BOTH, script), devices.run(None, script))


@EACH
def test_normalisation_that_updates_where_it_is_built(layout):
    """`updates_collections=None`: what follows waits for the update of the moving averages."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        mean = kept("mean")
        with tf.control_dependencies([tf.assign(mean, 0.5 * mean + 0.5 * tf.reduce_mean(x))]):
            rows = tf.identity(x)
        model = devices.fit(stage, x=rows)
        with devices.session() as session:
            found = [session.run([model.loss, model.train], {x: ROWS + n})[0] for n in range(STEPS)]
            alone = session.run(model.loss, {x: ROWS[:3]})
            return found, alone, session.run([mean, model.weight])

    devices.assert_same(devices.run(layout, script), devices.reference("updates inside", script))


@EACH
@KINDS
def test_an_update_that_two_losses_wait_for_runs_in_the_steps_of_both(layout, resource):
    """As the normalisation of a generator that updates where it is built."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        with tf.variable_scope("", use_resource=resource):
            mean = kept("mean")
            with tf.control_dependencies([tf.assign(mean, 0.5 * mean + tf.reduce_mean(x))]):
                rows = tf.identity(x)
            model = devices.fit(stage, x=rows)
            other = tf.get_variable("other", [], initializer=tf.zeros_initializer())
            second = tf.train.GradientDescentOptimizer(0.1).minimize(
                tf.reduce_mean(tf.abs(rows * other - model.weight)), var_list=[other])
        with devices.session() as session:
            found = []
            for number, step in enumerate([model.train, second, second, model.train]):
                session.run(step, {x: ROWS + number})
                found.append(session.run([mean, model.weight, other]))
            return found

    devices.assert_same(devices.run(layout, script),
                        devices.reference(("two losses wait", resource), script))


@EACH
@pytest.mark.parametrize("training", [True, False])
def test_normalisation_with_a_fed_switch(layout, training):
    """Updates inside of tf.cond, as `is_training` placeholders make them."""
    def script(stage):
        x, switch = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.bool, [])
        model = devices.fit(stage, x=tf.identity(x))
        mean = kept("mean", value=2)
        update = tf.cond(switch, lambda: tf.assign(mean, 0.5 * mean + 0.5 * tf.reduce_mean(x)),
                         lambda: tf.identity(mean))
        step = tf.group(model.train, update)
        with devices.session() as session:
            for number in range(STEPS):
                session.run(step, {x: ROWS + number, switch: training})
            return session.run([mean, model.weight])

    devices.assert_same(devices.run(layout, script),
                        devices.reference(("fed switch", training), script))


@EACH
def test_priorities_that_are_computed_after_the_step(layout):
    """A number for every row, which is read when the step has ended."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        model = devices.fit(stage, x=x)
        apart = tf.abs(x * 2.0)
        with tf.control_dependencies([model.train]):
            priorities = tf.identity(apart) + 1.0
        with devices.session() as session:
            return session.run(priorities, {x: ROWS})

    devices.assert_same(devices.run(layout, script), devices.reference("priorities", script))


def test_a_local_value_on_request():
    with devices.started(ACCUMULATION):
        x = tf.placeholder(tf.float32, [None])
        model = devices.fit(devices.stages(ACCUMULATION), x=x)
        epl.add_to_collection(model.loss, epl.GraphKeys.LOCAL_SUM_OBJECTS)
        with devices.session() as session:
            assert session.run([model.loss, model.train], {x: ROWS})[0] == 2 * 25.5


@EACH
def test_what_counts_a_fixed_batch(layout):
    """Sizes, shapes and zeros of a batch of known size are constants in the script's graph."""
    def script(stage, layout):
        rows = len(ROWS) // layout.clones
        data = tf.data.Dataset.from_tensor_slices(devices.data(24)[0])
        x = tf.data.make_one_shot_iterator(data.batch(rows, drop_remainder=True)).get_next()
        with tf.variable_scope("", use_resource=True):
            output = devices.network(x, stage)
        loss = tf.reduce_mean(tf.square(output - 1.0))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        beside_zeros = tf.concat([tf.zeros_like(output), output], 1)
        fetched = {
            "mean": tf.metrics.mean(x)[1], "accuracy": tf.metrics.accuracy(x > 0, x > 1)[1],
            "shape": tf.shape(x), "rows": tf.shape(output)[0], "columns": tf.shape(x)[1],
            "size": 2 * tf.size(x), "zeros": beside_zeros, "ones": tf.reduce_sum(tf.ones_like(x)),
            "no_number": tf.reduce_sum(tf.zeros_like(output, tf.int32)),
            "average": tf.reduce_sum(x) / tf.cast(tf.size(x), tf.float32),
            "reshaped": tf.reshape(output, [tf.shape(output)[0] // 2, 2]),
            "chosen": tf.gather_nd(x, tf.stack([tf.range(tf.shape(x)[0]),
                                                tf.cast(x[:, 0] > 0, tf.int32)], 1)),
            "middle": tf.nn.top_k(output[:, 0], tf.size(output) // 2).values,
            "large": tf.reduce_sum(tf.zeros_like(tf.tile(x, [1, 1000])) + 1.0),
        }
        with devices.session() as session:
            return [session.run([fetched, loss, train])[:2] for _ in range(STEPS)]

    expected = devices.reference("counts", lambda stage: script(stage, devices.ONE))
    devices.assert_same(devices.run(layout, lambda stage: script(stage, layout)), expected)


def test_a_number_of_rows_that_the_script_wrote_down_is_named():
    def script(stage):
        x = epl.divide_feed(tf.placeholder(tf.float32, [4]))
        model = devices.fit(stage, x=x)
        pairs = tf.reduce_max(tf.reshape(tf.cumsum(x), [2, 2]))
        with devices.session() as session:
            session.run([pairs, model.train], {x: ROWS})

    with pytest.raises(NotImplementedError, match="value of Max:0 .*number of rows of one.*"
                       "tf.shape.*epl.add_to_collection"):
        devices.run(ACCUMULATION, script)


def test_the_graph_of_a_script_stays_as_it_is():
    """Constants are remembered, not changed: seeds, names and runs beside steps depend on them."""
    with devices.started(ACCUMULATION) as graph:
        x = tf.placeholder(tf.float32, [4, 3])
        with tf.Session() as session:  # nothing is fed
            assert session.run(tf.shape(x)).tolist() == [4, 3]
            assert session.run(tf.size(x)) == 12
            assert not np.any(session.run(tf.zeros_like(x)))
        assert not any(op.type in ("Shape", "Size", "ZerosLike") for op in graph.get_operations())


def test_a_variable_that_begins_as_zeros_of_a_fixed_batch():
    """Its initializer is no write from the batch, though it takes the batch's shape."""
    def script(stage, rows):
        x = epl.divide_feed(tf.placeholder(tf.float32, [rows]))
        begun = tf.Variable(tf.zeros_like(x), trainable=False)
        model = devices.fit(stage, x=x)
        with devices.session() as session:
            session.run(begun.initializer)
            return session.run([model.loss, model.train], {x: ROWS})[0], session.run(
                [tf.reduce_sum(begun), model.weight])

    devices.assert_same(devices.run(ACCUMULATION, lambda stage: script(stage, 4)),
                        devices.run(None, lambda stage: script(stage, 8)))
