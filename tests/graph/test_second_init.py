# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A graph is trained, measured and explained under the `epl.init` that its gradients were built in.
"""

import os
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.environment import plan_for
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import PIPELINE, ROWS, Layout, started, weight_after

FOUR = Layout(stages=2, micro_batches=4)
LATER = {"pipeline.num_micro_batch": 1, "pipeline.strategy": "PreferBackward",
         "communication.gradients_reduce_method": "sum"}


def init_again(devices_per_worker=2, config=None):
    with mock.patch.dict(os.environ, {"EPL_GPU_PER_WORKER": str(devices_per_worker)}):
        epl.init(epl.Config(LATER if config is None else config))


def described(graph):
    plan = plan_for(graph)
    return plan.num_micro_batch, plan.num_stages, plan.reduce_method, plan.schedule


@pytest.mark.parametrize("before_first_run", [False, True])
@pytest.mark.parametrize("devices_later", [1, 2, 4])
def test_the_older_graph_trains_on_whatever_is_added_to_it(before_first_run, devices_later):
    with started(FOUR, {"pipeline.strategy": "PreferForward"}) as graph:
        model = devices.fit(devices.stages(FOUR))
        as_built = described(graph)
        if before_first_run:
            init_again(devices_later)
        with devices.session() as session:
            session.run(model.train, {model.x: ROWS})
            init_again(devices_later)
            session.run(model.train, {model.x: ROWS})
            tf.no_op()
            session.run(model.train, {model.x: ROWS})
            tf.train.Saver()
            tf.summary.scalar("loss", model.loss)
            session.run(model.train, {model.x: ROWS})
            assert session.run(model.weight) == weight_after(4)
            assert described(graph) == as_built
        with devices.session() as session:  # has the devices that the graph was built for
            session.run(model.train, {model.x: ROWS})
            assert session.run(model.weight) == weight_after(1)
        assert len(groups_of(state_of(graph))[0].clones.clones) == 4


def test_what_is_reported_is_what_runs(tmp_path, capsys):
    with started(FOUR, {"pipeline.strategy": "PreferForward"}) as graph:
        model = devices.fit(devices.stages(FOUR))
        feed = {model.x: ROWS}
        with devices.session() as session:
            session.run(model.train, feed)
            init_again()
            traced = epl.profiler.trace_step(session, model.train, feed, str(tmp_path),
                                             picture=False)
        assert traced.timeline.plan is state_of(graph).plan
        assert traced.timeline.plan.num_micro_batch == 4 and traced.timeline.missing == []
        assert "4 micro-batch(es) per step" in epl.explain()
        assert "preferforward" in capsys.readouterr().out


def test_another_graph_is_trained_under_the_new_configuration():
    with started(FOUR):
        older = devices.fit(devices.stages(FOUR))
        init_again()
        with tf.Graph().as_default():
            newer = devices.fit(devices.stages(PIPELINE))
            assert described(tf.get_default_graph()) == (1, 2, "sum", "preferbackward")
            with devices.session() as session:
                session.run(newer.train, {newer.x: ROWS})
                assert session.run(newer.weight) == weight_after(1)
        with devices.session() as session:
            session.run(older.train, {older.x: ROWS})
            assert session.run(older.weight) == weight_after(1)


def test_a_model_built_before_the_second_init_and_differentiated_after_it_is_under_the_second():
    with started(FOUR) as graph:
        x = tf.placeholder(tf.float32, [None])
        with epl.replicate(1):
            weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
            apart = x - weight
        with epl.replicate(1):
            loss = tf.reduce_mean(tf.square(apart))
        init_again(config={"pipeline.num_micro_batch": 2})
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        assert described(graph)[0] == 2
        with devices.session() as session:
            session.run(train, {x: ROWS})
            assert session.run(weight) == weight_after(1)


def test_a_model_that_is_only_run_stays_where_it_was_placed():
    with started(FOUR):
        with epl.replicate(1):
            hidden = tf.tanh(tf.get_variable("w", [2], initializer=tf.ones_initializer()))
        with epl.replicate(1):
            output = hidden + 1.0
        with devices.session() as session:
            expected = session.run(output)
            init_again(1)
            tf.no_op()
            np.testing.assert_array_equal(session.run(output), expected)
        assert (hidden.device, output.device) == ("/device:CPU:0", "/device:CPU:1")


@pytest.mark.parametrize("trained", [False, True])
def test_further_gradients_under_another_configuration_are_refused(trained):
    with started(FOUR):
        model = devices.fit(devices.stages(FOUR))
        if trained:
            with devices.session() as session:
                session.run(model.train, {model.x: ROWS})
        init_again(config={"pipeline.num_micro_batch": 2})
        with pytest.raises(RuntimeError, match="pipeline.num_micro_batch = 2 instead of 4"):
            tf.gradients(2 * model.loss, model.weight)
        with tf.Graph().as_default():  # the cure
            other = devices.fit(devices.stages(PIPELINE))
            with devices.session() as session:
                session.run(other.train, {other.x: ROWS})
                assert session.run(other.weight) == weight_after(1)


def test_gradients_inside_a_loss_settle_nothing():
    with started(FOUR) as graph:
        x = tf.placeholder(tf.float32, [None])
        with epl.replicate(1):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            apart = tf.square(x - weight)
        with epl.replicate(1):
            loss = tf.reduce_mean(apart)
        inner = tf.gradients(loss, weight)[0]
        init_again(config={"pipeline.num_micro_batch": 2})
        tf.gradients(loss + tf.square(inner), weight)
        assert described(graph)[0] == 2


def test_the_same_again_changes_nothing():
    with started(PIPELINE):
        model = devices.fit(devices.stages(PIPELINE))
        init_again(config={"pipeline.num_micro_batch": 2})
        again = tf.train.GradientDescentOptimizer(0.25).minimize(model.loss)
        with devices.session() as session:
            for step in (model.train, again):
                session.run(step, {model.x: ROWS})
            assert session.run(model.weight) == weight_after(2)
