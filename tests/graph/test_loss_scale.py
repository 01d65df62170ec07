# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""amp.loss_scale: gradients of a scaled loss; steps whose gradients are not finite are skipped.

What is expected is plain TensorFlow in float32 that is never given the rows that overflow. Scales
are powers of two, so that they change no bit; the tolerance is that of `devices`.
"""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.errors import ConfigError
from epl.ops.adam_weight_decay_optimizer import AdamWeightDecayOptimizer
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, ONE, PIPELINE, REPLICAS
from tests.support.optimizers import Shrinking

AMP = {"amp.level": "o1", "amp.dtype": "float32"}
FEATURES, LABELS = devices.data(16)
TABLE = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
STEPS, OVERFLOWS = 6, 2
SCALE, GOOD = "epl/loss_scale/current_loss_scale:0", "epl/loss_scale/good_steps:0"

EACH = pytest.mark.parametrize("layout", [ONE, ACCUMULATION, REPLICAS, PIPELINE, BOTH], ids=str)
KINDS = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])


def clipped(loss, step):
    optimizer = AdamWeightDecayOptimizer(0.01, 0.1)
    pairs = optimizer.compute_gradients(loss)
    gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 0.5)
    return optimizer.apply_gradients(zip(gradients, [v for _, v in pairs]), step)


def all_at_once(loss, variables):
    """Gradients that no update of a ref variable overtakes, on one device either."""
    return tf.tuple([tf.convert_to_tensor(g) for g in tf.gradients(loss, variables)])


def two_optimizers(loss, step):
    """They share the gradients: if those of one are not finite, the other skips its part too."""
    variables = tf.trainable_variables()
    gradients = all_at_once(loss, variables)
    pairs = list(zip(gradients, variables))
    return tf.group(tf.train.MomentumOptimizer(0.1, 0.9).apply_gradients(pairs[:1]),
                    tf.train.AdamOptimizer(0.01).apply_gradients(pairs[1:], step))


TRAIN = {
    "momentum": lambda loss, step: tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss, step),
    "adam": lambda loss, step: tf.train.AdamOptimizer(0.01).minimize(loss, step),
    "own": lambda loss, step: Shrinking().minimize(loss, step),
    "clipped": clipped,
    "two_optimizers": two_optimizers,
}


def build(stage, resource, train):
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    step = tf.train.get_or_create_global_step()
    with tf.variable_scope("", use_resource=resource):
        with stage(0):
            table = tf.get_variable("table", initializer=TABLE)
            rows = tf.cast(tf.minimum(tf.abs(x[:, 0] * 3), 4), tf.int32)
            hidden = devices.dense(x + tf.nn.embedding_lookup(table, rows), 8, "first", tf.nn.relu)
        with stage(1):
            loss = tf.reduce_mean(tf.square(y - devices.dense(hidden, 1, "second")))
        return x, y, loss, train(loss, step)


def trained(stage, resource, train, overflows=True, then=lambda session: None):
    """Losses of the steps that count, and all variables."""
    x, y, loss, step = build(stage, resource, train)
    found = []
    with devices.session() as session:
        for number in range(STEPS):
            rows = FEATURES + number
            if number == OVERFLOWS:
                if not overflows:
                    continue
                rows = rows.copy()
                rows[13] = 1e30  # in the last part, and nowhere else
            value = session.run([loss, step], {x: rows, y: LABELS})[0]
            if number != OVERFLOWS:
                found.append(value)
        then(session)
        return found, session.run({v.name: v for v in tf.global_variables()})


def without_the_step(train, resource):
    """What plain TensorFlow gives that never sees the rows that overflow."""
    return devices.reference(("loss scale", train, resource), lambda stage: trained(
        stage, resource, TRAIN[train], False))


@EACH
@KINDS
@pytest.mark.parametrize("train", sorted(TRAIN))
def test_a_step_that_overflows_never_happened(train, resource, layout):
    losses, variables = devices.run(
        layout, lambda stage: trained(stage, resource, TRAIN[train]), AMP)
    # 2^15 at first, half of it after the step that was skipped, and then three steps were good.
    assert (variables.pop(SCALE), variables.pop(GOOD)) == (2.0 ** 14, 3)
    expected = without_the_step(train, resource)
    assert expected[1]["global_step:0"] == STEPS - 1
    devices.assert_same((losses, variables), expected)


def test_with_control_flow_v2_and_groups_of_updates():
    config = dict(AMP, **{"optimizer.num_apply_group": 2})
    for again in (contextlib.nullcontext(), devices.control_flow_v2()):
        with again:
            losses, variables = devices.run(
                BOTH, lambda stage: trained(stage, True, TRAIN["adam"]), AMP)
            del variables[SCALE], variables[GOOD]
            devices.assert_same((losses, variables), without_the_step("adam", True))
    losses, variables = devices.run(
        ACCUMULATION, lambda stage: trained(stage, True, TRAIN["adam"]), config)
    del variables[SCALE], variables[GOOD]
    devices.assert_same((losses, variables), without_the_step("adam", True))


@KINDS
@pytest.mark.parametrize("key, value", [("gradient_checkpoint.type", "auto"),
                                        ("offload.level", "v0")])
def test_with_what_saves_memory(key, value, resource):
    losses, variables = devices.run(
        BOTH, lambda stage: trained(stage, resource, TRAIN["clipped"]), dict(AMP, **{key: value}))
    assert (variables.pop(SCALE), variables.pop(GOOD)) == (2.0 ** 14, 3)
    devices.assert_same((losses, variables), without_the_step("clipped", resource))


def test_the_scale_doubles_after_2000_good_steps_and_is_saved(tmp_path):
    path = str(tmp_path / "model")

    def one_more(session):
        scale, good = [v for v in tf.global_variables() if v.name in (SCALE, GOOD)]
        good.load(1999, session)
        x, y = [op.outputs[0] for op in tf.get_default_graph().get_operations()
                if op.type == "Placeholder" and op.name in ("Placeholder", "Placeholder_1")]
        session.run(tf.get_collection(tf.GraphKeys.TRAIN_OP)[0], {x: FEATURES, y: LABELS})
        assert session.run([scale, good]) == [2.0 ** 15, 0]
        tf.train.Saver().save(session, path)

    devices.run(ACCUMULATION, lambda stage: trained(stage, True, TRAIN["adam"], then=one_more), AMP)
    assert tf.train.load_variable(path, SCALE[:-2]) == 2.0 ** 15
    names = {name for name, _ in tf.train.list_variables(path)}
    with tf.Graph().as_default():
        build(devices.stages(None), True, TRAIN["adam"])
        assert names - {SCALE[:-2], GOOD[:-2]} == {v.op.name for v in tf.global_variables()}


@pytest.mark.parametrize("layout", [ONE, BOTH], ids=str)
def test_a_number_scales_and_skips_nothing(layout):
    """Gradients of the model are multiplied by it: what a layer gets from the next is seen."""
    seen = []

    def train(loss, step):
        @tf.custom_gradient
        def look(x):
            return tf.identity(x), lambda g: tf.py_func(
                lambda value: seen.append(float(np.abs(value).max())) or value, [g], tf.float32)

        return tf.train.MomentumOptimizer(0.1, 0.9).minimize(look(loss), step)

    config = dict(AMP, **{"amp.loss_scale": 512})
    result = devices.run(layout, lambda stage: trained(stage, True, train, False), config)
    devices.assert_same(result, without_the_step("momentum", True))
    assert set(seen) == {512.0}
    _, variables = devices.run(
        layout, lambda stage: trained(stage, True, TRAIN["momentum"]), config)
    assert not np.isfinite(variables["first/kernel:0"]).all()


def of_weights(loss):
    return sum(tf.reduce_sum(tf.square(tf.convert_to_tensor(g)))
               for g in tf.gradients(loss, tf.trainable_variables()[1:]))


def of_rows(loss):
    layers = [op for op in tf.get_default_graph().get_operations() if op.type == "MatMul"]
    return tf.reduce_mean(tf.square(tf.gradients(layers[-1].outputs[0], layers[0].inputs[0])[0]))


PENALTIES = {"of_weights": of_weights, "of_rows": of_rows}


@pytest.mark.parametrize("penalty, layout", [
    ("of_weights", ONE), ("of_rows", ONE), ("of_rows", REPLICAS), ("of_rows", ACCUMULATION)])
def test_gradients_that_are_part_of_a_loss_are_right(penalty, layout):
    def penalized(loss, step):
        return tf.train.MomentumOptimizer(0.1, 0.9).minimize(
            loss + 0.1 * PENALTIES[penalty](loss), step)

    losses, variables = devices.run(
        layout, lambda stage: trained(stage, True, penalized, False), AMP)
    expected = devices.run(None, lambda stage: trained(stage, True, penalized, False))
    devices.assert_same((losses, {name: variables[name] for name in expected[1]}), expected)


@KINDS
def test_an_update_that_no_step_would_skip_is_refused(resource):
    """The cure that the error names, a number, works."""
    def by_hand(loss, step):
        variables = tf.trainable_variables()
        return tf.group(*[v.assign_sub(0.1 * g)
                          for g, v in zip(all_at_once(loss, variables), variables)])

    with pytest.raises(ConfigError, match="updates a variable outside of.*set amp.loss_scale to a"):
        devices.run(ACCUMULATION, lambda stage: trained(stage, resource, by_hand), AMP)
    devices.assert_same(
        devices.run(ACCUMULATION, lambda stage: trained(stage, resource, by_hand, False),
                    dict(AMP, **{"amp.loss_scale": 8})),
        devices.run(None, lambda stage: trained(stage, resource, by_hand, False)))


@pytest.mark.parametrize("layout", [ACCUMULATION, REPLICAS, BOTH], ids=str)
@pytest.mark.parametrize("config", [{}, AMP], ids=["alone", "within_ours"])
def test_a_loss_scale_optimizer_of_the_script_works(config, layout):
    """TensorFlow's own, by itself, and inside of EPL's scale."""
    module = pytest.importorskip("tensorflow.python.training.experimental.loss_scale_optimizer")
    scales = pytest.importorskip("tensorflow.python.training.experimental.loss_scale")

    def train(loss, step):
        return module.MixedPrecisionLossScaleOptimizer(
            tf.train.AdamOptimizer(0.01), scales.DynamicLossScale()).minimize(loss, step)

    _, variables = devices.run(layout, lambda stage: trained(stage, True, train), config)
    _, expected = without_the_step("adam", True)
    assert variables["current_loss_scale:0"] == (2.0 ** 15 if config else 2.0 ** 14)
    devices.assert_same({name: variables[name] for name in expected if "power" not in name},
                        {name: expected[name] for name in expected if "power" not in name})


def test_a_script_is_started_without_it():
    """Without amp.level nothing is scaled, and optimizers are as they were."""
    result = devices.run(ACCUMULATION, lambda stage: trained(stage, True, TRAIN["adam"], False),
                         {"amp.loss_scale": 8})
    devices.assert_same(result, without_the_step("adam", True))
    assert epl.Config().amp.level == ""
