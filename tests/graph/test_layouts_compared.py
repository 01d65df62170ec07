# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which layout of a job's devices is said to be the fastest, and for which model."""

import contextlib
import re

import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.plan.measured import Measured
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import Layout, started
from tests.support.schedules import last_first, registering

ROW = re.compile(r"^([ *]) +(\d+) x (\d+) +(\d+)  (\S+) +([\d.]+) +[\d.]+ % +([\d.]+)$")
FOUR = Layout(stages=2, replicas=2, micro_batches=4)


def compared(width, rows, options=(), layers=4, layout=FOUR):
    """Rows of the table: (mark, replicas, stages, micro-batches, schedule, ms, MiB)."""
    with started(layout, dict(options)):
        hidden = tf.placeholder(tf.float32, [rows, width], "x")
        epl.divide_feed(hidden)
        for each in range(layers):
            with epl.replicate(1, name="stage_{}".format(each)) if each in (0, layers // 2) \
                    else contextlib.nullcontext():
                hidden = devices.dense(hidden, width, "layer_{}".format(each), tf.nn.relu)
        tf.train.AdamOptimizer().minimize(tf.reduce_mean(hidden))
        lines = epl.explain(layouts=True).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("layouts of"))
    assert "4 device(s) for the same 8 micro-batch(es)" in lines[first]
    return [(match[1], int(match[2]), int(match[3]), int(match[4]), match[5], float(match[6]),
             float(match[7])) for match in map(ROW.match, lines[first + 3:]) if match]


def test_all_layouts_are_there_by_time_and_the_scripts_own_is_marked():
    found = compared(64, 32)
    assert {row[1:3] for row in found} == {(4, 1), (2, 2), (1, 4)}
    assert all(row[1] * row[3] == 8 for row in found)
    times = [row[5] for row in found]
    assert times == sorted(times) and times[0] > 0
    assert [row[1:5] for row in found if row[0] == "*"] == [(2, 2, 4, "preferbackward")]


def test_small_weights_and_many_rows_are_for_replicas_and_large_weights_less_so():
    def shares(width, rows):
        """Time of four replicas beside that of four stages."""
        found = compared(width, rows)
        return min(row[5] for row in found if row[1:3] == (4, 1)) / min(
            row[5] for row in found if row[1:3] == (1, 4))

    assert compared(16, 8192)[0][1:3] == (4, 1)
    assert shares(2048, 8) > 1.1 * shares(16, 8192)


def test_memory_of_adam_is_four_times_the_gradients():
    row, = [row for row in compared(1024, 8) if row[1:3] == (4, 1)]
    assert row[6] == pytest.approx(4 * 4 * 1025 * 1024 * 4 / 2 ** 20, rel=0.02)


def test_the_budget_leaves_out_what_needs_more():
    options = {"auto.memory_budget_mb": 40, "pipeline.strategy": "auto"}
    found = compared(1024, 8, options)
    assert {row[1:3] for row in found} == {(2, 2), (1, 4)}
    assert all(row[6] <= 40 for row in found)


def test_a_schedule_of_the_scripts_own_is_among_those_that_it_can_run():
    def two(shape):
        return last_first(shape._replace(num_stages=2))

    with registering() as register:
        register("Two", two)
        found = compared(64, 32, {"pipeline.strategy": "Two"})
    assert [row[:5] for row in found if row[4] == "two"] == [("*", 2, 2, 4, "two")]
    assert {row[1:3] for row in found} == {(4, 1), (2, 2), (1, 4)}


def test_a_graph_without_gradients_has_no_layouts():
    with started(FOUR):
        devices.dense(tf.placeholder(tf.float32, [None, 4]), 4, "layer")
        assert "layouts" not in epl.explain(layouts=True)


def test_a_graph_that_a_session_has_run_is_another_one(tmp_path):
    """Its figures would not be those of the script: what the rewrite made would count."""
    path = str(tmp_path / "costs.json")
    Measured("cpu", tf.VERSION, 1.0, None, {"layer/MatMul": 10.0}).save(path)
    with started(Layout(micro_batches=2), {"auto.costs": path}) as graph:
        epl.set_default_strategy(epl.replicate(1))
        loss = tf.reduce_mean(devices.dense(tf.placeholder(tf.float32, [None, 4]), 4, "layer"))
        tf.train.AdamOptimizer().minimize(loss)
        told = epl.explain(layouts=True)
        assert "a step of a replica on paper: 0.020 ms" in told and "layouts of 1 device" in told
        rewrite(graph)
        told = epl.explain(layouts=True)
        assert "ask before the first session.run" in told.split("layouts are not compared")[1]
        assert "on paper" not in told
