# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""With io.slicing every worker trains on the rows of its own files."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.errors import ConfigError
from tests.dist.jobs.common import start
from tests.graph import devices
from tests.support import loopback

ROWS_PER_FILE = 4


def row(file, number):
    return float(10 * file + number)


def write(directory, count):
    """Text files with a number in each line, and the same as records; returns both lists."""
    texts, records = [], []
    for file in range(count):
        rows = [str(row(file, number)) for number in range(ROWS_PER_FILE)]
        texts.append(str(directory / "{}.txt".format(file)))
        with open(texts[-1], "w") as text:
            text.write("\n".join(rows) + "\n")
        records.append(str(directory / "{}.records".format(file)))
        with tf.python_io.TFRecordWriter(records[-1]) as writer:
            for each in rows:
                writer.write(each.encode())
    return texts, records


def next_of(dataset, one_shot=False):
    if one_shot:
        return tf.data.make_one_shot_iterator(dataset).get_next()
    iterator = tf.data.make_initializable_iterator(dataset)
    tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return iterator.get_next()


def text_lines(texts, records, **options):
    return next_of(tf.data.TextLineDataset(texts).batch(2), **options)


def interleaved(texts, records):
    files = tf.data.Dataset.from_tensor_slices(tf.constant(records))
    return next_of(files.interleave(tf.data.TFRecordDataset, 1, ROWS_PER_FILE).batch(2))


def through_a_map(texts, records):
    files = tf.data.Dataset.from_tensor_slices(texts).map(tf.read_file)
    lines = files.flat_map(lambda text: tf.data.Dataset.from_tensor_slices(
        tf.strings.split([text], "\n").values).filter(
            lambda line: tf.not_equal(line, "")))
    return next_of(lines.batch(2))


def queue(texts, records):
    files = tf.train.string_input_producer(records, num_epochs=1, shuffle=False)
    return tf.train.batch([tf.TFRecordReader().read(files)[1]], 2)


READERS = {
    "text lines": text_lines, "records interleaved": interleaved, "a map": through_a_map,
    "one shot": lambda texts, records: text_lines(texts, records, one_shot=True), "queue": queue}


def trained(lines, steps=None):
    """(rows of every step, the weight at the end)."""
    x = tf.string_to_number(tf.reshape(lines, [2]), name="x")
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    loss = tf.reduce_mean(tf.square(weight - x))
    step = tf.train.get_or_create_global_step()
    train = tf.train.GradientDescentOptimizer(0.25).minimize(loss, step)
    with tf.control_dependencies([train]):
        after = weight.read_value()
    read = []
    hooks = [tf.train.StopAtStepHook(steps)] if steps else []
    with tf.train.MonitoredTrainingSession(hooks=hooks) as session:
        while not session.should_stop():
            rows, now, _ = session.run([x, after, train])
            read.append(rows.tolist())
    return read, now


def train(reader, directory, count, config=None, workers=2):
    files = write(directory, count)

    def work(rank):
        start(dict({"io.slicing": True}, **(config or {})))
        return trained(READERS[reader](*files))

    return loopback.run(work, workers)


def rows_of(*files):
    return [[row(file, number), row(file, number + 1)] for file in files
            for number in range(0, ROWS_PER_FILE, 2)]


@pytest.mark.parametrize("reader", sorted(READERS))
def test_every_worker_reads_its_own_files(reader, tmp_path):
    found = train(reader, tmp_path, 4)
    assert [read for read, _ in found] == [rows_of(0, 2), rows_of(1, 3)]
    weight = 0.0  # of one device with the rows of both
    for own, others in zip(rows_of(0, 2), rows_of(1, 3)):
        weight += 0.25 * 2 * (np.mean(own + others) - weight)
    for _, value in found:
        np.testing.assert_allclose(value, weight, devices.RELATIVE)


def test_unequal_lists_with_a_number_of_steps(tmp_path):
    texts, _ = write(tmp_path, 3)

    def work(rank):
        start({"io.slicing": True, "io.unbalanced_io_slicing": True})
        return trained(next_of(tf.data.TextLineDataset(texts).repeat().batch(2)), 4)

    assert [read for read, _ in loopback.run(work)] == [rows_of(0, 2), rows_of(1, 1)]


def test_the_last_files_are_dropped(tmp_path):
    found = train("one shot", tmp_path, 5, {"io.drop_last_files": True})
    assert [read for read, _ in found] == [rows_of(0, 2), rows_of(1, 3)]


@pytest.mark.parametrize("count, message", [
    (1, r"a list of 1 file\(s\) for 2 workers"), (3, "3 files for 2 workers leaves 1 over")])
def test_files_that_cannot_be_divided(count, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train("queue", tmp_path, count)


def test_nothing_to_divide():
    def work(rank):
        start({"io.slicing": True})
        names = tf.data.Dataset.from_tensor_slices(tf.constant(["1", "2", "3", "4"]))
        return trained(next_of(names.batch(2)))  # texts, but no names of files

    with pytest.raises(ConfigError, match="no constant list of files"):
        loopback.run(work)


def test_rows_are_not_divided_twice(tmp_path):
    def work(rank):
        start({"io.slicing": True})
        return epl.shard([1, 2])

    with pytest.raises(ConfigError, match="epl.shard with io.slicing"):
        loopback.run(work)


def test_evaluation_reads_all_files(tmp_path):
    texts, _ = write(tmp_path, 2)

    def work(rank):
        start({"io.slicing": True})
        lines = text_lines(texts, None, one_shot=True)
        with tf.Session() as session:
            return [session.run(lines).tolist() for _ in range(4)]

    assert loopback.run(work) == [[[str(each).encode() for each in rows]
                                   for rows in rows_of(0, 1)]] * 2
