# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""tf.estimator trains on several devices as on one; evaluation and prediction see all data once."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, REPLICAS

FEATURES, LABELS = devices.data(80)
GLOBAL_BATCH = 16


class Devices(tf.train.SessionRunHook):
    """Notes the devices of the two layers and how many copies there are of them."""

    def __init__(self):
        self.seen = []

    def begin(self):
        self.graph = tf.get_default_graph()

    def after_create_session(self, session, coord):
        products = [op for op in self.graph.get_operations() if op.name.endswith("/MatMul")]
        self.seen = sorted((op.name, op.device) for op in products)


def model(stage, layout):
    def model_fn(features, labels, mode):
        output = devices.network(features["x"], stage)
        if mode == tf.estimator.ModeKeys.PREDICT:
            return tf.estimator.EstimatorSpec(
                mode, predictions={"output": output, "twice": 2 * output},
                export_outputs={"serving_default": tf.estimator.export.PredictOutput(output)})
        loss = tf.losses.mean_squared_error(labels, output)
        if mode == tf.estimator.ModeKeys.EVAL:
            ones = tf.ones_like(labels)
            metrics = {"mae": tf.metrics.mean_absolute_error(labels, output),
                       "rows": tf.metrics.true_positives(ones, ones)}
            return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=metrics)
        train = tf.train.AdamOptimizer(0.05, epsilon=1e-3).minimize(
            loss, tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)
    return model_fn


def train_input(layout):
    batch = GLOBAL_BATCH // (layout.clones if layout else 1)
    return lambda: tf.data.Dataset.from_tensor_slices(({"x": FEATURES}, LABELS)).batch(
        batch, drop_remainder=True).repeat()


def eval_input(rows=75):
    return lambda: tf.data.Dataset.from_tensor_slices(
        ({"x": FEATURES[:rows]}, LABELS[:rows])).batch(10)


def estimator(layout, stage, directory):
    config = tf.estimator.RunConfig(
        tf_random_seed=1, save_checkpoints_steps=2, save_summary_steps=1, log_step_count_steps=1,
        session_config=devices.session_config())
    return tf.estimator.Estimator(model(stage, layout), directory, config)


def losses_written(directory):
    """step -> loss, from the summaries of training."""
    found = {}
    for name in os.listdir(directory):
        if "tfevents" in name:
            for event in tf.train.summary_iterator(os.path.join(directory, name)):
                for value in event.summary.value:
                    if value.tag == "loss":
                        found[event.step] = value.simple_value
    return found


def whole_run(layout, directory):
    """A script: train, evaluate, train and evaluate, predict."""
    def script(stage):
        made = estimator(layout, stage, directory)
        made.train(train_input(layout), steps=3)
        evaluated = made.evaluate(eval_input())
        last, _ = tf.estimator.train_and_evaluate(
            made, tf.estimator.TrainSpec(train_input(layout), max_steps=7),
            tf.estimator.EvalSpec(eval_input(), steps=None, throttle_secs=0))
        predicted = np.array([row["output"] for row in made.predict(eval_input())])
        variables = {name: made.get_variable_value(name) for name in made.get_variable_names()}
        return [dict(evaluated), dict(last), predicted, variables, losses_written(directory)]
    return script


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("plain"))
    return devices.run(None, whole_run(None, directory)), directory


@pytest.mark.parametrize("layout", [pytest.param(PIPELINE, marks=pytest.mark.fast), REPLICAS],
                         ids=str)
def test_equals_one_device_with_the_whole_batch(layout, plain_run, tmp_path):
    expected, _ = plain_run
    found = devices.run(layout, whole_run(layout, str(tmp_path)))
    evaluated, last, predicted, variables, losses = expected
    assert (evaluated["global_step"], last["global_step"], evaluated["rows"]) == (3, 7, 75)
    assert predicted.shape == (75, 1) and sorted(losses) == list(range(1, 8))
    for one, other in zip(found, expected):
        devices.assert_same(one, other)


@pytest.mark.parametrize("layout", [PIPELINE, REPLICAS, BOTH], ids=str)
def test_evaluation_and_prediction_run_once_on_the_devices_of_the_first_replica(
        layout, plain_run, tmp_path):
    expected, directory = plain_run
    hook = Devices()
    with devices.started(layout):
        made = estimator(layout, devices.stages(layout), directory)
        evaluated = made.evaluate(eval_input(), hooks=[hook])
        devices.assert_same(dict(evaluated), expected[1])
        # With one stage TensorFlow chooses, as it does without EPL.
        places = ["/device:CPU:0", "/device:CPU:1"] if layout.stages == 2 else ["", ""]
        assert hook.seen == list(zip(["first/MatMul", "second/MatMul"], places))
        hook.seen = []
        rows = list(made.predict(eval_input(7), hooks=[hook]))
        assert [len(hook.seen), len(rows)] == [2, 7]
        devices.assert_same(np.array([row["output"] for row in rows]), expected[2][:7])


def test_a_process_with_one_device_evaluates_and_predicts_but_does_not_train(plain_run):
    expected, directory = plain_run
    with devices.started(PIPELINE, devices=1):
        made = estimator(PIPELINE, devices.stages(PIPELINE), directory)
        devices.assert_same(dict(made.evaluate(eval_input())), expected[1])
        predicted = np.array([row["output"] for row in made.predict(eval_input())])
        devices.assert_same(predicted, expected[2])
        with pytest.raises(epl.ConfigError, match="--gpu_per_worker 2"):
            made.train(train_input(PIPELINE), steps=1)


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_saved_model_is_that_of_one_device(layout, plain_run, tmp_path):
    expected, directory = plain_run
    with devices.started(layout):
        made = estimator(layout, devices.stages(layout), directory)
        receiver = tf.estimator.export.build_raw_serving_input_receiver_fn(
            {"x": tf.placeholder(tf.float32, [None, 3], "x")})
        path = made.export_saved_model(str(tmp_path), receiver)
    with devices.plain(), tf.Session() as session:
        signature = tf.saved_model.load(session, ["serve"], path).signature_def["serving_default"]
        predicted = session.run(signature.outputs["output"].name,
                                {signature.inputs["x"].name: FEATURES[:75]})
    devices.assert_same(predicted, expected[2])


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_a_model_without_training_runs_in_any_session(layout):
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        output = devices.network(x, stage)
        with devices.session() as session:
            return session.run(output, {x: FEATURES[:7]})

    devices.assert_same(devices.run(layout, script), devices.run(None, script))
