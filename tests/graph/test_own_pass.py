# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A pass of one's own: what it adds to the model is staged, cloned, placed and ordered."""

import os
import re

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir import editor
from epl.ir.graph_state import state_of
from epl.rewrite import passes
from epl.rewrite.groups import groups_of
from epl.rewrite.passes import FAMILY, PASSES, Pass
from tests.graph import devices
from tests.graph.devices import Layout
from tests.support.jobs import ROOT

FEATURES, LABELS = devices.data(32)
LAYOUT = Layout(stages=2, replicas=2, micro_batches=4)
STEPS = 1 / 64.0


def rounded(tensor):
    return tf.round(tensor / STEPS) * STEPS


def round_border(rewriting, family):
    """What goes from stage 0 to stage 1 has few digits; gradients go through as they are."""
    graph, provenance = rewriting.graph, rewriting.state.provenance
    border = graph.get_tensor_by_name("border:0")
    users = border.consumers()
    with editor.model(graph, "rounded", stage=0):
        value = rounded(border)
    read = [op for op in users if not provenance.is_gradient(op)]
    for op in users:  # and the gradients of what reads it
        if op in read or provenance.differentiated(op) in read:
            editor.replace_input(op, border, value)


ROUND = Pass("round_border", "rounds what goes from stage 0 to stage 1", FAMILY, round_border)


@pytest.fixture
def own_pass():
    before = list(PASSES)
    passes.insert(ROUND, before="partition")
    yield
    PASSES[:] = before


def train(stage, in_script):
    """Losses and variables; with `in_script` the script itself rounds, straight through."""
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    with stage(0):
        border = tf.identity(devices.dense(x, 4, "first", tf.tanh), "border")
        if in_script:
            border = border + tf.stop_gradient(rounded(border) - border)
    with stage(1):
        loss = tf.losses.mean_squared_error(y, devices.dense(border, 1, "second"))
    step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    with devices.session() as session:
        losses = [session.run([loss, step], {x: FEATURES, y: LABELS})[0] for _ in range(4)]
        return losses, session.run({v.name: v for v in tf.global_variables()})


def test_what_a_pass_adds_is_part_of_the_model(own_pass):
    found = {}

    def script(stage):
        result = train(stage, in_script=False)
        found["group"], = groups_of(state_of(tf.get_default_graph()))
        found["text"] = epl.explain(passes=True)
        return result

    parallel = devices.run(LAYOUT, script)
    devices.assert_same(parallel, devices.run(None, lambda stage: train(stage, in_script=True)))
    losses = devices.run(None, lambda stage: train(stage, in_script=False))[0]
    assert max(abs(a - b) for a, b in zip(losses, parallel[0])) > 1e-4  # it does differ
    group = found["group"]
    graph = group.ys[0].graph
    added = [op for op in graph.get_operations() if op.name.startswith("rounded/")]
    work = [op for op in added if op in group.partition.batch_dependent]
    assert [op.type for op in work if op.type == "Round"] == ["Round"]
    for op in work:
        assert group.partition.stage[op] == 0 and group.partition.phase[op] == "forward"
        placed = {group.clones.op(op, clone).device for clone in group.clones.clones}
        assert len({group.clones.op(op, clone) for clone in group.clones.clones}) == 8
        assert placed == {"/device:CPU:0", "/device:CPU:2"}  # stage 0 of both replicas
    line, = [line for line in found["text"].splitlines() if "round_border" in line]
    assert "operation(s) added (rounded/" in line and "input(s) replaced" in line


@pytest.mark.parametrize("added, before, message", [
    (ROUND, "nothing", "has to be new, and the other one of files"),
    (ROUND._replace(name="clones"), "order", "has to be new"),
    (ROUND._replace(needs=("clones",)), "partition",
     "needs clones, which no pass before 'partition'"),
])
def test_a_pass_that_does_not_fit_is_refused(added, before, message):
    with pytest.raises(ValueError, match=message):
        passes.insert(added, before)


def test_every_pass_gets_what_it_needs():
    made = set()
    for each in PASSES:
        assert set(each.needs) <= made, each.name
        made.update(each.makes)
    assert len({each.name for each in PASSES}) == len(PASSES)


def test_the_page_has_a_row_for_every_pass():
    with open(os.path.join(ROOT, "docs", "architecture.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| `(\w+)` \| (graph|family) \|", file.read(), re.MULTILINE)
    assert rows == [(each.name, each.over) for each in PASSES]


def test_before_a_run_the_passes_are_listed():
    def script(stage):
        with stage(0):
            loss = tf.reduce_mean(tf.get_variable("w", [3]))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        return epl.explain(passes=True)

    text = devices.run(Layout(micro_batches=2), script)
    assert all(each.about in text for each in PASSES)
