# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The lines that say how training goes."""

import re

import pytest
import tensorflow.compat.v1 as tf

from examples.bert.progress import ProgressHook


def lines(capsys, first, total, seconds=0.0):
    """What is printed while training goes from one step to the last."""
    with tf.Graph().as_default():
        step = tf.get_variable("global_step", [], tf.int64, tf.constant_initializer(first),
                               trainable=False, collections=[tf.GraphKeys.GLOBAL_VARIABLES,
                                                             tf.GraphKeys.GLOBAL_STEP])
        train_op = tf.assign_add(step, 1)
        hook = ProgressHook(tf.constant(2.5), tf.constant(0.001), total, 8, seconds)
        with tf.train.MonitoredSession(hooks=[hook]) as session:
            for _ in range(first, total):
                session.run(train_op)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("first", [0, 40])
def test_a_line_has_step_loss_rate_pace_and_time_left(capsys, first):
    found = lines(capsys, first, first + 3)
    assert found[0] == "step {}/{}  loss 2.5000  learning rate 1.00e-03".format(
        first + 1, first + 3)
    for number, line in enumerate(found[1:], first + 2):
        assert re.match(r"step {}/{}  loss 2\.5000  learning rate 1\.00e-03  [\d.]+ examples/s  "
                        r"\d:\d\d:\d\d left$".format(number, first + 3), line), line
    assert len(found) == 3 and found[-1].endswith("0:00:00 left")


def test_between_the_first_and_the_last_step_lines_are_rare(capsys):
    assert [line.split()[1] for line in lines(capsys, 0, 50, 60.0)] == ["1/50", "50/50"]


def test_a_single_step_has_its_line(capsys):
    assert lines(capsys, 6, 7) == ["step 7/7  loss 2.5000  learning rate 1.00e-03"]
