# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The passes on graphs of one process: seeds, walks, run descriptions, verification."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.errors import RewriteError
from epl.ir.graph_state import Collective, GradientGroup, GraphState, state_of
from epl.rewrite.seeds import vary_seeds
from epl.rewrite.verify import verify_group
from epl.rewrite.walk import ancestors
from epl.runtime.runs import describe

tf.disable_v2_behavior()


@pytest.fixture(autouse=True)
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


def seeds(tensor):
    """(seed, seed2) of every random operation behind `tensor`."""
    return [(op.get_attr("seed"), op.get_attr("seed2"))
            for op in sorted(ancestors([tensor.op]), key=lambda op: op.name)
            if op.type == "RandomUniform"]


def test_worker_zero_keeps_the_scripts_seeds():
    tf.set_random_seed(4)
    value = tf.random_uniform([3])
    before = seeds(value)
    assert vary_seeds([value], 0, set()) == []
    assert seeds(value) == before


def test_every_worker_gets_seeds_of_its_own_once():
    tf.set_random_seed(4)
    value = tf.nn.dropout(tf.ones([8]), rate=0.5) + tf.random_uniform([8], seed=9)
    before, varied = seeds(value), set()
    assert len(vary_seeds([value], 1, varied)) == 2
    after = seeds(value)
    assert all(a != b and a[1] > 0 for a, b in zip(after, before))
    assert vary_seeds([value], 1, varied) == []
    assert seeds(value) == after


def test_unseeded_operations_stay_unseeded():
    value = tf.random_uniform([3])
    assert vary_seeds([value], 2, set()) == []
    assert seeds(value) == [(0, 0)]


def test_different_workers_draw_differently_inside_a_loop():
    draws = []
    for worker in range(3):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(4)
            _, value = tf.while_loop(lambda i, _: i < 2,
                                     lambda i, v: (i + 1, v + tf.random_uniform([16])),
                                     [0, tf.zeros([16])])
            vary_seeds([value], worker, set())
            draws.append(session.run(value))
    assert not np.allclose(draws[0], draws[1]) and not np.allclose(draws[1], draws[2])


def test_a_seed_inside_a_function_is_refused_by_name():
    tf.enable_control_flow_v2()
    try:
        value = tf.cond(tf.placeholder_with_default(True, []),
                        lambda: tf.random_uniform([2], seed=3), lambda: tf.zeros([2]))
    finally:
        tf.disable_control_flow_v2()
    with pytest.raises(NotImplementedError, match="RandomUniform"):
        vary_seeds([value], 1, set())


@pytest.mark.parametrize("resource", [False, True])
def test_runs_that_write_variables_are_told_from_those_that_read(fresh_graph, resource):
    variable = tf.get_variable("v", [2], use_resource=resource)
    local = tf.Variable(0.0, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
    saver = tf.train.Saver()
    writes = [variable.initializer, tf.assign(variable, [1.0, 2.0]),
              variable.assign_add([1.0, 1.0]), tf.group(tf.scatter_update(variable, [0], [3.0])),
              fresh_graph.get_operation_by_name(saver.saver_def.restore_op_name)]
    reads = [variable.value(), variable + 1.0, tf.gather(variable, [0]), local.initializer,
             tf.report_uninitialized_variables(), saver.saver_def.save_tensor_name]
    for fetch in writes + reads:
        element = fresh_graph.as_graph_element(fetch)
        op = element if isinstance(element, tf.Operation) else element.op
        run = describe(fresh_graph, [op])
        assert run.writes == (fetch in writes), op.name
        assert run.step == ""


def test_a_run_that_reaches_a_collective_is_a_step(fresh_graph):
    collective = tf.identity(tf.constant(1.0))
    after, beside = collective + 1.0, tf.constant(2.0)
    group = GradientGroup("epl/gradients_0")
    group.collectives.append(Collective(collective.op, "all_reduce", "name", "float32", "[]"))
    state_of(fresh_graph).groups.append(group)
    assert "name" in describe(fresh_graph, [after.op]).step
    assert describe(fresh_graph, [beside.op]).step == ""
    with tf.control_dependencies([after]):
        assert "name" in describe(fresh_graph, [tf.no_op()]).step


def group_of(*pairs):
    group = GradientGroup("epl/gradients_0")
    for number, (raw, reduced) in enumerate(pairs):
        group.collectives.append(
            Collective(reduced.op, "all_reduce", "name_{}".format(number), "float32", "[]"))
        group.replaced.append((raw, reduced))
    state = GraphState()
    state.groups.append(group)
    return state, group


def test_verify_passes_a_sound_group():
    raw = tf.constant(1.0)
    state, group = group_of((raw, tf.identity(raw)))
    verify_group(state, group, [raw])


def test_verify_finds_an_unreduced_gradient():
    raw, forgotten = tf.constant(1.0), tf.constant(2.0, name="forgotten")
    state, group = group_of((raw, tf.identity(raw)))
    with pytest.raises(RewriteError, match="forgotten"):
        verify_group(state, group, [raw, forgotten])


def test_verify_finds_two_collectives_of_one_name():
    raw = tf.constant(1.0)
    state, group = group_of((raw, tf.identity(raw)))
    group.collectives.append(group.collectives[0])
    with pytest.raises(RewriteError, match="name_0"):
        verify_group(state, group, [raw])


def test_verify_finds_a_collective_in_a_branch():
    raw = tf.constant(1.0)
    inside = []
    tf.cond(tf.placeholder_with_default(True, []),
            lambda: inside.append(tf.identity(raw)) or inside[0], lambda: raw)
    state, group = group_of((raw, inside[0]))
    with pytest.raises(RewriteError, match="control flow"):
        verify_group(state, group, [raw])
