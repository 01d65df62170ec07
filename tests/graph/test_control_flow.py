# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Branches and loops, in each other, train as on one device with the whole batch.

By default every block of `tests.support.control_flow` is trained in each of two stages, and some
random ones. All blocks on all layouts, with both versions of control flow and both kinds of
variables, and 50 random ones (about an hour):

    EPL_CONTROL_FLOW=50 scripts/test.sh tf1 tests/graph/test_control_flow.py
"""

import contextlib
import os
from unittest import mock

import pytest
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import rewriter_config_pb2

from epl import compat
from tests.graph.devices import (
    Layout,
    assert_same,
    control_flow_v2,
    run,
    session,
    session_config,
    unoptimized,
)
from tests.support import control_flow
from tests.support.control_flow import BLOCKS, ONLY_V1, ONLY_V2

LAYOUTS = (Layout(1, 1, 4), Layout(2, 1, 2), Layout(1, 2, 1), Layout(2, 2, 2))
MORE = int(os.environ.get("EPL_CONTROL_FLOW", "0"))
# TensorFlow 1.15 cannot differentiate a tf.cond in a tf.while_loop that reads a resource variable.
RESOURCE_IN_LOOPS = not tf.version.VERSION.startswith("1.")


def cases():
    """(version of control flow, names of the blocks of two stages, layout, resource)."""
    found = []
    for version, without in (1, ONLY_V2), (2, ONLY_V1):
        names = sorted(set(BLOCKS) - without)
        for number, name in enumerate(names):
            if MORE:
                found += [(version, (name, name), layout, resource) for layout in LAYOUTS
                          for resource in (False, True)]
            elif version == 1 or number % 4 == 0 or name in ONLY_V2:
                pair = name, names[(number + 1) % len(names)]
                found.append((version, pair, LAYOUTS[number % 4], number % 3 == 0))
    return found


def name_of(case):
    return str(case) if isinstance(case, (int, bool, Layout)) else "-".join(case)


def check(blocks, layout, version, resource):
    def script(stage):
        return control_flow.train(blocks, stage, session, resource)

    with control_flow_v2() if version == 2 else contextlib.nullcontext():
        found = run(layout, script)
        with unoptimized():
            assert_same(found, run(None, script))


@pytest.mark.parametrize("version, names, layout, resource", cases(), ids=name_of)
def test_equals_one_device(version, names, layout, resource):
    if version == 1 and not RESOURCE_IN_LOOPS:
        resource = False
    check([BLOCKS[name] for name in names], layout, version, resource)


def test_a_sum_behind_a_loop_that_cannot_be_looked_into_is_refused():
    blocks = [control_flow.penalty_of_a_sum, BLOCKS["branch_in_branch"]]
    with pytest.raises(NotImplementedError, match="Differentiate the values of the rows"):
        check(blocks, LAYOUTS[0], 2, RESOURCE_IN_LOOPS)


@pytest.mark.parametrize("seed", range(MORE or 4))
def test_random_control_flow_equals_one_device(seed):
    blocks = [control_flow.random_block(2 * seed + number) for number in range(2)]
    check(blocks, LAYOUTS[seed % 4], 1, RESOURCE_IN_LOOPS and seed % 3 == 0)


def row_of_a_variable(hidden, given):
    kernel = control_flow.variable(given.name)
    return tf.cond(control_flow.always(hidden), lambda: tf.matmul(hidden, kernel),
                   lambda: kernel[:1] * 5.0)


def without_constant_folding():
    config = session_config()
    config.graph_options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    return session(config=config)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_branch_of_other_rows_equals_one_device_by_the_cure(layout):
    """TensorFlow 2.15 is told not to fold constants, as the warning says."""
    def script(stage):
        return control_flow.train([row_of_a_variable] * 2, stage, without_constant_folding)

    assert_same(run(layout, script), run(None, script))


@pytest.mark.parametrize("block, warned", [
    (row_of_a_variable, True), (BLOCKS["constant_is_not_taken"], False),
    (BLOCKS["branch_in_branch"], False), (BLOCKS["loop_in_branch"], False)])
def test_the_user_hears_of_branches_that_tensorflow_may_differentiate_wrongly(block, warned):
    with mock.patch.object(tf.logging, "warning") as warning:
        run(LAYOUTS[0], lambda stage: control_flow.train(
            [block] * 2, stage, without_constant_folding))
    told = [call[0] for call in warning.call_args_list if "constant_folding" in call[0][0]]
    assert len(told) == (2 if warned and compat.misjudges_branches() else 0)
    for text in told:
        assert "cond" in text[1] and "(1, 3)" in text[2] and "(?, 3)" in text[2]


def doubled(turns):
    """A branch that adds what it gets to itself, and a loop behind it."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            kernel = tf.get_variable("kernel", [3], initializer=tf.ones_initializer())
            hidden = x * kernel
            hidden = tf.cond(kernel[0] > 0.0, lambda: tf.add(hidden, hidden, name="twice"),
                             lambda: hidden)
        with stage(1):
            hidden = tf.while_loop(lambda turn, _: turn < turns, lambda turn, inner: (
                turn + 1, tf.tanh(inner)), [0, hidden])[1] if turns else tf.tanh(hidden)
            loss = tf.reduce_mean(hidden)
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        session()

    return script


def test_a_branch_that_tensorflow_loses_the_value_of_is_named():
    with mock.patch.object(tf.logging, "warning") as warning:
        run(LAYOUTS[0], doubled(2))
        run(LAYOUTS[3], doubled(0))
    told = [call[0][0] for call in warning.call_args_list if "Write 2 * x" in call[0][0]]
    assert len(told) == 2
    assert all("twice'" in text and "test_control_flow.py:" in text for text in told)


def test_a_loop_that_would_wait_for_a_lost_value_for_ever_is_refused():
    with pytest.raises(NotImplementedError, match="waits for ever"):
        run(LAYOUTS[3], doubled(2))


@pytest.mark.parametrize("block", [BLOCKS["branch_in_branch"], BLOCKS["loop_in_branch"]])
def test_other_branches_lose_nothing(block):
    with mock.patch.object(tf.logging, "warning") as warning:
        run(LAYOUTS[0], lambda stage: control_flow.train([block] * 2, stage, session))
    assert not [c for c in warning.call_args_list if "Write 2 * x" in c[0][0]]
