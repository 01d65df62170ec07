# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stages that EPL chooses: what is cut, what stays together, what it is said to cost."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.errors import ConfigError
from epl.ir import flops
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from epl.rewrite.planning.automatic import Automatic
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import Layout, started

TWO, WHOLE = Layout(stages=2, micro_batches=2), Layout(stages=2)
AUTO, NUMBER, BUDGET = "auto.auto_parallel", "pipeline.num_stages", "auto.memory_budget_mb"


def automatic(layout=TWO, **more):
    """EPL is initialized, and chooses the stages of `layout`."""
    return started(layout, dict({AUTO: True, NUMBER: layout.stages}, **more))


def rows(*shape):
    return tf.placeholder(tf.float32, [None] + list(shape or [8]), "x")


def weights(name, *shape):
    return tf.get_variable(name, list(shape or [8, 8]), initializer=tf.ones_initializer())


def cut(loss):
    """Train by `loss`, rewrite the graph. Returns (what was chosen, the stage of an operation)."""
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    rewrite(loss.graph)
    provenance = state_of(loss.graph).provenance
    return state_of(loss.graph).known(Automatic), lambda tensor: provenance.stage_of(
        getattr(tensor, "op", tensor))


def layers(x, number):
    found = [x]
    for each in range(number):
        found.append(tf.tanh(tf.matmul(found[-1], weights("w{}".format(each)))))
    return found


def test_equal_layers_are_cut_in_the_middle():
    with automatic() as graph:
        hidden = layers(rows(), 4)
        _, stage_of = cut(tf.reduce_mean(hidden[-1]))
        products = [t.op.inputs[0].op for t in hidden[1:]]
        stages = [stage_of(op) for op in products]
        assert stages == sorted(stages) and set(stages) == {0, 1}
        assert [op.device[-1] for op in products] == [str(stage) for stage in stages]
        # A variable, its initial value and its first assignment are where it is read.
        for stage, variable in zip(stages, tf.trainable_variables()):
            assert {stage_of(op) for op in (variable.op, variable.initializer,
                                            variable.initial_value)} == {stage}
        partition = groups_of(state_of(graph))[0].partition
        gradients = [op for op in partition.ops if op.type == "TanhGrad"]
        assert [partition.stage[op] for op in gradients] == [1, 1, 0, 0]


def test_blocks_are_cut_apart_not_through():
    """Inside of a block crosses four or five times as much as between two."""
    with automatic():
        hidden = tf.matmul(rows(), weights("first", 8, 256))
        between = []
        for number in range(4):
            between.append(hidden)
            wide = tf.tanh(tf.matmul(hidden, weights("out%d" % number, 256, 1024)))
            hidden = hidden + tf.matmul(wide, weights("in%d" % number, 1024, 256))
        found, stage_of = cut(tf.reduce_mean(hidden))
        assert [stage_of(t) for t in between[1:]] == [0, 0, 1]
        assert found.division.sent == 32 * 256 * 4  # counted for 32 rows
        assert found.first[1] in between[2].consumers()


def test_the_flops_of_all_parts_are_those_of_the_step():
    with automatic(WHOLE) as graph:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        found, _ = cut(tf.reduce_mean(layers(x, 3)[-1]))
        partition = groups_of(state_of(graph))[0].partition
        expected, unknown = flops.count(partition.ops)
        assert not unknown
        assert sum(unit.flops for unit in found.chain.units) == sum(expected.values())
        # 3 products and 3 x 2 for their gradients, but for that by x, 2 x 4 x 8 x 8 each.
        assert sum(expected.values()) >= 8 * 512


def test_what_crosses_is_counted_at_every_cut():
    with automatic(WHOLE):
        x = tf.placeholder(tf.float32, [4, 8], "x")
        first = tf.tanh(x, "first")
        hidden = tf.tanh(tf.matmul(first, weights("w")), "hidden")
        found, _ = cut(tf.reduce_mean(tf.concat([hidden, first], 1), name="loss"))
        names = ["first", "MatMul", "hidden", "concat", "loss"]
        # One tensor of 4 x 8 floats at first; in front of the concatenation two; twice as wide a
        # one behind it. Data crosses nothing.
        assert len(found.chain.units) == len(names)
        assert found.chain.widths() == [128, 256, 256, 256]


def test_a_variable_that_two_parts_read_is_with_the_first_and_crosses():
    with automatic(WHOLE):
        x = tf.placeholder(tf.float32, [4, 8], "x")
        table = weights("table")
        hidden = x
        for _ in range(2):
            hidden = tf.tanh(tf.matmul(hidden, table))
        found, stage_of = cut(tf.reduce_mean(hidden))
        assert stage_of(table) == 0
        assert max(found.chain.widths()) == 128 + 256


@pytest.mark.parametrize("version_2", [False, True])
def test_loops_and_branches_are_not_cut(version_2):
    with automatic(Layout(stages=3, micro_batches=2)):
        if version_2:
            tf.enable_control_flow_v2()
        try:
            x = rows()
            _, looped = tf.while_loop(
                lambda n, _: n < 3, lambda n, v: (n + 1, tf.tanh(tf.matmul(v, weights("w")))),
                [0, x])
            chosen = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(tf.cos(looped)),
                             lambda: tf.tanh(looped))
            found, stage_of = cut(tf.reduce_mean(tf.matmul(chosen, weights("v"))))
        finally:
            tf.disable_control_flow_v2()
        graph = tf.get_default_graph()
        provenance = state_of(graph).provenance
        own = [op for op in graph.get_operations()
               if not provenance.is_gradient(op) and not provenance.is_made(op)]
        loop = [op for op in own if compat.in_loop(op) or op.type in ("Enter", "Exit")]
        branches = [op for op in own if op.type in ("Sin", "Cos", "Merge", "Switch")
                    and op not in loop]
        assert version_2 or len({stage_of(op) for op in loop}) == 1
        assert version_2 or len({stage_of(op) for op in branches}) == 1
        assert sorted({stage_of(op) for op in own}) == [0, 1, 2]


def test_a_tensor_array_is_not_cut():
    with automatic():
        hidden = layers(rows(), 1)[-1]
        array = tf.TensorArray(tf.float32, 2).write(0, hidden).write(1, tf.tanh(hidden))
        found, stage_of = cut(tf.reduce_mean(tf.matmul(tf.reduce_sum(array.stack(), 0),
                                                       weights("last"))))
        assert len({stage_of(op) for op in tf.get_default_graph().get_operations()
                    if op.type.startswith("TensorArray") and "grad" not in op.name.lower()}) == 1


def test_a_moving_average_is_where_its_update_is():
    with automatic():
        hidden = layers(rows(), 3)[-1]
        average = tf.get_variable("average", [8], trainable=False)
        update = tf.assign_sub(average, 0.1 * (average - tf.reduce_mean(hidden, 0)))
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        found, stage_of = cut(tf.reduce_mean(hidden))
        assert [stage_of(each) for each in (hidden, update, average)] == [1, 1, 1]


def test_a_single_strategy_changes_nothing():
    def starts(annotate):
        with automatic():
            annotate()
            found, _ = cut(tf.reduce_mean(layers(rows(), 5)[-1]))
            return found.division, [op.name for op in found.first]

    assert starts(lambda: None) == starts(
        lambda: epl.set_default_strategy(epl.replicate(1, name="all")))


def test_what_is_built_later_has_a_stage_too():
    with automatic() as graph:
        x = tf.placeholder(tf.float32, [None, 8], "x")
        hidden = layers(x, 4)
        loss = tf.reduce_mean(hidden[-1])
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        with devices.session() as session:
            feed = {x: np.ones([8, 8], np.float32)}
            session.run(train, feed)
            later = tf.reduce_sum(hidden[-1] * 2.0) + tf.reduce_sum(hidden[1])
            session.run([later, train], feed)
        assert state_of(graph).provenance.stage_of(later.op) == 1
        assert epl.Graph.get().num_stages == 2


def test_a_penalty_on_gradients_trains_as_on_one_device():
    features, labels = devices.data(16)

    def script(stage):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        output = devices.network(x, stage)
        norm = tf.sqrt(tf.reduce_sum(tf.square(tf.gradients(output, x)[0]), 1))
        loss = tf.reduce_mean(tf.square(output - y)) + tf.reduce_mean(tf.square(norm - 1.0))
        train = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, train], {x: features, y: labels})[0] for _ in range(4)]
            return losses, session.run(tf.trainable_variables())

    plain = devices.reference("automatic penalty", script)
    with automatic():
        devices.assert_same(script(devices.stages(None)), plain)


def test_explain_says_where_the_stages_begin():
    with automatic():
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(layers(rows(), 4)[-1]))
        lines = epl.explain(rows=4).splitlines()
        first, second = [line for line in lines if " from '" in line]
        assert first.startswith("  stage 0 from 'MatMul': ") and "1,024 bytes cross" in first
        assert "  stage 1 from '" in second and ("MatMul_2" in second or "Tanh_2" in second)
        shares = [float(line.split(": ")[1].split(" %")[0]) for line in (first, second)]
        assert sum(shares) == pytest.approx(100, abs=0.11) and min(shares) > 20
        assert [line for line in lines if "predicted, in MiB" in line]


def test_a_budget_moves_the_cut_and_is_kept():
    """The first layer has a table of 4 MiB: with its gradient, and what momentum keeps, 12."""
    def cut_after(budget):
        with automatic(WHOLE, **{BUDGET: budget}):
            ids = tf.placeholder(tf.int32, [2], "ids")
            table = weights("table", 1 << 15, 32)
            hidden = tf.gather(table, ids)
            for number, units in enumerate([32, 512, 1024, 1024]):
                width = int(hidden.shape[-1])
                hidden = tf.tanh(tf.matmul(hidden, weights("w%d" % number, width, units)))
            found, stage_of = cut(tf.reduce_mean(hidden))
            stages = [stage_of(v) for v in tf.trainable_variables()]
            sizes = [v.shape.num_elements() * 4 for v in tf.trainable_variables()]
            return [3 * sum(size for size, stage in zip(sizes, stages) if stage == number)
                    for number in (0, 1)]

    assert max(cut_after(20)) <= 20 << 20
    with pytest.raises(ConfigError, match=r"memory_budget_mb = 11, but .* 2 stage\(s\), one of "
                       r"them needs (1[89]|2\d) MiB"):
        cut_after(11)


def refused(match, build=None, layout=TWO, **more):
    with pytest.raises(ConfigError, match=match):
        with automatic(layout, **more):
            (build or (lambda: cut(tf.reduce_mean(layers(rows(), 2)[-1]))))()


def test_what_cannot_work_is_refused_with_numbers():
    def annotated():
        hidden = rows()
        for name in ("lower", "upper"):
            with epl.replicate(1, name=name):
                hidden = tf.matmul(hidden, weights(name))
        cut(tf.reduce_mean(hidden))

    def slices():
        epl.set_default_strategy(epl.replicate(2))
        cut(tf.reduce_mean(layers(rows(), 2)[-1]))

    refused("auto_parallel = True, but .* 2 stages .'lower', 'upper'", annotated)
    refused(r"device_count=2\) with .*num_stages = 2.*device_count=1", slices)
    refused(r"num_stages = 4, but the model has 3 part.*use 3 or less",
            lambda: cut(tf.reduce_mean(layers(rows(), 1)[-1])), Layout(stages=4))
    refused("follows from no data", lambda: cut(tf.reduce_sum(weights("w"))))
    refused("memory_budget_mb is set, but the size of 'MatMul:0'", **{BUDGET: 100})


@pytest.mark.parametrize("options, words", [
    ({NUMBER: 2}, "num_stages = 2 without auto.auto_parallel"),
    ({BUDGET: 2}, "memory_budget_mb = 2, but EPL has nothing to choose"),
    ({"auto.device_speeds": "2 1"}, "device_speeds = '2 1', but EPL has nothing to choose"),
    ({NUMBER: 0, AUTO: True}, "num_stages = 0: use 1 or more"),
    ({BUDGET: 2, AUTO: True}, "memory_budget_mb = 2 with pipeline.num_stages = -1"),
])
def test_keys_that_contradict_one_another_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        epl.init(epl.Config(options))


def test_one_automatic_stage_is_data_parallel():
    with started(Layout(replicas=2), {AUTO: True}) as graph:
        tf.gradients(tf.reduce_mean(layers(rows(), 1)[-1]), tf.trainable_variables())
        rewrite(graph)
        assert (state_of(graph).plan.num_replicas, state_of(graph).plan.num_stages) == (2, 1)
