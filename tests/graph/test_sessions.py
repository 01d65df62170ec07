# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every kind of session trains on several devices as on one.

Most tests fit one weight, with numbers that are exact in 32-bit floats (see `devices.Fit`).
"""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import BOTH, ONE, PIPELINE, REPLICAS, ROWS, SEVERAL, weight_after

STEPS = 4


def in_a_session(model):
    with devices.session() as session:
        for _ in range(STEPS):
            session.run(model.train, {model.x: ROWS})
        return session.run([model.weight, model.step])


def in_an_interactive_session(model):
    session = tf.InteractiveSession(config=devices.session_config())
    try:
        tf.global_variables_initializer().run()
        for _ in range(STEPS):
            model.train.run({model.x: ROWS})
        return [model.weight.eval(), model.step.eval()]
    finally:
        session.close()


def in_a_monitored_session(model):
    with tf.train.MonitoredTrainingSession(config=devices.session_config()) as session:
        for _ in range(STEPS):
            values = session.run([model.train, model.step], {model.x: ROWS})
        assert values[0] is None
        return session._tf_sess().run([model.weight, model.step])


def in_a_singular_session(model):
    with tf.train.SingularMonitoredSession(config=devices.session_config()) as session:
        for _ in range(STEPS):
            session.run(model.train, {model.x: ROWS})
        return session.raw_session().run([model.weight, model.step])


def in_a_supervised_session(model):
    supervisor = tf.train.Supervisor(logdir=None, summary_op=None)
    with supervisor.managed_session(config=devices.session_config()) as session:
        for _ in range(STEPS):
            session.run(model.train, {model.x: ROWS})
        return session.run([model.weight, model.step])


def by_a_callable(model):
    with devices.session() as session:
        call = session.make_callable([model.loss, model.train], feed_list=[model.x])
        losses = [call(ROWS) for _ in range(STEPS)]
        assert [len(values) for values in losses] == [2] * STEPS
        assert losses[0][0] == 25.5 and losses[0][1] is None
        return session.make_callable([model.weight, model.step])()


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("layout", [REPLICAS, BOTH], ids=str)
@pytest.mark.parametrize("train", [
    in_a_session, in_an_interactive_session, in_a_monitored_session, in_a_singular_session,
    in_a_supervised_session, by_a_callable], ids=lambda function: function.__name__)
def test_every_kind_of_session_trains_as_one_device(layout, train, resource):
    weight, step = devices.run(
        layout, lambda stage: train(devices.fit(stage, use_resource=resource)))
    assert weight == weight_after(STEPS) and step == STEPS


class Seen(tf.train.LoggingTensorHook):
    """Keeps what a LoggingTensorHook would print."""

    def __init__(self, tensors):
        self.values = []
        super().__init__(tensors, every_n_iter=1, formatter=self.keep)

    def keep(self, values):
        self.values.append(dict(values))
        return ""


class Abort(tf.train.SessionRunHook):
    """Loses the session before its third run, once."""

    def __init__(self):
        self.runs = self.sessions = 0

    def after_create_session(self, session, coord):
        self.sessions += 1

    def before_run(self, run_context):
        self.runs += 1
        if self.runs == 3:
            raise tf.errors.AbortedError(None, None, "the session is lost")


def summaries(directory):
    """(step, value) of the scalar summaries in a directory."""
    found = []
    for name in sorted(os.listdir(directory)):
        if "tfevents" in name:
            for event in tf.train.summary_iterator(os.path.join(directory, name)):
                found += [(event.step, v.simple_value) for v in event.summary.value
                          if v.tag == "loss_summary"]
    return found


def monitored(directory, *more_hooks):
    """A script: five steps of Adam with checkpoints and hooks, batches fed."""
    features, labels = devices.data()

    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3], "x")
        y = tf.placeholder(tf.float32, [None, 1], "y")
        loss = tf.losses.mean_squared_error(y, devices.network(x, stage))
        step = tf.train.get_or_create_global_step()
        train = tf.train.AdamOptimizer(0.05).minimize(loss, step)
        seen = Seen({"loss": loss})
        hooks = [tf.train.StopAtStepHook(last_step=5), seen, tf.train.SummarySaverHook(
            1, output_dir=directory, summary_op=tf.summary.scalar("loss_summary", loss))]
        losses, number = [], 0
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=directory, save_checkpoint_steps=1, hooks=hooks + list(more_hooks),
                save_summaries_steps=None, save_summaries_secs=None,
                config=devices.session_config()) as session:
            while not session.should_stop():
                rows = slice(16 * number, 16 * number + 16)
                losses.append(session.run([loss, train], {x: features[rows], y: labels[rows]})[0])
                number += 1
        return losses, [values["loss"] for values in seen.values]
    return script


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(losses, the directory) of a monitored session in plain TensorFlow."""
    directory = str(tmp_path_factory.mktemp("plain"))
    return devices.run(None, monitored(directory))[0], directory


def checkpoint(directory):
    reader = tf.train.load_checkpoint(directory)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("layout", SEVERAL, ids=str)
def test_hooks_summaries_and_checkpoints_of_a_monitored_session(layout, undisturbed, tmp_path):
    expected, directory = undisturbed
    losses, logged = devices.run(layout, monitored(str(tmp_path)))
    devices.assert_same(losses, expected)
    devices.assert_same(logged, losses)
    steps, values = zip(*summaries(str(tmp_path)))
    assert steps == tuple(step for step, _ in summaries(directory)) == (1, 2, 3, 4, 5)
    devices.assert_same(list(values), expected)
    devices.assert_same(checkpoint(str(tmp_path)), checkpoint(directory))


@pytest.mark.parametrize("layout", [REPLICAS, BOTH], ids=str)
def test_a_lost_session_is_recovered_and_training_goes_on(layout, undisturbed, tmp_path):
    expected, directory = undisturbed
    abort = Abort()
    losses, _ = devices.run(layout, monitored(str(tmp_path), abort))
    assert abort.sessions == 2
    devices.assert_same(losses, expected)
    devices.assert_same(checkpoint(str(tmp_path)), checkpoint(directory))


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_two_sessions_on_one_graph_have_variables_of_their_own(layout):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        with devices.session() as one, devices.session() as two:
            for session in (one, two, one):
                session.run(model.train, {model.x: ROWS})
            assert one.run([model.weight, model.step]) == [weight_after(2), 2]
            assert two.run([model.weight, model.step]) == [weight_after(1), 1]


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_two_graphs_train_in_turns(layout):
    with devices.started(layout):
        parts = []
        for _ in range(2):
            with tf.Graph().as_default():
                model = devices.fit(devices.stages(layout))
                parts.append((model, devices.session()))
        for index in (0, 1, 0):
            model, session = parts[index]
            session.run(model.train, {model.x: ROWS})
        values = [session.run(model.weight) for model, session in parts]
        assert values == [weight_after(2), weight_after(1)]
        for _, session in parts:
            session.close()


@pytest.mark.parametrize("layout", [PIPELINE, REPLICAS], ids=str)
def test_a_session_that_knows_the_graph_from_before_the_step_says_what_to_do(layout):
    with devices.started(layout):
        stage = devices.stages(layout)
        with stage(0):
            x = tf.placeholder(tf.float32, [None], "x")
            weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
            apart = x - weight
        with stage(1):
            loss = tf.reduce_mean(tf.square(apart))
        old = devices.session()
        old.run(loss, {x: ROWS})
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        if layout is PIPELINE:  # its stages were placed before the first run: nothing has changed
            old.run(train, {x: ROWS})
            assert old.run(weight) == weight_after(1)
            return
        with pytest.raises(RuntimeError, match="make a new session"):
            old.run(train, {x: ROWS})
        old.close()
        with devices.session() as new:
            new.run(train, {x: ROWS})
            assert new.run(weight) == weight_after(1)


@pytest.mark.parametrize("layout", [PIPELINE, REPLICAS], ids=str)
def test_partial_run_of_a_step_is_refused_and_of_anything_else_works(layout):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        with devices.session() as session:
            handle = session.partial_run_setup([model.loss], [model.x])
            assert session.partial_run(handle, model.loss, {model.x: ROWS}) == 25.5
            with pytest.raises(NotImplementedError, match="session.run"):
                handle = session.partial_run_setup([model.loss, model.train], [model.x])
                session.partial_run(handle, [model.loss, model.train], {model.x: ROWS})
            assert session.run([model.weight, model.step]) == [0.0, 0]


def test_a_traced_step_shows_work_on_every_device():
    with devices.started(BOTH):
        model = devices.fit(devices.stages(BOTH))
        metadata = tf.RunMetadata()
        with devices.session() as session:
            session.run(model.train, {model.x: ROWS},
                        tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), metadata)
        busy = {stats.device[-1] for stats in metadata.step_stats.dev_stats if stats.node_stats}
        assert busy >= {"0", "1", "2", "3"}


def test_a_graph_of_a_class_of_ones_own():
    class Mine(tf.Graph):
        pass

    with devices.started(BOTH), Mine().as_default():
        assert in_a_session(devices.fit(devices.stages(BOTH))) == [weight_after(STEPS), STEPS]


def test_tensors_made_before_init_and_a_second_init():
    rows = tf.constant(ROWS)
    graph = rows.graph
    with devices.started(PIPELINE), graph.as_default():
        epl.init(epl.Config({"pipeline.num_micro_batch": 1}))
        assert tf.get_default_graph() is graph
        model = devices.fit(devices.stages(PIPELINE), name="before_init", x=rows)
        with devices.session() as session:
            session.run(model.train)
            assert session.run(model.weight) == weight_after(1)


@pytest.mark.skipif(not hasattr(tf.keras.backend, "set_session"),
                    reason="Keras 3 fits its models in eager execution only")
@pytest.mark.parametrize("layout", [
    ONE, pytest.param(PIPELINE, marks=pytest.mark.fast), REPLICAS, BOTH], ids=str)
def test_keras_fit_in_graph_mode(layout):
    features, labels = devices.data(64)

    def script(stage):
        with tf.Session(config=devices.session_config()) as session:
            tf.keras.backend.set_session(session)
            with stage(0):
                inputs = tf.keras.layers.Input((3,))
                hidden = tf.keras.layers.Dense(
                    4, "tanh", kernel_initializer=tf.keras.initializers.Constant(0.1))(inputs)
            with stage(1):
                outputs = tf.keras.layers.Dense(
                    1, kernel_initializer=tf.keras.initializers.Constant(0.2))(hidden)
                model = tf.keras.models.Model(inputs, outputs)
                model.compile(tf.train.GradientDescentOptimizer(0.1), "mse")
            history = model.fit(features, labels, batch_size=16, epochs=2, shuffle=False, verbose=0)
            values = model.get_weights()
        tf.keras.backend.set_session(None)
        return history.history["loss"], values

    found, expected = devices.run(layout, script), devices.run(None, script)
    assert not np.allclose(expected[1][0], 0.1)
    devices.assert_same(found, expected)
