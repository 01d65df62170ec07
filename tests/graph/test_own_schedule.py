# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A schedule of the script's own goes wherever those of EPL go, and trains the same model."""

import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.environment import plan_for
from epl.plan import schedules
from epl.plan.action import Action
from epl.plan.drawing import draw
from epl.plan.simulator import simulate
from epl.profiler import trace_step
from tests.graph.devices import ABSOLUTE, RELATIVE, Layout, run, session, stages, started
from tests.support import layers
from tests.support.schedules import OTHERS, last_first, registering
from tests.unit.test_timeline_files import png_size

LAYOUT = Layout(stages=2, micro_batches=4)
BOTH = Layout(stages=2, replicas=2, micro_batches=4)


@pytest.fixture(name="registered", autouse=True)
def _registered():
    """The schedules have names during a test."""
    with registering() as register:
        for name, schedule in OTHERS.items():
            register(name, schedule)
        yield


DRAWING = """
stage 0 | F0 F1 F2 F3 .  .  B3 B2 B1 B0
stage 1 | .  F0 F1 F2 F3 B3 B2 B1 B0 .
""".strip()


def test_it_is_configured_planned_simulated_drawn_and_explained(capsys):
    simulation = simulate(last_first(schedules.Shape(2, 4)))
    assert (simulation.makespan, simulation.peak_in_flight) == (10, (4, 4))
    assert draw(simulation) == DRAWING
    with started(LAYOUT, {"pipeline.strategy": "LastFirst"}) as graph:
        training(stages(LAYOUT))
        plan = plan_for(graph)
        assert plan.schedule == "lastfirst" and plan.simulate() == simulation
        told = epl.explain()
    assert "schedule lastfirst (assumed" in told and DRAWING in told
    assert told in capsys.readouterr().out


def training(stage):
    """(loss, training operation, feeds): an embedding and dense layers."""
    ids = tf.placeholder(tf.int32, [None, 3])
    labels = tf.placeholder(tf.float32, [None, 5])
    start = tf.random_uniform_initializer(-0.5, 0.5, seed=3)
    with stage(0):
        table = tf.get_variable("table", [7, 4], initializer=start)
        hidden = tf.reshape(tf.nn.embedding_lookup(table, ids), [-1, 12])
        hidden = layers.dense(hidden, 6, tf.tanh, kernel_initializer=start)
    with stage(1):
        result = layers.dense(hidden, 5, kernel_initializer=start)
        loss = tf.reduce_mean(tf.square(result - labels))
    step = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(0.05).minimize(loss, step)
    random = np.random.RandomState(5)
    return loss, train, {ids: random.randint(0, 7, [16, 3]), labels: random.randn(16, 5)}


def five_steps(stage):
    """The losses and what the variables are in the end."""
    loss, train, feeds = training(stage)
    with session() as running:
        losses = [running.run([loss, train], feeds)[0] for _ in range(5)]
        return [losses] + running.run(tf.trainable_variables())


@pytest.mark.parametrize("layout", [LAYOUT, BOTH], ids=str)
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_it_trains_what_plain_tensorflow_trains(name, layout):
    expected = run(None, five_steps)
    found = run(layout, five_steps, {"pipeline.strategy": name})
    assert expected[0][-1] < 0.9 * expected[0][0]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, RELATIVE, ABSOLUTE)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_timelines_show_it(name, tmp_path):
    with started(LAYOUT, {"pipeline.strategy": name}):
        _, train, feeds = training(stages(LAYOUT))
        with session() as running:
            running.run(train, feeds)
            traced = trace_step(running, train, feeds, str(tmp_path))
    timeline = traced.timeline
    assert not timeline.missing and "schedule {}".format(name.lower()) in timeline.describe()
    for stage, planned in enumerate(timeline.plan.actions):
        acting = [s for s in timeline.spans if s.action and s.action.stage == stage]
        assert tuple(s.action for s in sorted(acting, key=lambda s: s.end)) == planned
    with open(traced.files.trace) as file:
        shown = [s["args"] for s in json.load(file)["traceEvents"] if s.get("cat") == "action"]
    assert {Action(s["kind"], s["stage"], s["micro_batch"]) for s in shown} == {
        action for own in timeline.plan.actions for action in own}
    assert min(png_size(os.path.join(str(tmp_path), "timeline_1.png"))) > 200
