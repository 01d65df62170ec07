# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""gradient_checkpoint.*: activations are computed again, to the same bits, in less memory."""

import os
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.errors import ConfigError, RewriteError
from epl.ir.graph_state import state_of
from epl.profiler.memory import read_memory
from epl.rewrite import op_traits
from epl.rewrite.groups import groups_of
from epl.rewrite.recompute import Recomputed, verify_recomputed
from epl.rewrite.recompute.copies import Builder
from epl.rewrite.rewriter import rewrite
from tests.graph import devices, equivalence
from tests.graph.devices import Layout
from tests.support import layouts, loopback
from tests.support.layouts import MODELS, Training
from tests.support.staged_models import GLOBAL_BATCH

TYPE, BUDGET, LAST = ["gradient_checkpoint." + key for key in
                      ("type", "budget_mb", "end_taskgraph")]
AUTO, COLLECTION = {TYPE: "auto"}, {TYPE: "collection"}
FEATURES, LABELS = devices.data(16)

LAYOUTS = [layouts.Layout(*each, annotation=layouts.BLOCK) for each in (
    ((1,), 1, 1, "PreferBackward"), ((1,), 2, 1, "PreferBackward"), ((1,), 1, 4, "PreferBackward"),
    ((1, 1), 1, 2, "PreferBackward"), ((1, 1), 1, 4, "PreferForward"))]


def copies_of(graph):
    """The copies of all groups: forward operation -> copy."""
    found = state_of(graph).find(Recomputed)
    return {op: copy for each in (found.by_group.values() if found else ())
            for op, copy in each.copies.items()}


# The same bits.

def some_checkpoints(loss):
    """Every third operation that may be one, whatever it is: a script may choose as badly."""
    found = [op for op in loss.graph.get_operations() if op.type in (
        "Add", "AddV2", "Exit", "MatMul", "Merge", "Mul", "Tanh") and op.outputs[0].dtype
        == tf.float32 and compat.control_flow_context(op) is None]
    for op in found[::3]:
        tf.add_to_collection("checkpoints", op.outputs[0])


def trained(training, layout, key):
    """The outcome of ten steps, and how many operations were copied."""
    found = {}

    def model(batch, stage, num_stages):
        loss = found["loss"] = MODELS[training.model].model(batch, stage, num_stages)
        some_checkpoints(loss)
        return loss

    environment = {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_DEVICE_TYPE": "cpu",
                   "EPL_GRADIENT_CHECKPOINT_TYPE": key}
    with mock.patch.dict(os.environ, environment):
        stage = equivalence.start_epl(layout)
        try:
            outcome = equivalence.train(training, model, GLOBAL_BATCH // layout.clones, stage,
                                        len(layout.devices), optimized=False)
        finally:
            os.environ["EPL_GPU_PER_WORKER"] = "1"
            epl.init(epl.Config({TYPE: ""}))
    return outcome, len(copies_of(found["loss"].graph))


def cases():
    """Each model in one layout, with one of the types; a few in all."""
    found = []
    for number, model in enumerate(sorted(MODELS)):
        for place, layout in enumerate(LAYOUTS):
            here = place == number % len(LAYOUTS)
            if here or model in ("dropout", "encoder"):
                training = Training(model, "adam", number % 2 == 0, (number + place) % 2 == 0)
                found += [pytest.param(training, layout, key, id="{}-{}-{}".format(
                    training, layout, key)) for key in _types(model, here, number + place)]
    return found


def _types(model, here, number):
    if here and model in ("batch_norm", "bert", "cond", "dropout", "encoder"):
        return ["auto", "collection"]
    return ["auto" if number % 3 else "collection"]


_WITHOUT = {}
# Small models in which, with some choices, nothing is left to compute again.
_NOTHING_TO_DO = {"cond", "cond_v2", "lookups", "lstm", "mlp", "stop_gradient", "while", "while_v2"}


@pytest.mark.parametrize("training, layout, key", cases())
def test_bits_are_those_of_training_without(training, layout, key):
    if (training, layout) not in _WITHOUT:
        _WITHOUT[training, layout] = trained(training, layout, "")[0]
    without = _WITHOUT[training, layout]
    try:
        outcome, copied = trained(training, layout, key)
    except ConfigError as error:
        assert "no gradient passes" in str(error) and training.model in _NOTHING_TO_DO
        return
    assert copied or training.model in _NOTHING_TO_DO
    np.testing.assert_array_equal(outcome.losses, without.losses)
    assert outcome.losses[0] != outcome.losses[-1]
    for name, value in without.variables.items():
        np.testing.assert_array_equal(outcome.variables[name], value, err_msg=name)


def layered(x, units, layers, dropout=0.0, every=1):
    """Dense layers; the output of each `every`th is a checkpoint."""
    for number in range(layers):
        kernel = tf.get_variable(
            "kernel_{}".format(number), [x.shape[-1], units],
            initializer=tf.glorot_uniform_initializer(seed=number))
        x = tf.tanh(tf.matmul(x, kernel))
        if dropout:
            x = tf.nn.dropout(x, rate=dropout, seed=number)
        if number % every == every - 1:
            tf.add_to_collection("checkpoints", x)
    return x


def minimize_two(losses):
    """Two optimizers that share variables, one step after the other."""
    first = tf.train.AdamOptimizer(0.01).minimize(losses[0])
    second = tf.train.MomentumOptimizer(0.1, 0.9).minimize(losses[1])
    return [first, second]


def penalty(loss, output, x):
    """As in WGAN-GP: the norm of the gradient by the inputs is a part of the loss."""
    norm = tf.sqrt(tf.reduce_sum(tf.square(tf.gradients(output, x)[0]), 1) + 1e-3)
    return tf.train.GradientDescentOptimizer(0.1).minimize(
        loss + tf.reduce_mean(tf.square(norm - 1.0)))


def by_hand(loss, output, x):
    """The chain rule in two calls."""
    inner = tf.get_collection("checkpoints")[0]
    weights = tf.trainable_variables()
    # Without gates plain TensorFlow itself may update a ref variable before its last reader.
    behind = tf.gradients(loss, [inner] + weights[1:], gate_gradients=True)
    before = tf.gradients(inner, weights[:1], behind[:1])
    return tf.train.GradientDescentOptimizer(0.1).apply_gradients(
        list(zip(before + behind[1:], weights)))


STEPS = {
    "two losses": lambda loss, output, x: minimize_two([loss, tf.reduce_mean(tf.abs(output))]),
    "gradient penalty": penalty,
    "by hand": by_hand,
    "clipped": lambda loss, output, x: clipped(loss),
    "several calls": lambda loss, output, x: [
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[variable])
        for variable in tf.trainable_variables()],
}


def clipped(loss):
    pairs = tf.train.AdamOptimizer(0.01).compute_gradients(loss)
    gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 0.1)
    return tf.train.AdamOptimizer(0.01).apply_gradients(zip(gradients, [v for _, v in pairs]))


@pytest.mark.parametrize("key", ["auto", "collection"])
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("layout", [Layout(), Layout(micro_batches=2)], ids=str)
@pytest.mark.parametrize("step", sorted(STEPS))
def test_whatever_asks_for_the_gradients(step, layout, resource, key):
    found = {}

    def script(stage):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with stage(0), tf.variable_scope("", use_resource=resource):
            output = tf.reduce_mean(layered(x, 8, 5, every=2), 1, keepdims=True)
            loss = tf.reduce_mean(tf.square(output - y))
        ops = STEPS[step](loss, output, x)
        found["graph"] = tf.get_default_graph()
        with devices.session() as session:
            for _ in range(3):
                for op in ops if isinstance(ops, list) else [ops]:
                    session.run(op, {x: FEATURES, y: LABELS})
            return session.run({v.name: v for v in tf.global_variables()})

    with devices.unoptimized():
        without = devices.run(layout, script)
        devices.assert_same(devices.run(layout, script, {TYPE: key}), without, 0, 0)
    # What the penalty reads of the forward pass is read behind all checkpoints.
    assert copies_of(found["graph"]) or (step, key) == ("gradient penalty", "collection")


@pytest.mark.parametrize("beside", [
    {}, {"zero.level": "v0"}, {"zero.level": "v1"}, {"optimizer.num_apply_group": 2}],
    ids=lambda beside: "-".join(map(str, beside.values())) or "alone")
@pytest.mark.parametrize("key", ["auto", "collection"])
def test_on_two_workers(key, beside):
    def work(rank, config):
        epl.init(epl.Config(dict(beside, **config)))
        epl.set_default_strategy(epl.replicate(device_count=1))
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        loss = tf.reduce_mean(tf.square(
            tf.reduce_mean(layered(x, 8, 5, every=2), 1, keepdims=True) - y))
        step = tf.train.AdamOptimizer(0.01).minimize(loss)
        with devices.session() as session:
            for _ in range(3):
                session.run(step, {x: FEATURES[rank::2], y: LABELS[rank::2]})
            copied = sorted(op.name for op in copies_of(tf.get_default_graph()))
            return copied, session.run({v.name: v for v in tf.global_variables()})

    with devices.unoptimized():
        (_, without), _ = loopback.run(lambda rank: work(rank, {}))
        found = loopback.run(lambda rank: work(rank, {TYPE: key}))
    assert found[0][0] == found[1][0] != []
    for _, variables in found:
        devices.assert_same(variables, without, 0, 0)


def test_graph_optimizers_change_nothing_but_rounding():
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            loss = tf.reduce_mean(tf.square(layered(x, 32, 6, dropout=0.2)))
        step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        with devices.session() as session:
            for _ in range(4):
                session.run(step, {x: FEATURES})
            return session.run({v.name: v for v in tf.global_variables()})

    devices.assert_same(devices.run(Layout(), script, AUTO), devices.run(None, script))


def test_sizes_that_only_the_script_knows():
    """The placeholder's rows are open, those of what is added to it are not."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            shift = tf.constant(np.ones([len(FEATURES), 8], np.float32))
            loss = tf.reduce_mean(tf.square(layered(x, 8, 5) + shift))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            session.run(step, {x: FEATURES})
            return session.run({v.name: v for v in tf.global_variables()})

    with devices.unoptimized():
        devices.assert_same(devices.run(Layout(), script, AUTO), devices.run(Layout(), script),
                            0, 0)


# What is kept, what is computed again, and when.

def built(layout, config, make=None):
    """The rewritten graph of a model of layers with dropout in two stages."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 32])
        with stage(0), tf.variable_scope("first"):
            hidden = layered(x, 32, 4, dropout=0.5, every=2)
        with stage(1), tf.variable_scope("second"):
            loss = tf.reduce_mean(tf.square(layered(hidden, 32, 4, dropout=0.5, every=2)))
        (make or tf.train.GradientDescentOptimizer(0.1).minimize)(loss)
        rewrite(tf.get_default_graph())
        return tf.get_default_graph()

    return devices.run(layout, script, config)


@pytest.mark.parametrize("config", [AUTO, COLLECTION], ids=["auto", "collection"])
def test_what_is_drawn_is_kept_as_a_byte_for_each_element(config):
    graph = built(Layout(), config)
    copies = copies_of(graph)
    assert {op.type for op in copies} >= {"MatMul", "Tanh"}
    assert not any(op_traits.is_random(op) for op in copies)
    drawn = {t.dtype for copy in copies.values() for t in copy.inputs
             if "random_uniform" in t.op.name or "GreaterEqual" in t.op.name}
    assert drawn == {tf.bool}


@pytest.mark.parametrize("layout", [Layout(), Layout(micro_batches=2)], ids=str)
def test_the_tensors_that_are_kept_can_be_asked_for(layout):
    def script(stage, key):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            loss = tf.reduce_mean(tf.square(layered(x, 8, 5, every=2)))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        assert epl.Graph.get().gc_tensors == []  # nothing is carried out yet
        devices.session().close()
        kept = epl.Graph.get().gc_tensors
        assert not set(copies_of(x.graph)) & {t.op for t in kept}
        assert key != "collection" or kept == tf.get_collection("checkpoints")
        return len(kept)

    assert devices.run(layout, lambda stage: script(stage, "collection"), COLLECTION) == 2
    assert devices.run(layout, lambda stage: script(stage, "auto"), AUTO) > 0
    assert devices.run(layout, lambda stage: script(stage, "")) == 0


@pytest.mark.parametrize("config", [AUTO, COLLECTION], ids=["auto", "collection"])
def test_the_backward_pass_reads_what_is_kept_and_copies(config):
    graph = built(Layout(), config)
    copies = copies_of(graph)
    backward = set(graph.get_operations()) - set(copies.values())
    read = {t.op for op in backward if state_of(graph).provenance.is_gradient(op)
            for t in op.inputs if op.type not in op_traits.SHAPES}
    assert len(read & set(copies.values())) >= 8
    assert not read & set(copies)


def test_copies_wait_for_the_backward_pass_behind_them():
    graph = built(Layout(), COLLECTION)
    each, = state_of(graph).record(Recomputed).by_group.values()
    assert len(each.waiting) == 4
    last, *others = sorted(each.waiting, key=compat.op_id)
    provenance = state_of(graph).provenance
    assert {op.type for op in last.control_inputs} >= {"Mul"}  # the gradient of the square
    for barrier in others:
        assert any(provenance.is_gradient(op) for op in barrier.control_inputs)
    verify_recomputed(state_of(graph))
    for barrier, entries in each.waiting.items():
        compat.remove_control_inputs(entries[0], [barrier])
        with pytest.raises(RewriteError, match="computed again, does not wait for"):
            verify_recomputed(state_of(graph))


@pytest.mark.parametrize("last, stages", [(-1, {0, 1}), (1, {0, 1}), (0, {0})])
def test_stages_behind_the_last_one_keep_everything(last, stages):
    graph = built(Layout(stages=2, micro_batches=2), {TYPE: "auto", LAST: last})
    provenance = state_of(graph).provenance
    assert {provenance.stage_of(copy) for copy in copies_of(graph).values()} == stages


def test_an_update_in_place_waits_for_copies_that_read_the_variable():
    """Where the gradient itself needs nothing of what is computed again from the variable."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            weight = tf.get_variable("weight", [3, 3], use_resource=False)
            scale = tf.get_variable("scale", [3], use_resource=False)
            product = tf.matmul(x, weight) * scale  # its gradient by weight needs no product
            tf.add_to_collection("checkpoints", product)
            loss = tf.reduce_mean(tf.square(product))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        rewrite(tf.get_default_graph())
        copy, = [copy for op, copy in copies_of(tf.get_default_graph()).items()
                 if op.type == "MatMul"]
        group, = groups_of(state_of(tf.get_default_graph()))
        by_name = {g.variable.op.name: g.returned.op for g in group.gradients}
        assert copy in by_name["weight"].control_inputs
        assert copy not in by_name["scale"].control_inputs

    devices.run(Layout(), script, COLLECTION)


@pytest.mark.parametrize("layout", [devices.PIPELINE, devices.ONE], ids=str)
def test_what_the_batch_writes_waits_for_a_copy_of_what_was_read(layout):
    """An average that the model reads, and that is written as soon as the forward pass has run."""
    with devices.started(layout, {"gradient_checkpoint.type": "auto"}) as graph:
        stage, x = devices.stages(layout), tf.placeholder(tf.float32, [None, 6])
        start = tf.glorot_uniform_initializer(seed=1)
        with (stage(0) if layout.stages > 1 else epl.replicate(1)):
            hidden = tf.tanh(tf.matmul(x, tf.get_variable("a", [6, 6], initializer=start)))
            mean = tf.get_variable("mean", [6], trainable=False, use_resource=False,
                                   initializer=tf.zeros_initializer())
            other = tf.tanh(tf.matmul(hidden - mean, tf.get_variable(
                "b", [6, 6], initializer=start)))
        with stage(1):
            out = tf.tanh(tf.matmul(other, tf.get_variable("c", [6, 6], initializer=start)))
        with tf.control_dependencies([out]):
            write = tf.assign(mean, 0.9 * mean + 0.1 * tf.reduce_mean(hidden, 0))
        with tf.control_dependencies([write]):
            train = tf.train.GradientDescentOptimizer(0.5).minimize(tf.reduce_mean(out ** 2))
        with devices.session() as running:
            running.run(tf.global_variables_initializer())
            running.run(train, {x: np.ones([8, 6])})
        kept, = [op for op in graph.get_operations() if op.type == "DeepCopy"]
        writes = [op for op in graph.get_operations() if op.type == "Assign"
                  and op.inputs[0].op is mean.op and op is not mean.initializer]
        assert writes and all(kept in op.control_inputs for op in writes)


def test_what_writes_runs_once():
    """Moving averages follow each batch once, though what they are made of is computed again."""
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            seen = tf.get_variable("seen", [], initializer=tf.zeros_initializer(), trainable=False)
            hidden = layered(x, 4, 2, every=2)
            with tf.control_dependencies([tf.assign_add(seen, 1.0)]):
                hidden = tf.identity(hidden)
            tf.add_to_collection("checkpoints", hidden)
            loss = tf.reduce_mean(tf.square(hidden))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            for _ in range(3):
                session.run([step, loss], {x: FEATURES})
            return session.run(seen)

    assert devices.run(Layout(), script, COLLECTION) == 3.0


# Memory.

def peak_mib(config, layers=12, micro_batches=1):
    """Most MiB that a step takes and gives back, of layers of 1 MiB of activations each."""
    def script(stage):
        x = tf.placeholder_with_default(np.ones([1024, 256], np.float32), [1024, 256])
        with stage(0), tf.variable_scope("", use_resource=True):
            loss = tf.reduce_mean(tf.square(layered(x, 256, layers, every=4)))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            session.run(step)
            told = tf.RunMetadata()
            session.run(step, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                        run_metadata=told)
        memory, = read_memory(told.step_stats)
        return (memory.peak - memory.persistent) / 2.0 ** 20

    return devices.run(Layout(), script, config)


def test_less_is_in_memory():
    """12 layers hold 12 MiB. Three segments of 4 hold 3 + 4, and the search finds better ones."""
    without = peak_mib(None)
    assert without > 12
    assert peak_mib(COLLECTION) < 0.8 * without
    assert peak_mib(AUTO) < 0.75 * without


def test_a_budget_is_kept():
    within = peak_mib({TYPE: "auto", BUDGET: 9})
    assert peak_mib(AUTO) < within < peak_mib(None) - 2


# What is refused.

def refused(config, text, make=None, layout=None, x=None, kind=ConfigError):
    def script(stage):
        inputs = tf.placeholder(tf.float32, [None, 3]) if x is None else x()
        with stage(0):
            hidden = layered(inputs, 4, 3, every=10)
            if make is not None:
                make(hidden)
            loss = tf.reduce_mean(hidden)
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        rewrite(tf.get_default_graph())

    with pytest.raises(kind, match=text):
        devices.run(layout or Layout(), script, config)


def test_an_empty_collection_is_refused():
    refused(COLLECTION, "collection is empty: say what is to be kept, tf.add_to_collection.*auto")


def test_what_is_no_tensor_is_refused():
    refused(COLLECTION, "holds 'layer', which is no tensor",
            lambda hidden: tf.add_to_collection("checkpoints", "layer"))


def test_checkpoints_that_no_gradient_passes_through_are_refused():
    refused(COLLECTION, "no gradient passes through 'apart:0'.*add_to_collection",
            lambda hidden: tf.add_to_collection("checkpoints", tf.ones([2], name="apart")))


def test_a_budget_is_for_auto():
    refused({TYPE: "collection", BUDGET: 5}, "budget_mb = 5 with .*'collection'.*use type 'auto'")


def test_a_stage_that_is_not_there_is_refused():
    refused({TYPE: "auto", LAST: 3}, "end_taskgraph = 3, but the last TaskGraph of the model is 0")


def test_a_budget_needs_sizes():
    refused({TYPE: "auto", BUDGET: 5}, "the size of '.*' .* is not known before a step runs: give")


def test_a_budget_that_is_too_small_is_refused():
    refused({TYPE: "auto", BUDGET: 1}, r"budget_mb = 1, but .* stage 0 need (\d+) MiB at least",
            x=lambda: tf.placeholder(tf.float32, [2 ** 19, 3]))


def test_what_is_computed_again_is_not_fed():
    def script(stage):
        x = tf.placeholder(tf.float32, [None, 3])
        with stage(0):
            loss = tf.reduce_mean(layered(x, 4, 4, every=2))
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            rewrite(tf.get_default_graph())
            inner = min((op for op in copies_of(tf.get_default_graph())), key=compat.op_id)
            with pytest.raises(ValueError, match="is fed .* compute it again.*epl.divide_feed"):
                session.run(step, {x: FEATURES, inner.outputs[0]: np.ones([16, 4], np.float32)})
            session.run(step, {x: FEATURES})

    devices.run(Layout(), script, COLLECTION)


def test_without_a_strategy_the_key_would_do_nothing():
    with devices.started(Layout(), AUTO):
        weight = tf.get_variable("w", [])
        with pytest.raises(RuntimeError, match="sets gradient_checkpoint.type = 'auto', but no"):
            tf.train.GradientDescentOptimizer(0.1).minimize(weight ** 2)


def test_without_the_key_nothing_is_copied():
    assert state_of(built(Layout(), None)).find(Recomputed) is None


# check_gradients.

CHECKED = dict(AUTO, **{"gradient_checkpoint.check_gradients": True})


def checked_steps(stage):
    """Three steps of a model with a dense and a sparse gradient, dropout, and a loop."""
    x = tf.placeholder(tf.float32, [None, 3])
    with stage(0), tf.variable_scope("first"):
        table = tf.get_variable("table", [5, 3], initializer=tf.ones_initializer())
        rows = tf.nn.embedding_lookup(table, tf.cast(tf.abs(x[:, 0] * 3), tf.int32) % 5)
        hidden = layered(x + rows, 8, 5, dropout=0.2)
        _, hidden = tf.while_loop(lambda n, _: n < 2, lambda n, h: (n + 1, tf.sin(h)), [0, hidden])
    with stage(1), tf.variable_scope("second"):
        loss = tf.reduce_mean(tf.square(layered(hidden, 8, 4)))
    step = tf.train.AdamOptimizer(0.01).minimize(loss)
    with devices.session() as session:
        for _ in range(3):
            session.run(step, {x: FEATURES})
        return session.run({v.name: v for v in tf.global_variables()})


@pytest.mark.parametrize("layout", [Layout(), Layout(micro_batches=2),
                                    Layout(stages=2, micro_batches=2)], ids=str)
def test_gradients_are_compared(layout):
    with devices.unoptimized():
        devices.assert_same(devices.run(layout, checked_steps, CHECKED),
                            devices.run(layout, checked_steps), 0, 0)


@pytest.mark.parametrize("layout", [Layout(), Layout(stages=2, micro_batches=2)], ids=str)
def test_other_gradients_are_an_error(layout, monkeypatch):
    """Here copies multiply by the weights of another layer."""
    def build(self):
        made = usual(self)
        products = [copy for op, copy in made.copies.items() if "first/MatMul_" in op.name]
        for one, other in zip(products, products[1:]):
            compat.replace_input(one, one.inputs[1], other.inputs[1])
        return made

    usual = Builder.build
    monkeypatch.setattr(Builder, "build", build)
    with pytest.raises(tf.errors.InvalidArgumentError,
                       match="the gradient of .*first/.* is another one than without checkpoints"):
        devices.run(layout, checked_steps, CHECKED)
