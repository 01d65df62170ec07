# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules that EPL chooses: by the times of their stages, within a budget, with equal results."""

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.errors import ConfigError
from epl.ir.graph_state import state_of
from epl.plan import schedules
from epl.plan.action import BACKWARD, FORWARD, Action
from epl.rewrite.planning.chosen import Chosen
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import Layout, started
from tests.support.schedules import registering

AUTO = {"pipeline.strategy": "auto"}
FOUR = Layout(stages=2, micro_batches=4)
BUDGET = "auto.memory_budget_mb"
WIDTH = 1024


def model(sizes, rows=64):
    """Layers that compute so much in each stage; a step that trains them by Adam."""
    hidden = tf.placeholder(tf.float32, [None, WIDTH], "x")
    hidden.set_shape([rows, WIDTH])
    epl.divide_feed(hidden)
    for stage, number in enumerate(sizes):
        with epl.replicate(1, name="stage_{}".format(stage)):
            for each in range(number):
                hidden = devices.dense(hidden, WIDTH, "layer_{}_{}".format(stage, each), tf.tanh)
    return tf.train.AdamOptimizer().minimize(tf.reduce_mean(tf.square(hidden)))


def chosen(sizes, layout=FOUR, options=(), **more):
    """What is carried out: the choice, of which the plan of the graph is part."""
    with started(layout, dict(AUTO, **dict(options)), **more) as graph:
        model(sizes)
        rewrite(graph)
        found = state_of(graph).known(Chosen)
        assert state_of(graph).plan == found.best.plan
        return found


def names(found):
    return [each.plan.schedule for each in found.others]


def test_with_equal_stages_the_halves_of_backwards_fill_the_bubble():
    found = chosen([2, 2])
    assert names(found)[0] == found.best.plan.schedule == "zb-h1"
    # Where F = I = W 1F1B takes 15 of them, ZB-H1 13; the first layer needs no gradient of x.
    times = {each.plan.schedule: each.time for each in found.others}
    assert 1.1 < times["preferbackward"] / times["zb-h1"] < 1.2
    assert times["preferforward"] == times["preferbackward"]


def test_where_one_stage_is_all_the_others_wait_for_it_needs_least_memory():
    found = chosen([4, 1])
    assert found.best.plan.schedule == "preferbackward"
    assert "zb-h1" in names(found)


def test_unequal_devices_are_counted_with():
    """What is equal on equal devices is not on others, and the other way round."""
    speeds = {"auto.device_speeds": "1 4"}
    assert chosen([2, 2], options=speeds).best.plan.schedule == "preferbackward"
    assert chosen([1, 4], options=speeds).best.plan.schedule == "zb-h1"
    with pytest.raises(ConfigError, match=r"has 3 speed\(s\), but a replica of the model has 2"):
        chosen([1, 1], options={"auto.device_speeds": "1 1 1"})


def test_many_micro_batches_leave_little_to_gain():
    found = chosen([1, 1], Layout(stages=2, micro_batches=64))
    times = {each.plan.schedule: each.time for each in found.others}
    assert times["preferbackward"] <= 1.02 * min(times.values())
    assert found.best.plan.schedule == "preferbackward"


def test_the_budget_rules_out_what_keeps_more():
    found = chosen([2, 2], Layout(stages=2, micro_batches=8))
    kept = {each.plan.schedule: each.memory for each in found.others}
    state, row = 2 * (WIDTH + 1) * WIDTH * 4 * 4, 64 * WIDTH * 4
    assert kept["preferforward"] > kept["zb-h1"] >= kept["preferbackward"]
    # Weights, gradients and two moments; 8 micro-batches in flight, 2 or 3 tensors of each.
    assert state + 16 * row <= kept["preferforward"] <= state + 24 * row
    limit = {BUDGET: kept["zb-h1"] // 2 ** 20 + 1}
    found = chosen([2, 2], Layout(stages=2, micro_batches=8), limit)
    assert found.best.plan.schedule == "zb-h1" and "preferforward" not in names(found)
    with pytest.raises(ConfigError, match=r"memory_budget_mb = 1, but whatever the schedule, a "
                                          r"device keeps \d+ MiB") as refused:
        chosen([2, 2], options={BUDGET: 1})
    least = int(str(refused.value).split("keeps ")[1].split()[0])
    assert chosen([2, 2], options={BUDGET: least})


def test_automatic_stages_keep_to_the_budget_with_the_schedule():
    options = {"auto.auto_parallel": True, "pipeline.num_stages": 2}

    def cut(budget):
        with started(Layout(stages=2, micro_batches=8),
                     dict(AUTO, **dict(options, **({BUDGET: budget} if budget else {})))) as graph:
            hidden = tf.placeholder(tf.float32, [64, WIDTH], "x")
            epl.divide_feed(hidden)
            for each in range(4):
                hidden = devices.dense(hidden, WIDTH, "layer_{}".format(each), tf.tanh)
            tf.train.AdamOptimizer().minimize(tf.reduce_mean(tf.square(hidden)))
            rewrite(graph)
            return state_of(graph).known(Chosen)

    found = cut(0)
    assert found.best.plan.schedule == "zb-h1"
    least = min(each.memory for each in found.others)
    tight = cut(-(-least // 2 ** 20))
    assert tight.best.memory <= -(-least // 2 ** 20) << 20
    with pytest.raises(ConfigError, match="however the model is cut into 2"):
        cut(1)


def test_several_stages_on_a_device():
    layout, options = Layout(stages=4, micro_batches=4), {"pipeline.num_chunks": 2}
    found = chosen([1, 1, 1, 1], layout, options, devices=2)
    assert set(names(found)) == {"preferbackward", "zb-v"}
    assert found.best.plan.schedule == names(found)[0] == "zb-v"
    # Interleaved stages take micro-batches in rounds of two.
    assert names(chosen([1, 1, 1, 1], layout._replace(micro_batches=5), options, devices=2)) == [
        "zb-v"]


def test_schedules_of_others_take_part():
    def backwards_first(shape):
        return [[Action(kind, stage, m) for m in range(shape.num_micro_batch)
                 for kind in (FORWARD, BACKWARD)] for stage in range(shape.num_stages)]

    def impossible(shape):
        raise ValueError("not with {} stages".format(shape.num_stages))

    with registering():
        schedules.register("one by one", backwards_first)
        schedules.register("never", impossible)
        found = chosen([2, 2])
    assert "one by one" == names(found)[-1] and "never" not in names(found)


def test_explain_shows_what_will_be_carried_out(capsys):
    with started(FOUR, AUTO) as graph:
        early = epl.explain()
        model([2, 2])
        before = epl.explain()
        rewrite(graph)
        after = epl.explain()
    capsys.readouterr()
    assert "chosen" not in early
    for text in (before, after):
        assert "schedule zb-h1 (assumed" in text
        assert "schedule chosen: zb-h1 (time: with the assumed rates of a CPU)" in text
        assert "  preferbackward: 1" in text


def test_a_second_loss_keeps_to_what_was_chosen():
    """What comes into the graph when it has been run has the schedule that runs."""
    with started(FOUR, AUTO) as graph:
        model([2, 2])
        rewrite(graph)
        first = state_of(graph).plan
        late = tf.reduce_mean(devices.dense(graph.get_tensor_by_name("x:0"), 4, "late"))
        tf.train.GradientDescentOptimizer(0.1).minimize(late)
        rewrite(graph)
        assert state_of(graph).plan == first and first.schedule == "zb-h1"


@pytest.mark.parametrize("layout", [FOUR, Layout(micro_batches=2), Layout(replicas=2),
                                    Layout(stages=2, replicas=2, micro_batches=3)], ids=str)
def test_training_is_that_of_one_device(layout):
    features, labels = devices.data(24)

    def script(stage):
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        loss = tf.reduce_mean(tf.square(devices.network(x, stage) - y))
        train = tf.train.AdamOptimizer(0.01).minimize(loss)
        with devices.session() as session:
            losses = [session.run([loss, train], {x: features, y: labels})[0] for _ in range(6)]
            return losses, session.run(tf.global_variables())

    with devices.unoptimized():
        expected = devices.run(None, script)
    devices.assert_same(devices.run(layout, script, AUTO), expected)


def test_sizes_that_a_budget_needs():
    with started(FOUR, dict(AUTO, **{BUDGET: 100})) as graph:
        x = tf.placeholder(tf.float32, [None, 3])
        loss = tf.reduce_mean(tf.square(devices.network(x, devices.stages(FOUR))))
        tf.train.AdamOptimizer().minimize(loss)
        with pytest.raises(ConfigError, match="memory_budget_mb is set, but the size of"):
            rewrite(graph)


def test_before_the_gradients_are_there_nothing_is_chosen_yet():
    with started(FOUR, AUTO):
        hidden = tf.placeholder(tf.float32, [None, 4])
        for stage in range(2):
            with epl.replicate(1, name="stage_{}".format(stage)):
                hidden = devices.dense(hidden, 4, "layer_{}".format(stage))
        assert "the schedule is chosen behind the optimizer's minimize" in epl.explain()
        tf.train.AdamOptimizer().minimize(tf.reduce_mean(hidden))
        told = epl.explain()
        assert "schedule chosen" in told and "behind the optimizer" not in told.split("memory")[0]
