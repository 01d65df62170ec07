# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""optimizer.num_apply_group: variables are updated group by group, with the same result."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.errors import ConfigError, RewriteError
from epl.ir.graph_state import state_of
from epl.ops.adam_weight_decay_optimizer import AdamWeightDecayOptimizer
from epl.profiler.memory import read_memory
from epl.rewrite.update_groups import UpdateGroups, verify_updates
from tests.graph import devices
from tests.graph.devices import Layout
from tests.support.optimizers import Shrinking

FEATURES, LABELS = devices.data(16)
TABLE = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
KEY = "optimizer.num_apply_group"


def clipped(optimizer, loss):
    pairs = optimizer.compute_gradients(loss)
    gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 0.5)
    return optimizer.apply_gradients(zip(gradients, [v for _, v in pairs]))


def if_finite(optimizer, loss):
    """As loss scaling skips a step: the updates are in a branch."""
    pairs = optimizer.compute_gradients(loss)
    finite = tf.reduce_all(tf.is_finite(tf.global_norm([g for g, _ in pairs])))
    return tf.cond(finite, lambda: optimizer.apply_gradients(pairs), tf.no_op)


TRAIN = {
    "adam": lambda loss: tf.train.AdamOptimizer(0.01).minimize(
        loss, global_step=tf.train.get_or_create_global_step()),
    "weight_decay": lambda loss: clipped(AdamWeightDecayOptimizer(0.01, 0.1), loss),
    "own": lambda loss: Shrinking().minimize(loss),
    "in_a_branch": lambda loss: if_finite(AdamWeightDecayOptimizer(0.01, 0.1), loss),
    "decay_behind": lambda loss: decayed(tf.train.AdamOptimizer(0.01).minimize(loss)),
    "average_behind": lambda loss: averaged(tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)),
}


def decayed(train):
    """Every variable is written again when all are updated."""
    with tf.control_dependencies([train]):
        return tf.group(*[v.assign_sub(0.01 * tf.ones_like(v)) for v in tf.trainable_variables()])


def averaged(train):
    with tf.control_dependencies([train]):
        return tf.train.ExponentialMovingAverage(0.9).apply(tf.trainable_variables())


def build(stage, resource, train):
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    with tf.variable_scope("", use_resource=resource):
        with stage(0):
            table = tf.get_variable("table", initializer=TABLE)
            rows = tf.cast(tf.abs(x[:, 0] * 3), tf.int32) % 5
            hidden = devices.dense(x + tf.nn.embedding_lookup(table, rows), 8, "first", tf.tanh)
        with stage(1):
            loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "second"))
        return x, y, loss, TRAIN[train](loss)


def trained(stage, resource, train):
    x, y, loss, step = build(stage, resource, train)
    with devices.session() as session:
        losses = [session.run([loss, step], {x: FEATURES, y: LABELS})[0] for _ in range(4)]
        return losses, session.run({v.name: v for v in tf.global_variables()})


@pytest.mark.parametrize("layout", [Layout(), Layout(stages=2, replicas=2, micro_batches=2)],
                         ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("train", sorted(TRAIN))
def test_groups_change_no_result(train, resource, layout):
    found = {}

    def script(stage):
        result = trained(stage, resource, train)
        found["units"] = state_of(tf.get_default_graph()).record(UpdateGroups).units
        return result

    devices.assert_same(devices.run(layout, script, {KEY: 3}),
                        devices.reference(("groups", resource, train), lambda stage: trained(
                            stage, resource, train)))
    assert len(found["units"]) == 1 + (train == "decay_behind")
    for unit in found["units"]:
        assert len(unit.groups) == 3 and len(unit.barriers) == 2
        assert all(unit.groups)


def test_a_group_begins_when_the_one_before_it_is_done():
    """Every update counts those that are done, and says how many it saw."""
    done = []

    def script(stage):
        with stage(0):
            x = tf.placeholder_with_default(FEATURES, [None, 3])
            loss = tf.reduce_sum(devices.dense(x, 2, "first"))
        pairs = tf.train.GradientDescentOptimizer(0.1).compute_gradients(loss)
        updates = []
        for gradient, variable in pairs:
            name = variable.op.name
            after = tf.py_func(lambda g, v, name=name: done.append(name) or v - g,
                               [gradient, variable.read_value()], tf.float32)
            updates.append(tf.assign(variable, tf.reshape(after, variable.shape)))
        step = tf.group(*updates)
        with devices.session() as session:
            for _ in range(5):
                session.run(step)

    devices.run(Layout(), script, {KEY: 2})
    assert len(done) == 10 and done[0] != done[1]
    assert done == done[:2] * 5  # the larger variable is in the first group, always


SIDE, NUMBER = 256, 8


class Rooted(tf.train.Optimizer):
    """One that keeps nothing of what it computes, as variables are changed in place."""

    def __init__(self):
        super().__init__(False, "rooted")

    def _resource_apply_dense(self, grad, handle):
        with tf.name_scope("rooted/"):
            size = tf.sqrt(tf.square(grad) + tf.exp(grad) + 1.0)
            return handle.assign_sub(0.01 * tf.tanh(grad) / size)


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_less_is_computed_at_a_time(groups):
    """The most bytes that the optimizer's own tensors hold at a time, from allocation records.

    Without groups TensorFlow may compute all variables' at once; how many it does (here 13 to 16
    of 24) depends on threads. One group's tensors are a bound that no timing can break.
    """
    def peak(stage):
        with stage(0):
            x = tf.placeholder_with_default(np.ones([2, SIDE], np.float32), [None, SIDE])
            for number in range(NUMBER):
                weight = tf.get_variable("w{}".format(number), [SIDE, SIDE], use_resource=True,
                                         initializer=tf.constant_initializer(0.01))
                x = tf.tanh(tf.matmul(x, weight))
        step = Rooted().minimize(tf.reduce_sum(x))
        graph = tf.get_default_graph()
        names = {op.name for op in graph.get_operations() if op.name.startswith("rooted/")}
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        config = tf.ConfigProto(inter_op_parallelism_threads=8)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with devices.session(config=config) as session:
            session.run(step)
            told = tf.RunMetadata()
            session.run(step, options=options, run_metadata=told)
        return max(memory.peak_of(names) for memory in read_memory(told.step_stats))

    one = 4 * SIDE * SIDE
    # The square, the power and the step of each variable; all that follows takes over their memory.
    found = devices.run(Layout(), peak, {KEY: groups})
    assert one < found <= 3 * one * NUMBER // groups + 1024  # and some numbers


def test_a_part_of_what_is_updated_together_is_refused():
    def script(stage):
        x, y, loss, step = build(stage, True, "adam")
        graph = tf.get_default_graph()
        part = next(op for op in graph.get_operations() if op.type == "ResourceApplyAdam")
        with devices.session() as session:
            with pytest.raises(ValueError, match="updates '.*', but not '.*num_apply_group"):
                session.run(part, {x: FEATURES, y: LABELS})
            before = session.run(loss, {x: FEATURES, y: LABELS})
            session.run(step, {x: FEATURES, y: LABELS})
            assert session.run(loss, {x: FEATURES, y: LABELS}) < before

    devices.run(Layout(), script, {KEY: 2})


def test_steps_that_run_apart_are_grouped_apart():
    def script(stage):
        with stage(0):
            x = tf.placeholder(tf.float32, [None, 3])
            first, second = [devices.dense(x, 2, name) for name in ("one", "other")]
        steps = [tf.train.MomentumOptimizer(0.1, 0.9).minimize(
            tf.reduce_mean(tf.square(y)), var_list=tf.trainable_variables(name))
            for y, name in ((first, "one"), (second, "other"))]
        with devices.session() as session:
            session.run(steps[0], {x: FEATURES})
            after = session.run({v.name: v for v in tf.global_variables()})
            session.run(steps[1], {x: FEATURES})
            return after, session.run({v.name: v for v in tf.global_variables()})

    devices.assert_same(devices.run(Layout(micro_batches=2), script, {KEY: 2}),
                        devices.run(None, script))


def test_optimizers_that_share_variables_are_run_in_turns():
    def script(stage):
        with stage(0):
            x = tf.placeholder(tf.float32, [None, 3])
            shared = devices.dense(x, 4, "shared", tf.tanh)
            losses = [tf.reduce_mean(tf.square(devices.dense(shared, 1, name)))
                      for name in ("one", "other")]
        steps = [optimizer.minimize(loss) for optimizer, loss in zip(
            (tf.train.AdamOptimizer(0.01), tf.train.MomentumOptimizer(0.1, 0.9)), losses)]
        both = tf.group(*steps)
        with devices.session() as session:
            for step in steps + steps + [steps[1]]:
                session.run(step, {x: FEATURES})
            after = session.run({v.name: v for v in tf.global_variables()})
            assert both.control_inputs
            return after

    devices.assert_same(devices.run(Layout(micro_batches=2), script, {KEY: 2}),
                        devices.run(None, script))


def test_more_groups_than_variables_are_an_error():
    with pytest.raises(ConfigError, match="num_apply_group = 9, but .* updates 5 variable.s.*most"):
        devices.run(Layout(), lambda stage: trained(stage, False, "adam"), {KEY: 9})


def test_an_update_that_does_not_wait_is_found():
    def script(stage):
        build(stage, True, "adam")
        graph = tf.get_default_graph()
        graph.finalize()
        return graph

    graph = devices.run(Layout(), script, {KEY: 2})
    state = state_of(graph)
    verify_updates(state)
    unit, = state.record(UpdateGroups).units
    for op in sorted(unit.barriers, key=lambda op: op.name):
        for user in graph.get_operations():
            if op in user.control_inputs:
                compat.remove_control_inputs(user, [op])
    with pytest.raises(RewriteError, match="begins a group of updates, does not wait for"):
        verify_updates(state)


def test_without_a_strategy_the_key_would_do_nothing():
    with devices.started(Layout(), {KEY: 2}):
        weight = tf.get_variable("w", [])
        with pytest.raises(RuntimeError, match="sets optimizer.num_apply_group = 2, but no strat"):
            tf.train.GradientDescentOptimizer(0.1).minimize(weight ** 2)


def test_one_group_is_no_group():
    def script(stage):
        build(stage, True, "adam")
        tf.get_default_graph().finalize()
        return state_of(tf.get_default_graph()).find(UpdateGroups)

    assert devices.run(Layout(), script) is None
    assert epl.Config().optimizer.num_apply_group == 1
