# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What comes back from a session run, and what may be fed to it.

Most tests fit one weight, with numbers that are exact in 32-bit floats (see `devices.Fit`).
"""

import collections
import contextlib
import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, PIPELINE, ROWS, SEVERAL, weight_after
from tests.support import loopback

KEYS = epl.GraphKeys
EACH = pytest.mark.parametrize("layout", SEVERAL, ids=str)


@EACH
def test_a_step_returns_the_loss_of_the_whole_batch_by_every_name(layout):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        summary = tf.summary.scalar("shown", model.loss)
        every = tf.summary.merge_all()
        with devices.session() as session:
            found = session.run([model.loss, model.loss.name, summary, every, "train"],
                                {model.x: ROWS})
    assert found[0] == found[1] == 25.5 and found[4] is None
    for text in found[2:4]:
        value, = tf.Summary.FromString(text).value
        assert (value.tag, value.simple_value) == ("shown", 25.5)


@EACH
def test_outside_of_a_step_all_rows_go_through_the_scripts_own_operations(layout):
    rows = ROWS[:7]  # no multiple of anything
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        summary = tf.summary.scalar("shown", model.loss)
        epl.add_to_collection(model.x, KEYS.GLOBAL_CONCAT_OBJECTS)
        apart = tf.get_default_graph().get_tensor_by_name("apart:0")
        with devices.session() as session:
            session.run(model.train, {model.x: ROWS})
            found = session.run([model.loss, apart, model.x, summary], {model.x: rows})
            assert session.run([model.weight, model.step]) == [2.25, 1]
    expected = np.mean((rows - 2.25) ** 2)
    assert found[0] == expected
    np.testing.assert_array_equal(found[1], rows - 2.25)
    np.testing.assert_array_equal(found[2], rows)
    assert tf.Summary.FromString(found[3]).value[0].simple_value == expected


def merged(layout, rows):
    """How `rows` look merged: (concatenated, sum over the clones, mean over them)."""
    parts = np.array(np.split(rows, layout.clones))
    return rows, parts.sum(0), parts.mean(0)


@EACH
@pytest.mark.parametrize("reach", ["GLOBAL", "LOCAL"])
@pytest.mark.parametrize("late", ["before", "after", "after_a_run"])
def test_registered_tensors_come_back_merged(layout, reach, late):
    with devices.started(layout):
        x = tf.placeholder(tf.float32, [None], "x")
        tensors = {(how, shape): make(x) for how in ("CONCAT", "SUM", "MEAN")
                   for shape, make in (("rows", tf.identity), ("number", tf.reduce_max))}

        def register():
            for (how, _), tensor in tensors.items():
                epl.add_to_collection([tensor], getattr(KEYS, "{}_{}_OBJECTS".format(reach, how)))

        if late == "before":
            register()
        model = devices.fit(devices.stages(layout), x=x)
        if late == "after":
            register()
        with devices.session() as session:
            if late == "after_a_run":
                session.run(model.train, {x: ROWS})
                register()
            found, loss, _ = session.run([tensors, model.loss, model.train], {x: ROWS})
            assert loss == (25.5 if late != "after_a_run" else 25.5 - 4.5 ** 2 + 2.25 ** 2)
    largest = ROWS[ROWS.size // layout.clones - 1::ROWS.size // layout.clones]
    expected = {"rows": merged(layout, ROWS),
                "number": (largest, largest.sum(), largest.mean())}
    for shape, values in expected.items():
        for how, value in zip(("CONCAT", "SUM", "MEAN"), values):
            np.testing.assert_array_equal(found[how, shape], value, err_msg=str((how, shape)))


@EACH
def test_concatenations_of_a_dataset_come_in_its_order(layout):
    share = 8 // layout.clones
    with devices.started(layout):
        dataset = tf.data.Dataset.range(1, 25).map(lambda n: tf.cast(n, tf.float32)).batch(share)
        rows = tf.data.make_one_shot_iterator(dataset).get_next()
        text = tf.as_string(rows)
        model = devices.fit(devices.stages(layout), x=rows)
        epl.add_to_collection([rows, text, rows > 4.0], KEYS.GLOBAL_CONCAT_OBJECTS)
        with devices.session() as session:
            for first in (1, 9, 17):
                found = session.run([rows, text, model.train])
                np.testing.assert_array_equal(found[0], np.arange(first, first + 8))
                assert [float(t) for t in found[1]] == list(range(first, first + 8))
            with pytest.raises(tf.errors.OutOfRangeError):
                session.run(model.train)
            assert session.run(model.step) == 3


def test_whole_numbers_can_be_added_but_have_no_mean():
    with devices.started(PIPELINE):
        model = devices.fit(devices.stages(PIPELINE))
        count = tf.size(model.x, name="count")
        epl.add_to_collection(count, KEYS.GLOBAL_SUM_OBJECTS)
        with devices.session() as session:
            assert session.run([count, model.train], {model.x: ROWS})[0] == 8
    with devices.started(PIPELINE):
        model = devices.fit(devices.stages(PIPELINE))
        epl.add_to_collection(tf.size(model.x, name="count"), KEYS.GLOBAL_MEAN_OBJECTS)
        with pytest.raises(ValueError, match=r"count:0.*int32.*tf\.cast"):
            devices.session()


@EACH
@pytest.mark.parametrize("registered", [False, True])
def test_what_is_computed_from_gradients_is_what_one_device_computes(layout, registered):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        gradient, = tf.gradients(model.loss, [model.weight])
        norm = tf.global_norm([gradient])
        if registered:
            epl.add_to_collection([norm, gradient], KEYS.GLOBAL_MEAN_OBJECTS)
        with devices.session() as session:
            assert session.run([norm, gradient], {model.x: ROWS}) == [9.0, -9.0]
            assert session.run([norm, model.loss], {model.x: ROWS}) == [9.0, 25.5]


Pair = collections.namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_values_come_in_the_structure_of_the_fetches(layout, resource):
    with devices.started(layout) as graph:
        model = devices.fit(devices.stages(layout), use_resource=resource)
        sparse = tf.SparseTensor([[0, 1]], [3.0], [2, 2])
        slices = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([4]), tf.constant([9, 1]))
        ordered = collections.OrderedDict([("z", model.loss), ("a", "apart:0")])
        fetches = [model.loss, (model.train, [model.weight.name]), {"pair": Pair("loss:0", sparse)},
                   ordered, slices, Pair(graph.get_operation_by_name("train"), ()), [], {}]
        copies = [list(fetches), dict(fetches[2]), list(fetches[1][1]), dict(ordered)]
        fed = np.array(ROWS)
        feeds = {model.x: fed, "w_rate:0": 2.0}
        tf.placeholder(tf.float32, [], "w_rate")
        with devices.session() as session:
            for _ in range(2):
                found = session.run(fetches, feeds)
                assert [list(fetches), dict(fetches[2]), list(fetches[1][1]),
                        dict(ordered)] == copies
                assert list(feeds) == [model.x, "w_rate:0"] and feeds[model.x] is fed
                np.testing.assert_array_equal(fed, ROWS)
            with pytest.raises(TypeError):  # as TensorFlow does
                session.run([model.train, None], feeds)
            value = session.run(model.weight, {})
            assert session.run([model.weight, model.step]) == [value, 2]
    assert value == weight_after(2) and isinstance(found, list) and len(found) == 8
    assert found[0] == 25.5 - 4.5 ** 2 + 2.25 ** 2
    assert found[1][0] is None and isinstance(found[1], tuple)
    pair = found[2]["pair"]
    assert isinstance(pair, Pair) and pair.first == found[0]
    assert isinstance(pair.second, tf.SparseTensorValue) and pair.second.values == [3.0]
    assert type(found[3]) is collections.OrderedDict and list(found[3]) == ["z", "a"]
    assert found[3]["z"] == found[0]
    assert (found[4].values, found[4].indices) == ([[1.0]], [4])
    assert found[5] == Pair(None, ()) and found[6:] == [[], {}]


@EACH
def test_tensors_between_the_stages_can_be_fed(layout):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        with devices.session() as session:
            feeds = {model.x: ROWS, "apart:0": 2 * ROWS}
            assert session.run([model.loss, model.train], feeds)[0] == 4 * 25.5
            assert session.run(model.weight) == 4.5
            assert session.run(model.loss, {"apart:0": ROWS[:3]}) == np.float32(14 / 3)


@EACH
def test_a_step_needs_no_data_for_what_lies_before_a_fed_tensor(layout):
    features, labels = devices.data(16)

    def script(stage):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        loss = tf.losses.mean_squared_error(y, devices.network(x, stage))
        last = [v for v in tf.trainable_variables() if v.name.startswith("second")]
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=last)
        hidden = np.tanh(np.pad(features, ((0, 0), (0, 1)), "constant"))
        with devices.session() as session:
            return [session.run([loss, train], {"first/Tanh:0": hidden, y: labels})[0]
                    for _ in range(2)]

    devices.assert_same(devices.run(layout, script), devices.run(None, script))


@EACH
def test_numbers_and_tensors_of_a_fixed_size_are_fed_to_all(layout):
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 2])
        mask = epl.share_feed(tf.placeholder(tf.float32, [2]))
        keep = tf.placeholder_with_default(1.0, [])
        shift = epl.share_feed(tf.constant([0.5, 0.25]))
        rate = tf.placeholder(tf.float32, [])
        with stage(0):
            weights = tf.get_variable("w", [2], initializer=tf.ones_initializer())
            hidden = x * mask * weights + shift
        with stage(1):
            loss = tf.reduce_mean(tf.square(hidden)) * keep
        train = tf.train.GradientDescentOptimizer(rate).minimize(loss)
        feeds = {x: ROWS.reshape(4, 2), mask: [1.0, 2.0], rate: 0.0625}
        with devices.session() as session:
            losses = [session.run([loss, train], fed)[0] for fed in (
                feeds, {**feeds, keep: 0.5}, {**feeds, shift: [1.0, 2.0]}, feeds)]
            return losses, session.run(weights)

    devices.assert_same(devices.run(layout, script), devices.run(None, script))


@pytest.mark.parametrize("default", ["dataset", "constant"])
@EACH
def test_a_placeholder_with_a_default_takes_rows(layout, default):
    share = 8 // (1 if default == "constant" else layout.clones)

    with devices.started(layout):
        if default == "dataset":
            rows = tf.data.Dataset.from_tensor_slices(np.tile(ROWS, 2)).batch(share)
            behind = tf.data.make_one_shot_iterator(rows).get_next()
        else:
            behind = tf.constant(ROWS)
        x = tf.placeholder_with_default(behind, [None])
        model = devices.fit(devices.stages(layout), x=x)
        with devices.session() as session:
            assert session.run([model.loss, model.train])[0] == 25.5
            assert session.run([model.loss, model.train], {x: 2 * ROWS})[0] == \
                np.mean((2 * ROWS - 2.25) ** 2)
            assert session.run(model.weight) == (2.25 + 9.0) / 2


@EACH
def test_rows_fed_instead_of_a_default_for_all_are_divided(layout):
    importance = np.float32([1, 0, 2, 0, 1, 3, 0, 1])

    def script(stage):
        x = tf.placeholder(tf.float32, [None])
        factor = tf.placeholder_with_default(tf.ones([1]), [None])
        model = devices.fit(stage, x=x * factor)
        with devices.session() as session:
            return [session.run([model.loss, model.train], feeds)[0] for feeds in (
                {x: ROWS}, {x: ROWS, factor: importance}, {x: ROWS})]

    devices.assert_same(devices.run(layout, script), devices.run(None, script))


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_dropout_masks_differ_between_clones_and_repeat(layout):
    def masks(stage):
        x = tf.placeholder(tf.float32, [None, 64])
        with stage(0):
            mask = tf.nn.dropout(tf.ones_like(x), rate=0.5, seed=3)
        with stage(1):
            weight = tf.get_variable("w", [64], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(mask * x * weight)
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        if epl.Env.get().cluster.gpu_num_per_worker > 1:
            epl.add_to_collection(mask, epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
        with devices.session() as session:
            return [session.run([mask, train], {x: np.ones([8, 64])})[0] for _ in range(2)]

    one, two, plain = [devices.run(side, masks) for side in (layout, layout, None)]
    np.testing.assert_array_equal(one, two)
    rows = 8 // layout.clones
    # The first clone draws what one device draws first.
    np.testing.assert_array_equal(one[0][:rows], plain[0][:rows])
    drawn = [part.tobytes() for mask in one for part in np.split(mask, layout.clones)]
    assert len(set(drawn)) == 2 * layout.clones


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_loss_is_whole_in_the_step_of_another_loss(layout):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        other = tf.reduce_mean(tf.abs(model.x - model.weight))
        train = tf.train.GradientDescentOptimizer(0.0).minimize(other)
        with devices.session() as session:
            found = session.run([model.loss, other, train], {model.x: ROWS})
    assert found[:2] == [25.5, 4.5]


@pytest.mark.parametrize("layout", devices.SEVERAL, ids=str)
def test_numbers_of_rows_go_through_the_whole_batch(layout):
    """What counts rows begins anew in every clone; what is fetched does not."""
    def script(stage):
        built = devices.fit(stage)
        place = tf.cast(tf.range(tf.shape(built.x)[0]), tf.float32)
        fetched = [tf.reduce_sum(place * built.x), place + built.x, built.train]
        with devices.session() as session:
            return session.run(fetched, {built.x: devices.ROWS})[:2]

    devices.assert_same(devices.run(layout, script), devices.run(None, script))


def test_a_write_from_the_batch_and_from_other_data_is_named():
    with devices.started(ACCUMULATION):
        built = devices.fit(devices.stages(ACCUMULATION))
        other = tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(2.0).repeat())
        kept = tf.get_variable("kept", [], initializer=tf.zeros_initializer(), trainable=False)
        write = tf.assign(kept, tf.reduce_mean(built.x) * other.get_next(), name="mixed")
        with devices.session() as session:
            with pytest.raises(NotImplementedError, match=r"'mixed'.*test_fetches.py.*one dataset"):
                session.run([built.train, write], {built.x: devices.ROWS})
            session.run(write, {built.x: devices.ROWS})
            assert session.run(kept) == 9.0


def of_other_data(rank, ask, key="GLOBAL_MEAN_OBJECTS", micro_batches=1):
    """A step on one of two workers that also does what `ask` makes of data the loss does not read.

    `ask` gets a number for each row and their registered mean.
    """
    epl.init(epl.Config({"pipeline.num_micro_batch": micro_batches}))
    epl.set_default_strategy(epl.replicate(1))
    model = devices.fit(lambda number: contextlib.nullcontext())
    other = tf.placeholder(tf.float32, [None, 2], "other")
    rows = tf.reduce_sum(other, 1)
    mean = tf.reduce_mean(rows, name="mean")
    epl.add_to_collection(mean, getattr(KEYS, key))
    asked = ask(rows, mean)
    with devices.session() as session:
        return session.run([model.train, asked], {
            model.x: ROWS[:4], other: np.full([4, 2], float(rank))})[1]


@pytest.mark.parametrize("ask", [
    lambda rows, mean: mean, lambda rows, mean: 2.0 * mean,
    lambda rows, mean: tf.summary.scalar("shown", mean)], ids=["it", "behind", "summary"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_what_is_registered_and_needs_other_data_is_named(ask, micro_batches):
    """Each worker got its own, without a word."""
    for error in loopback.outcomes(functools.partial(of_other_data, ask=ask,
                                                     micro_batches=micro_batches)):
        assert isinstance(error, NotImplementedError)
        assert "mean:0 (tests/graph/test_fetches.py:" in str(error)
        assert "'other' (tests/graph/test_fetches.py:" in str(error)
        assert "tf.metrics.mean(...)" in str(error)


@pytest.mark.parametrize("ask, key, expected", [
    (lambda rows, mean: tf.metrics.mean(mean)[1], "GLOBAL_MEAN_OBJECTS", [1.0, 1.0]),  # the cure
    (lambda rows, mean: mean, "LOCAL_MEAN_OBJECTS", [0.0, 2.0]),
    (lambda rows, mean: tf.reduce_mean(rows), "GLOBAL_MEAN_OBJECTS", [0.0, 2.0])])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_what_needs_other_data_is_the_workers_own_or_written(ask, key, expected, micro_batches):
    assert loopback.run(functools.partial(of_other_data, ask=ask, key=key,
                                          micro_batches=micro_batches)) == expected


MASK = np.array([1, 0, 1, 1, 0, 0, 1, 0], np.float32)


def added_up(kind):
    """(loss, what it is added up from) of errors [rows], a mask [rows] and the weight."""
    def parts(error, mask, weight):
        mean = tf.reduce_mean(error, name="mean_of_all")
        masked = tf.reduce_sum(error * mask) / tf.reduce_sum(mask)
        total = tf.reduce_sum(tf.abs(error - 1.0))
        decay = 0.5 * tf.square(weight)
        return [mean, masked, total, decay]

    def make(error, mask, weight):
        mean, masked, total, decay = found = parts(error, mask, weight)
        return {
            "decay": lambda: (mean + decay, found[:1]),
            "several": lambda: (mean + 0.5 * masked - total / 8.0 + decay, found[:3]),
            "collection": lambda: (tf.add_n([tf.add_n([mean, masked]), decay]), found[:2]),
            "sum_alone": lambda: (-total, [total])}[kind]()
    return make


def fit_parts(make, rows, mask, steps=3):
    """What is fetched of the loss and its parts, step by step."""
    x, m = tf.placeholder(tf.float32, [None], "x"), tf.placeholder(tf.float32, [None], "m")
    weight = tf.get_variable("w", [], initializer=tf.constant_initializer(0.5))
    loss, parts = make(tf.square(x - weight), m, weight)
    train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    summary = tf.summary.scalar("first", parts[0])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = []
        for _ in range(steps):
            values, text = session.run([[loss] + parts, summary, train], {x: rows, m: mask})[:2]
            shown = tf.Summary.FromString(text).value[0].simple_value
            found.append([float(value) for value in values] + [shown])
        return found


@pytest.mark.parametrize("kind", ["decay", "several", "collection", "sum_alone"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_what_a_loss_is_added_up_from_is_that_of_the_whole_batch(kind, micro_batches):
    """Each worker got its own, without a word."""
    rows = np.arange(8, dtype=np.float32) / 4.0

    def body(rank):
        epl.init(epl.Config({"pipeline.num_micro_batch": micro_batches}))
        epl.set_default_strategy(epl.replicate(1))
        own = slice(4 * rank, 4 * rank + 4)
        return fit_parts(added_up(kind), rows[own], MASK[own])

    with devices.plain(), tf.Graph().as_default():
        expected = fit_parts(added_up(kind), rows, MASK)
    for found in loopback.run(body):
        np.testing.assert_allclose(found, expected, 1e-5)


def test_a_registered_part_of_a_loss_is_as_the_script_said():
    def parts(error, mask, weight):
        mean = tf.reduce_mean(error)
        epl.add_to_collection(mean, KEYS.LOCAL_MEAN_OBJECTS)
        return mean + weight, [mean]

    def body(rank):
        epl.init()
        epl.set_default_strategy(epl.replicate(1))
        return fit_parts(parts, np.full(4, 0.5 + rank, np.float32), MASK[:4], steps=1)

    assert [found[0][1] for found in loopback.run(body)] == [0.0, 1.0]
