# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Timelines of real steps: what they show is what the plan says."""

import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.env import Env
from epl.plan.action import BACKWARD, FORWARD
from epl.profiler import TimelineHook, trace_step
from tests.graph.devices import ACCUMULATION, BOTH, Layout, session, session_config, stages, started
from tests.support import layers
from tests.unit.test_timeline_files import check_nesting, png_size, rows

WIDTH = 96
LAYOUT = Layout(stages=2, micro_batches=4)


def build(stage, features, labels):
    """A network of two stages, of matrix products above all; the loss."""
    hidden = features
    for number in range(2):
        with stage(number):
            for _ in range(3):
                hidden = layers.dense(hidden, WIDTH, tf.tanh)
    with stage(2):
        return tf.reduce_mean(tf.square(hidden - labels))


def model(stage, rows_=64):
    """(loss, training operation, feeds)"""
    features, labels = [tf.placeholder(tf.float32, [None, WIDTH], name) for name in "xy"]
    loss = build(stage, features, labels)
    train = tf.train.AdamOptimizer().minimize(loss, tf.train.get_or_create_global_step())
    random = np.random.RandomState(0)
    return loss, train, {p: random.randn(rows_, WIDTH) for p in (features, labels)}


def check(timeline, num_stages, num_micro_batch):
    """All actions are there, on the right device, in the plan's order, and fed before they run.
    """
    spans = {span.action: span for span in timeline.spans if span.action is not None}
    assert not timeline.missing and len(spans) == 2 * num_stages * num_micro_batch
    for stage, planned in enumerate(timeline.plan.actions):
        own = [span for action, span in spans.items() if action.stage == stage]
        assert {span.device for span in own} == {"CPU:{}".format(stage)}
        assert tuple(span.action for span in own) == planned
        for before, after in zip(own, own[1:]):
            assert before.main[1] <= after.main[0] + 1000  # microsecond: the clock's grain
    for action, span in spans.items():
        step = 1 if action.kind == FORWARD else -1
        follower = spans.get(action._replace(stage=action.stage + step))
        if follower is not None:
            assert follower.main[0] >= span.main[1]
        if action.kind == FORWARD:
            assert spans[action._replace(kind=BACKWARD)].main[0] >= span.main[0]
    updates = [span for span in timeline.spans if span.action is None]
    assert updates and len({span.device for span in updates}) == len(updates)
    for update in updates:
        assert update.start >= max(s.end for s in spans.values() if s.device == update.device)
    bubble, slots = timeline.bubble, num_micro_batch + num_stages - 1
    assert 0 <= bubble.measured < 1 and 0 <= bubble.planned < 1
    assert bubble.equal_times == pytest.approx((num_stages - 1) / slots)
    assert min(bubble.times[FORWARD] + bubble.times[BACKWARD]) > 0


def test_hook_of_a_monitored_session(tmp_path, capfd):
    output_dir = str(tmp_path / "new")
    with started(LAYOUT):
        _, train, feeds = model(stages(LAYOUT))
        hook = TimelineHook(output_dir, steps=[3, 5, 50])
        with tf.train.MonitoredTrainingSession(hooks=[hook], config=session_config()) as monitored:
            for _ in range(7):
                monitored.run(train, feeds)
    printed = capfd.readouterr().out
    assert sorted(hook.timelines) == [3, 5]
    assert sorted(os.listdir(output_dir)) == [
        "timeline_3.json", "timeline_3.png", "timeline_5.json", "timeline_5.png"]
    for step, timeline in hook.timelines.items():
        assert timeline.step == step
        check(timeline, 2, 4)
        for line in timeline.describe().split("\n"):
            assert "epl timeline: " + line in printed
        assert min(png_size(os.path.join(output_dir, "timeline_{}.png".format(step)))) > 200
        with open(os.path.join(output_dir, "timeline_{}.json".format(step))) as file:
            trace = json.load(file)
        check_nesting(trace)
        for device in ("CPU:0", "CPU:1"):
            names = [s["name"] for s in rows(trace)[device, "actions"] if s["cat"] == "action"]
            assert set(names) == {phase + str(m) for phase in "FB" for m in range(4)}
        operations = {s["args"]["op"] for s in trace["traceEvents"]
                      if s.get("cat") == "operation" and "action" in s["args"]}
        assert len(operations) > 100
    assert ("epl timeline: no training step began at global step 50: this training began at 0 and "
            "was followed to 7") in printed


@pytest.mark.parametrize("schedule", ["PreferForward", "PreferBackwardOptimizer"])
def test_other_schedules(schedule, tmp_path):
    with started(LAYOUT, {"pipeline.strategy": schedule}):
        loss, train, feeds = model(stages(LAYOUT))
        with session() as plain:
            expected = plain.run([loss, train], feeds)[0]
            plain.run(tf.global_variables_initializer())
            plain.run(train, feeds)
            traced = trace_step(plain, {"loss": loss, "train": train}, feeds, str(tmp_path))
    check(traced.timeline, 2, 4)
    assert traced.timeline.step == 1 and traced.timeline.plan.schedule == schedule.lower()
    assert traced.values["train"] is None and traced.values["loss"] != expected
    assert [os.path.basename(path) for path in traced.files] == [
        "timeline_1.json", "timeline_1.png"]


def test_the_time_when_operations_could_have_run_is_known(tmp_path):
    with started(LAYOUT):
        _, train, feeds = model(stages(LAYOUT))
        with session() as plain:
            plain.run(train, feeds)
            events = trace_step(plain, train, feeds, str(tmp_path), picture=False).timeline.events
    ends = {event.name: event.end for event in events}
    assert all(0 <= event.ready <= event.start <= event.end for event in events)
    assert sum(event.ready < event.start for event in events) > 0.9 * len(events)
    # The layers of a stage wait for each other: ready is when the one before has ended.
    for before, after in (("dense/Tanh", "dense_1/BiasAdd"), ("dense_1/Tanh", "dense_2/BiasAdd")):
        if before in ends and after in ends:
            ready = next(event.ready for event in events if event.name == after)
            assert ready >= ends[before] - 1000


def test_gradient_accumulation_on_one_device(tmp_path):
    with started(ACCUMULATION):
        _, train, feeds = model(stages(ACCUMULATION))
        with session() as plain:
            plain.run(train, feeds)
            check(trace_step(plain, train, feeds, str(tmp_path)).timeline, 1, 2)


def test_replicas_in_one_worker(tmp_path):
    with started(BOTH):
        _, train, feeds = model(stages(BOTH))
        with session() as plain:
            plain.run(train, feeds)
            timeline = trace_step(plain, train, feeds, str(tmp_path)).timeline
    assert not timeline.missing
    acting = [span for span in timeline.spans if span.action]
    places = {(span.action.replica, span.action.stage): span.device for span in acting}
    assert places == {(0, 0): "CPU:0", (0, 1): "CPU:1", (1, 0): "CPU:2", (1, 1): "CPU:3"}
    assert len(acting) == 2 * 4 * 2


def test_two_optimizers_of_one_loss(tmp_path):
    with started(LAYOUT):
        loss, _, feeds = model(stages(LAYOUT))
        lower, upper = tf.trainable_variables()[:6], tf.trainable_variables()[6:]
        sgd = tf.train.GradientDescentOptimizer(0.1)
        train = [sgd.minimize(loss, var_list=lower), sgd.minimize(loss, var_list=upper)]
        with session() as plain:
            plain.run(train, feeds)
            check(trace_step(plain, train, feeds, str(tmp_path)).timeline, 2, 4)


def test_estimator(tmp_path):
    layout = Layout(stages=2, micro_batches=2)

    def model_fn(features, labels, mode):
        loss = build(stages(layout), features, labels)
        if mode != tf.estimator.ModeKeys.TRAIN:
            return tf.estimator.EstimatorSpec(mode, loss=loss)
        train = tf.train.AdamOptimizer().minimize(loss, tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    def input_fn():
        ones = np.ones([16, WIDTH], np.float32)
        return tf.data.Dataset.from_tensors((ones, ones)).repeat()

    with started(layout):
        hook = TimelineHook(str(tmp_path / "timelines"), steps=range(4, 6), picture=False)
        estimator = tf.estimator.Estimator(model_fn, str(tmp_path / "model"))
        estimator.train(input_fn, [hook], steps=3)
        assert not hook.timelines
        estimator.train(input_fn, [hook], steps=3)
    assert sorted(hook.timelines) == [4, 5]
    assert sorted(os.listdir(str(tmp_path / "timelines"))) == ["timeline_4.json", "timeline_5.json"]
    check(hook.timelines[5], 2, 2)


def test_runs_that_do_not_train_are_passed_over(tmp_path):
    with started(LAYOUT):
        loss, train, feeds = model(stages(LAYOUT))
        hook = TimelineHook(str(tmp_path), steps=[1], picture=False)
        with tf.train.MonitoredTrainingSession(hooks=[hook], config=session_config()) as monitored:
            monitored.run(train, feeds)
            monitored.run(loss, feeds)
            assert not hook.timelines
            monitored.run(train, feeds)
    check(hook.timelines[1], 2, 4)


def test_the_pictures_library_is_not_loaded_without_pictures(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)  # cannot be imported
    with started(LAYOUT):
        _, train, feeds = model(stages(LAYOUT))
        with session() as plain:
            assert trace_step(plain, train, feeds, str(tmp_path), picture=False).files.picture == ""


def test_only_the_chief_traces(tmp_path, monkeypatch):
    output_dir = str(tmp_path / "never")
    with started(LAYOUT):
        _, train, feeds = model(stages(LAYOUT))
        with session() as plain:
            monkeypatch.setattr(type(Env.get().cluster), "is_chief", False)
            traced = trace_step(plain, [train], feeds, output_dir)
            assert traced == ([None], None, None)
        hook = TimelineHook(output_dir, steps=[0])
        with tf.train.MonitoredTrainingSession(hooks=[hook], config=session_config()) as monitored:
            monitored.run(train, feeds)
    assert not hook.timelines and not os.path.exists(output_dir)


def test_refusals(tmp_path):
    file = str(tmp_path / "file")
    open(file, "w").close()
    with started(LAYOUT):
        loss, train, feeds = model(stages(LAYOUT))
        with pytest.raises(epl.ConfigError, match="give a local directory"):
            TimelineHook(file)
        with session() as plain:
            with pytest.raises(epl.ConfigError, match="give a local directory"):
                trace_step(plain, train, feeds, file)
            with pytest.raises(RuntimeError, match="fetch the training operation"):
                trace_step(plain, loss, feeds, str(tmp_path))
        with tf.train.MonitoredTrainingSession(config=session_config()) as monitored:
            with pytest.raises(TypeError, match="TimelineHook"):
                trace_step(monitored, train, feeds, str(tmp_path))
        with tf.Graph().as_default():
            tf.train.create_global_step()
            with pytest.raises(RuntimeError, match="no training step of EPL; set a strategy"):
                TimelineHook(str(tmp_path)).begin()
        with tf.Graph().as_default():
            weight = tf.get_variable("w", [])
            tf.gradients(stage_of_weight(weight), [weight])
            with pytest.raises(RuntimeError, match="get_or_create_global_step"):
                TimelineHook(str(tmp_path)).begin()


def stage_of_weight(weight):
    """A loss of two stages."""
    with stages(LAYOUT)(0):
        half = weight / 2
    with stages(LAYOUT)(1):
        return half * half


def test_before_init_there_is_nothing_to_trace(monkeypatch, tmp_path):
    monkeypatch.setattr(Env, "_instance", None)
    with pytest.raises(RuntimeError, match="TimelineHook needs epl.init"):
        TimelineHook(str(tmp_path))
