# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Three lines at the top of a script and one in the model make two stages, wherever it is built."""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.environment import plan_for
from tests.graph import devices
from tests.graph.devices import PIPELINE, Layout, started

FEATURES, LABELS = devices.data(64)
BATCH = 16
EVALUATED = 40


def stage_names(graph=None):
    """The stages of the plan for `graph`."""
    return plan_for(graph or tf.get_default_graph()).stage_names


def top():
    epl.set_default_strategy(epl.replicate(1, name="lower"))


def middle():
    epl.set_default_strategy(epl.replicate(1, name="upper"))


def nothing():
    pass


def network(features, cut):
    hidden = devices.dense(features, 4, "first", tf.tanh)
    cut()
    return devices.dense(hidden, 1, "second")


def trained(cut, resource=False):
    """The weights after some steps of a model with a cut in its middle; and where its layers are.
    """
    with tf.variable_scope("", use_resource=resource):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        loss = tf.losses.mean_squared_error(y, network(x, cut))
        train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    with devices.session() as session:
        losses = [session.run([loss, train], {x: FEATURES[n:n + BATCH], y: LABELS[n:n + BATCH]})[0]
                  for n in range(0, len(FEATURES), BATCH)]
        values = session.run({v.op.name: v for v in tf.trainable_variables()})
    return [losses, values], [op.device for op in tf.get_default_graph().get_operations()
                              if op.name in ("first/MatMul", "second/MatMul")]


@contextlib.contextmanager
def after_a_reset():
    with in_no_graph():
        tf.reset_default_graph()
        tf.set_random_seed(11)
        yield
        tf.reset_default_graph()


@contextlib.contextmanager
def in_no_graph():
    """As outside of all `with graph.as_default()`."""
    from tensorflow.python.framework import ops

    stack, ops._default_graph_stack.stack[:] = list(ops._default_graph_stack.stack), []
    try:
        yield
    finally:
        ops._default_graph_stack.stack[:] = stack


def same_graph():
    return contextlib.nullcontext()


@contextlib.contextmanager
def own_graph():
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        yield


@pytest.fixture(scope="module")
def expected():
    with devices.plain():
        return trained(nothing)[0]


@pytest.mark.parametrize("place", [same_graph, own_graph, after_a_reset])
def test_one_more_strategy_in_the_model_makes_two_stages(place, expected):
    with started(PIPELINE):
        top()
        with place():
            found, places = trained(middle)
            assert stage_names() == ("lower", "upper")
        assert places == ["/device:CPU:0", "/device:CPU:1"]
        devices.assert_same(found, expected)


@pytest.mark.parametrize("place", [own_graph, after_a_reset])
def test_every_further_model_begins_alike(place, expected):
    with started(PIPELINE):
        top()
        for resource in (False, True, False):
            with place():
                devices.assert_same(trained(middle, resource)[0], expected)
                assert stage_names() == ("lower", "upper")


def test_a_model_without_a_cut_is_one_stage_after_one_with_a_cut():
    with started(Layout(replicas=2)):
        top()
        with own_graph():
            network(tf.placeholder(tf.float32, [None, 3]), middle)
        with own_graph():
            trained(nothing)
            assert stage_names() == ("lower",)


def test_the_model_of_the_default_graph_built_again_in_another(expected):
    with started(PIPELINE):
        top()
        devices.assert_same(trained(middle)[0], expected)
        with own_graph():
            devices.assert_same(trained(middle)[0], expected)
            assert stage_names() == ("lower", "upper")


def test_a_model_that_sets_all_its_strategies_begins_with_its_first(expected):
    def cut(name):
        epl.set_default_strategy(epl.replicate(1, name=name))

    with started(PIPELINE):
        top()
        for _ in range(3):
            with own_graph():
                tf.train.get_or_create_global_step()
                rate = tf.get_variable("rate", [], trainable=False)
                x = tf.multiply(tf.placeholder(tf.float32, [None, 3]), 1.0)
                cut("first")
                output = network(x, lambda: cut("second"))
                tf.train.GradientDescentOptimizer(rate).minimize(tf.reduce_mean(output))
                assert stage_names() == ("first", "second")


def test_a_model_that_sets_its_strategies_after_its_first_weights_is_the_same_every_time():
    with started(PIPELINE):
        for _ in range(2):
            with own_graph():
                x = tf.placeholder(tf.float32, [None, 3]) * tf.get_variable("scale", [3])
                top()
                tf.train.AdamOptimizer().minimize(tf.reduce_mean(network(x, middle)))
                assert stage_names() == ("lower", "upper")


def test_weights_that_are_not_trained_are_a_stage(expected):
    with started(PIPELINE):
        top()
        with own_graph():
            frozen = tf.get_variable("frozen", [3, 3], trainable=False)
            x = tf.matmul(tf.placeholder(tf.float32, [None, 3]), frozen)
            middle()
            tf.train.AdamOptimizer().minimize(tf.reduce_mean(devices.dense(x, 1, "head")))
            assert stage_names() == ("lower", "upper")


@pytest.mark.parametrize("block_first", [False, True])
def test_blocks_in_a_graph_of_its_own(block_first, expected):
    """A block after weights begins the second stage; before them, the first."""
    with started(PIPELINE):
        top()
        with own_graph():
            x = tf.placeholder(tf.float32, [None, 3])
            with epl.replicate(1, name="one") if block_first else contextlib.nullcontext():
                hidden = devices.dense(x, 4, "first", tf.tanh)
            with epl.replicate(1, name="two"):
                loss = tf.reduce_mean(devices.dense(hidden, 1, "second"))
            tf.train.AdamOptimizer().minimize(loss)
            assert stage_names() == ("one" if block_first else "lower", "two")


def test_the_strategy_set_last_before_a_model_counts():
    with started(PIPELINE):
        top()
        tf.constant(0.0)  # a script may have something in its default graph
        epl.set_default_strategy(epl.replicate(2, name="both"))
        with own_graph():
            network(tf.placeholder(tf.float32, [None, 3]), nothing)
            tf.train.AdamOptimizer().minimize(tf.reduce_mean(tf.trainable_variables()[0]))
            plan = plan_for(tf.get_default_graph())
            assert (plan.stage_names, plan.num_slices) == (("both",), 2)


def test_another_init_forgets_the_strategy():
    with started(PIPELINE):
        top()
        epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
        with own_graph(), pytest.raises(RuntimeError, match="no strategy is set"):
            trained(nothing)


def train_input(clones):
    return lambda: tf.data.Dataset.from_tensor_slices(({"x": FEATURES}, LABELS)).batch(
        BATCH // clones, drop_remainder=True).repeat()


def eval_input():
    return tf.data.Dataset.from_tensor_slices(
        ({"x": FEATURES[:EVALUATED]}, LABELS[:EVALUATED])).batch(10)


class Stages(tf.train.SessionRunHook):
    """Notes the stages of the graph of every session."""

    def __init__(self):
        self.seen = []

    def begin(self):
        self.seen.append(stage_names())


def estimator_run(cut, directory, clones, hooks):
    """Train, evaluate, predict, and both in one; twice."""
    def model_fn(features, labels, mode):
        output = network(features["x"], cut)
        if mode == tf.estimator.ModeKeys.PREDICT:
            return tf.estimator.EstimatorSpec(mode, predictions={"output": output})
        loss = tf.losses.mean_squared_error(labels, output)
        train = tf.train.AdamOptimizer(0.05, epsilon=1e-3).minimize(
            loss, tf.train.get_global_step()) if mode == tf.estimator.ModeKeys.TRAIN else None
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    config = tf.estimator.RunConfig(tf_random_seed=1, save_checkpoints_steps=2,
                                    session_config=devices.session_config())
    made, found = tf.estimator.Estimator(model_fn, directory, config), []
    for last in (4, 8):
        made.train(train_input(clones), hooks, steps=2)
        found.append(dict(made.evaluate(eval_input, hooks=hooks)))
        found.append([row["output"] for row in made.predict(eval_input, hooks=hooks)])
        found.append(dict(tf.estimator.train_and_evaluate(
            made, tf.estimator.TrainSpec(train_input(clones), last, hooks),
            tf.estimator.EvalSpec(eval_input, 2, hooks=hooks, throttle_secs=0))[0]))
        found.append(np.concatenate([made.get_variable_value(name).ravel()
                                     for name in sorted(made.get_variable_names())]))
    assert found[-2]["global_step"] == 8
    return found


def test_estimator_calls_its_model_again_and_again(tmp_path):
    with devices.plain():
        expected = estimator_run(nothing, str(tmp_path / "plain"), 1, [])
    hook = Stages()
    with started(PIPELINE):
        top()
        found = estimator_run(middle, str(tmp_path / "epl"), PIPELINE.clones, [hook])
    assert len(hook.seen) > 8 and set(hook.seen) == {("lower", "upper")}
    for one, other in zip(found, expected):
        devices.assert_same(one, other)
