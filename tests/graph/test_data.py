# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.shard` and `epl.global_batch`: workers share the rows of the plain script's steps."""

import contextlib
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.env import Env
from tests.graph.devices import Layout, started

tf.disable_v2_behavior()


@contextlib.contextmanager
def worker(index, workers, config=None):
    """This process takes itself for one of several workers, and has a new graph."""
    epl.init()
    before = Env.get().config, Env.get().cluster
    hosts = ["host"] * workers
    Env.get().reset(epl.Config(config), epl.Cluster(hosts, worker_index=index))
    try:
        with tf.Graph().as_default():
            yield
    finally:
        Env.get().reset(*before)


def elements(dataset):
    """All elements of a dataset, as numpy values."""
    following = tf.data.make_one_shot_iterator(dataset).get_next()
    found = []
    with tf.Session() as session:
        while True:
            try:
                found.append(session.run(following))
            except tf.errors.OutOfRangeError:
                return found


def plainly(values):
    """Elements in a form that can be compared and printed."""
    return tf.nest.map_structure(
        lambda value: value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value,
        values)


def shards(make, workers, **options):
    """What each worker reads of the dataset that `make` makes."""
    found = []
    for index in range(workers):
        with worker(index, workers):
            found.append(plainly(elements(epl.shard(make(), **options))))
    return found


def numbers(count):
    return lambda: tf.data.Dataset.range(count)


@pytest.mark.parametrize("workers", [1, 2, 3, 70])
@pytest.mark.parametrize("count", [0, 1, 6, 65, 140])
def test_workers_get_equally_many_rows(count, workers):
    chosen = range(workers) if workers < 10 else (0, 69)
    for index in chosen:
        with worker(index, workers):
            assert elements(epl.shard(numbers(count)())) == list(
                range(index, count // workers * workers, workers))
        with worker(index, workers):
            padded = list(range(count)) + [row % count for row in range(workers - 1) if count]
            expected = padded[:len(padded) // workers * workers][index::workers]
            assert elements(epl.shard(numbers(count)(), remainder="pad")) == expected
            assert len(expected) == -(-count // workers)


class Row(NamedTuple):
    """An element with names."""

    x: Any
    y: Any


SPARSE = tf.SparseTensorValue([[0, 0], [1, 2], [4, 1]], [1, 2, 3], [5, 3])
KINDS = {
    "tuple": lambda: tf.data.Dataset.from_tensor_slices((np.arange(5), np.eye(5))),
    "dictionary": lambda: tf.data.Dataset.from_tensor_slices(
        {"a": np.arange(5), "b": (np.arange(5) * 2, {"c": np.arange(5) * 3.0})}),
    "one in a tuple": lambda: tf.data.Dataset.from_tensor_slices((np.arange(5),)),
    "named tuple": lambda: tf.data.Dataset.from_tensor_slices(Row(np.arange(5), np.arange(5))),
    "of different length": lambda: numbers(5)().map(tf.range),
    "strings": lambda: tf.data.Dataset.from_tensor_slices(list("abcde")),
    "sparse": lambda: tf.data.Dataset.from_tensor_slices(
        {"s": tf.SparseTensor(*SPARSE), "i": np.arange(5)}),
    "of unknown number": lambda: numbers(9)().filter(lambda n: tf.not_equal(n % 2, 1)),
    "from Python": lambda: tf.data.Dataset.from_generator(
        lambda: iter(range(5)), tf.int64, tf.TensorShape([])),
    "batches": lambda: numbers(17)().batch(4),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_dataset_is_shared(kind):
    make = KINDS[kind]
    with worker(0, 1):
        rows = plainly(elements(make()))
        kept = make()
        assert epl.shard(kept) is kept
    assert len(rows) == 5
    assert str(shards(make, 2)) == str([[rows[0], rows[2]], [rows[1], rows[3]]])
    assert str(shards(make, 2, remainder="pad")) == str([rows[0::2], [rows[1], rows[3], rows[0]]])
    with worker(1, 2):
        before, after = make(), epl.shard(make())
        for about in (tf.data.get_output_shapes, tf.data.get_output_types):
            assert str(about(before)) == str(about(after))


def test_a_dataset_without_an_end():
    assert shards(lambda: numbers(3)().repeat().take(9), 2) == [[0, 2, 1, 0], [1, 0, 2, 1]]
    with worker(1, 2):
        assert elements(epl.shard(numbers(3)().repeat()).take(4)) == [1, 0, 2, 1]
        assert elements(epl.shard(numbers(3)().repeat(), remainder="pad").take(2)) == [1, 0]


LAYOUTS = [(workers, Layout(replicas=replicas, micro_batches=micro_batches))
           for workers, replicas, micro_batches in
           [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 2), (2, 1, 3), (3, 2, 2)]]


@pytest.mark.parametrize("workers, layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_step_of_a_shuffled_dataset_reads_the_rows_of_the_plain_script(workers, layout, epochs):
    def rows():
        return tf.data.Dataset.range(50).shuffle(20, seed=3).repeat(epochs)

    with worker(0, 1):
        plain = elements(rows().batch(12, drop_remainder=True))
    taken = []
    for index in range(workers):
        with worker(index, workers, {"pipeline.num_micro_batch": layout.micro_batches}):
            # The cluster of `worker` has one device in each worker.
            batch = epl.global_batch(12 // layout.replicas)
            assert batch.rows * layout.replicas == 12
            batches = elements(epl.shard(rows()).batch(batch.micro_batch, drop_remainder=True))
            taken.append(np.concatenate(batches))
    share = 12 // workers
    assert len(plain) == 50 * epochs // 12
    for step, expected in enumerate(plain):
        read = np.concatenate([own[step * share:(step + 1) * share] for own in taken])
        assert sorted(read) == sorted(expected)
    assert all(len(own) // share == len(plain) for own in taken)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("rows, remainder", [(50, "drop"), (50, "pad"), (48, "drop"), (48, "pad"),
                                             (5, "drop"), (5, "pad"), (140, "drop")])
def test_whole_steps_leave_no_smaller_batch(workers, rows, remainder):
    """And the number of rows of a batch stays open, as where plain TensorFlow drops nothing."""
    numbers_of_steps = -(-rows // 12) if remainder == "pad" else rows // 12
    expected = (np.arange(12 * numbers_of_steps) % rows).reshape([numbers_of_steps, 12])
    taken = []
    for index in range(workers):
        with worker(index, workers, {"pipeline.num_micro_batch": 2}):
            batch = epl.global_batch(12)
            own = epl.shard(numbers(rows)(), batch, remainder).batch(batch.micro_batch)
            assert tf.data.get_output_shapes(own).as_list() == [None]
            batches = elements(own)
            assert len(batches) == 2 * numbers_of_steps
            taken.append(np.concatenate(batches or [np.zeros([0], int)]).reshape(
                [numbers_of_steps, batch.rows_per_worker]))
            if batches:
                in_memory = epl.shard(np.arange(rows), batch, remainder)
                assert in_memory.tolist() == taken[-1].flatten().tolist()
    assert np.sort(np.concatenate(taken, 1), 1).tolist() == np.sort(expected, 1).tolist()


def unseeded_in_a_function():
    return tf.data.Dataset.range(4).flat_map(lambda n: tf.data.Dataset.range(n + 3).shuffle(2))


def sloppy():
    return tf.data.Dataset.range(4).apply(tf.data.experimental.parallel_interleave(
        tf.data.Dataset.range, cycle_length=2, sloppy=True))


def by_options():
    options = tf.data.Options()
    if hasattr(options, "deterministic"):
        options.deterministic = False
    else:
        options.experimental_deterministic = False
    return tf.data.Dataset.range(4).with_options(options).map(lambda n: n)


ORDERS = {
    "shuffle": (lambda: tf.data.Dataset.range(4).shuffle(2).map(lambda n: n), "without a seed"),
    "shuffle and repeat": (lambda: tf.data.Dataset.range(4).apply(
        tf.data.experimental.shuffle_and_repeat(2)), "without a seed"),
    "list_files": (lambda: tf.data.Dataset.list_files("/*"), "list_files(..., shuffle=False)"),
    "sampled": (lambda: tf.data.experimental.sample_from_datasets(
        [tf.data.Dataset.range(4)] * 2), "without a seed"),
    "in a function": (unseeded_in_a_function, "without a seed"),
    "zipped": (lambda: tf.data.Dataset.zip(
        (tf.data.Dataset.range(4), tf.data.Dataset.range(4).shuffle(2))), "without a seed"),
    "sloppy": (sloppy, "may depend on time"),
    "options": (by_options, "may depend on time"),
}


@pytest.mark.parametrize("name", sorted(ORDERS))
def test_an_order_of_its_own_for_every_worker_is_refused(name):
    make, message = ORDERS[name]
    with worker(1, 2):
        dataset = make()
        with pytest.raises(epl.ConfigError) as caught:
            epl.shard(dataset)
        assert message in str(caught.value) and "call epl.shard before it" in str(caught.value)
    with worker(0, 1):
        epl.shard(make())


def test_orders_that_are_the_same_everywhere():
    with worker(1, 2):
        files = tf.data.Dataset.list_files("/*", shuffle=False)
        epl.shard(files.interleave(tf.data.TextLineDataset, cycle_length=2))
        epl.shard(tf.data.Dataset.list_files("/*", seed=1))
        epl.shard(tf.data.Dataset.range(4)).shuffle(2)
        epl.shard(tf.data.Dataset.range(4).flat_map(
            lambda n: tf.data.Dataset.range(3).shuffle(2, seed=5)).map(
                lambda n: n, num_parallel_calls=2))
    with worker(1, 2):
        tf.set_random_seed(1)  # gives every operation a seed
        epl.shard(tf.data.Dataset.range(4).shuffle(2))


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_rows_in_memory(kind):
    found = {}
    for remainder in ("drop", "pad"):
        found[remainder] = []
        for index in range(3):
            with worker(index, 3):
                rows = epl.shard(kind([10, 11, 12, 13]), remainder=remainder)
                assert isinstance(rows, np.ndarray if kind is np.array else kind)
                found[remainder].append(list(rows))
    assert found == {"drop": [[10], [11], [12]], "pad": [[10, 13], [11, 10], [12, 11]]}


@pytest.mark.parametrize("count", range(1, 8))
def test_rows_in_memory_are_shared_as_those_of_a_dataset(count):
    for remainder in ("drop", "pad"):
        for index in range(3):
            with worker(index, 3):
                in_stream = elements(epl.shard(numbers(count)(), remainder=remainder))
                if in_stream:
                    assert epl.shard(np.arange(count), remainder=remainder).tolist() == in_stream
                else:
                    with pytest.raises(ValueError, match="too few"):
                        epl.shard(np.arange(count), remainder=remainder)


def test_rows_of_several_axes_keep_their_shape():
    with worker(1, 2):
        assert epl.shard(np.arange(12).reshape(6, 2)).tolist() == [[2, 3], [6, 7], [10, 11]]


@pytest.mark.parametrize("call, message", [
    (lambda: epl.shard({"x": [1]}), "not dict"),
    (lambda: epl.shard([1, 2], remainder="keep"), "remainder = 'keep'"),
    (lambda: epl.shard([1, 2], "pad"), "takes what epl.global_batch gives, not 'pad'"),
    (lambda: epl.shard([], remainder="pad"), "0 row(s) are too few"),
    (lambda: epl.shard([1, 2, 3], epl.global_batch(4)), "2 worker(s) share 4 at a time"),
    (lambda: epl.global_batch(), "either rows"),
    (lambda: epl.global_batch(4, micro_batch=4), "either rows"),
    (lambda: epl.global_batch(0), "rows=0"),
    (lambda: epl.global_batch(micro_batch=2.0), "micro_batch=2.0"),
    (lambda: epl.global_batch(5), "a multiple of 2 worker(s)"),
    (lambda: epl.global_batch(4, devices_per_replica=2), "devices_per_replica = 2 must"),
    (lambda: epl.global_batch(4, devices_per_replica=0), "devices_per_replica = 0 must"),
])
def test_what_cannot_be(call, message):
    with worker(0, 2), pytest.raises((ValueError, TypeError, epl.ConfigError)) as caught:
        call()
    assert message in str(caught.value)


def line_fit(rows):
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    return tf.reduce_mean(tf.square(weight - tf.cast(rows, tf.float32)))


def test_replicas_and_micro_batches_of_the_plan_are_counted():
    with started(Layout(replicas=2, micro_batches=3)):
        batch = epl.global_batch(micro_batch=4)
        assert (batch.rows, batch.batches_per_step, batch.rows_per_worker) == (24, 6, 24)
        assert epl.global_batch(12).micro_batch == 2
    with started(Layout(stages=2, replicas=2)):
        assert epl.global_batch(8, devices_per_replica=2).micro_batch == 4
        assert epl.global_batch(8).micro_batch == 2
        for _ in range(2):
            with epl.replicate(1):
                tf.constant(0.0)
        assert epl.global_batch(8).micro_batch == 4


def test_a_model_of_other_stages_than_counted_on_is_refused():
    with started(Layout(stages=2, replicas=2)):
        batch = epl.global_batch(8)
        with epl.replicate(1):
            hidden = tf.random_uniform([batch.micro_batch])
        with epl.replicate(1):
            loss = line_fit(hidden)
        with pytest.raises(epl.ConfigError) as caught:
            tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        assert "counted on 4 replica(s)" in str(caught.value)
        assert "devices_per_replica=2" in str(caught.value)


def test_an_incomplete_step_at_the_end_of_the_data_changes_nothing():
    with started(Layout(replicas=2, micro_batches=2)):
        epl.set_default_strategy(epl.replicate(1))
        batch = epl.global_batch(8)
        rows = epl.shard(tf.data.Dataset.range(22)).batch(batch.micro_batch, drop_remainder=True)
        loss = line_fit(tf.data.make_one_shot_iterator(rows).get_next())
        step = tf.train.get_or_create_global_step()
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)
        steps = 0
        with tf.train.MonitoredTrainingSession() as session:
            while not session.should_stop():
                steps, weight = session.run([step, "w:0"])
                session.run(train)
        assert steps == batch.steps(22) == 2
        first = 0.5 * 3.5
        assert weight == pytest.approx(0.5 * first + 0.5 * 11.5)
