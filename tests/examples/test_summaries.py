# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard is given, and what is read back from it."""

import os

import pytest
import tensorflow.compat.v1 as tf

from examples.bert.summaries import SummaryHook, read_losses


def train(directory, first, last, scale):
    """Steps after `first` up to `last`; the loss of a step is `scale` times its number."""
    with tf.Graph().as_default():
        step = tf.get_variable("global_step", [], tf.int64, tf.constant_initializer(first),
                               trainable=False, collections=[tf.GraphKeys.GLOBAL_VARIABLES,
                                                             tf.GraphKeys.GLOBAL_STEP])
        loss = scale * tf.cast(step + 1, tf.float32)
        with tf.control_dependencies([loss]):
            train_op = tf.assign_add(step, 1)
        hook = SummaryHook(loss, tf.constant(0.25), str(directory), 8)
        with tf.train.MonitoredSession(hooks=[hook]) as session:
            for _ in range(first, last):
                session.run(train_op)
    # The next run is another process, with a file of its own.
    tf.summary.FileWriterCache.clear()


def files(directory):
    return sorted(os.path.join(str(directory), name) for name in os.listdir(str(directory)))


def test_every_step_has_its_loss_rate_and_pace(tmp_path):
    train(tmp_path, 0, 3, 2.0)
    found = {}
    for event in tf.train.summary_iterator(files(tmp_path)[0]):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    assert found["loss"] == read_losses(str(tmp_path)) == {1: 2.0, 2: 4.0, 3: 6.0}
    assert found["learning_rate"] == {1: 0.25, 2: 0.25, 3: 0.25}
    assert sorted(found["examples_per_second"]) == [2, 3]
    assert all(pace > 8 for pace in found["examples_per_second"].values())


def test_steps_that_were_done_again_count_once(tmp_path):
    """The first run was lost behind the checkpoint of step 3, the second trains less far."""
    train(tmp_path, 0, 6, 1.0)
    os.rename(files(tmp_path)[0], str(tmp_path / "events.out.tfevents.1"))
    train(tmp_path, 3, 5, 10.0)
    assert len(files(tmp_path)) == 2
    losses = read_losses(str(tmp_path))
    assert list(losses.items()) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0)]


def test_a_file_whose_writer_was_killed(tmp_path):
    train(tmp_path, 0, 4, 1.0)
    path = files(tmp_path)[0]
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 5)
    losses = read_losses(str(tmp_path))
    assert losses == {step: float(step) for step in losses}
    assert list(losses) == [1, 2, 3]


@pytest.mark.parametrize("name", ["plain", "with [brackets]"])
def test_a_directory_without_summaries(tmp_path, name):
    (tmp_path / name).mkdir()
    assert read_losses(str(tmp_path / name)) == {}
    train(tmp_path / name, 0, 1, 3.0)
    assert read_losses(str(tmp_path / name)) == {1: 3.0}
