# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The passes on graphs of one process: seeds, walks, run descriptions, verification."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.communicators.base import Collective, all_workers
from epl.errors import RewriteError
from epl.ir.environment import plan_for
from epl.ir.graph_state import state_of
from epl.ir.ownership import Ownership
from epl.plan.parallel_plan import make_plan
from epl.rewrite import verify
from epl.rewrite.groups import Gradient, GradientGroup, groups_of
from epl.rewrite.place import Devices
from epl.rewrite.rewriter import rewrite
from epl.rewrite.seeds import check_seeds, vary_seeds
from epl.rewrite.walk import ancestors
from epl.runtime.runs import describe
from tests.graph.devices import control_flow_v2
from tests.support import layers

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
    varied = set()
    vary_seeds([value], 0, varied)
    assert varied == set()
    assert seeds(value) == before


def test_every_worker_gets_seeds_of_its_own_once():
    tf.set_random_seed(4)
    value = tf.nn.dropout(tf.ones([8]), rate=0.5) + tf.random_uniform([8], seed=9)
    before, varied = seeds(value), set()
    vary_seeds([value], 1, varied)
    assert len(varied) == 2
    after = seeds(value)
    assert all(a != b and a[1] > 0 for a, b in zip(after, before))
    vary_seeds([value], 1, varied)
    assert len(varied) == 2
    assert seeds(value) == after


def test_unseeded_operations_stay_unseeded():
    value = tf.random_uniform([3])
    varied = set()
    vary_seeds([value], 2, varied)
    assert varied == set()
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
    with control_flow_v2():
        value = tf.cond(tf.placeholder_with_default(True, []),
                        lambda: tf.random_uniform([2], seed=3), lambda: tf.zeros([2]))
    with pytest.raises(NotImplementedError, match="RandomUniform"):
        check_seeds([value])


@pytest.mark.parametrize("resource", [False, True])
def test_runs_that_write_variables_are_told_from_those_that_read(fresh_graph, resource):
    epl.init()
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
        run = describe(fresh_graph, [], [op])
        assert run.writes == (fetch in writes), op.name
        assert run.step == ""


@pytest.fixture
def rewritten(monkeypatch):
    """A group of gradients of 2 stages x 2 replicas x 2 micro-batches, and what belongs to it."""
    for name, value in {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_GPU_PER_WORKER": "4",
                        "EPL_DEVICE_TYPE": "cpu"}.items():
        monkeypatch.setenv(name, value)
    epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 3])
        with epl.replicate(1):
            hidden = layers.dense(x, 4)
        with epl.replicate(1):
            loss = tf.reduce_mean(layers.dense(hidden, 1) ** 2)
        tf.gradients(loss, tf.trainable_variables())
        rewrite(graph)
        state = state_of(graph)
        yield groups_of(state)[0], plan_for(graph), state.known(Devices)
    monkeypatch.undo()
    epl.init()


def test_a_run_that_needs_a_gradient_is_a_step(rewritten):
    group = rewritten[0]
    graph, returned = group.ys[0].graph, group.gradients[0].returned
    after, beside = returned + 1.0, tf.constant(2.0)
    assert group.name in describe(graph, [after], []).step
    assert describe(graph, [beside], []).step == ""
    assert describe(graph, [group.ys[0]], []).step == ""
    with tf.control_dependencies([after]):
        assert group.name in describe(graph, [], [tf.no_op()]).step


def verify_group(group, plan, devices):
    verify.verify_collectives(group, plan, Ownership(all_workers(plan.num_workers), 0))
    verify.verify_aggregation(group)
    verify.verify_clones(group)
    verify.verify_order(group)
    verify.verify_devices(group, devices)


def test_verify_passes_a_sound_group(rewritten):
    verify_group(*rewritten)


def test_verify_finds_a_clone_whose_gradient_is_forgotten(rewritten):
    gradient = rewritten[0].gradients[0]
    compat.replace_input(gradient.returned.op, gradient.returned.op.inputs[0], gradient.raw)
    with pytest.raises(RewriteError, match="without that of"):
        verify_group(*rewritten)


def test_verify_finds_a_clone_that_reads_from_another(rewritten):
    group = rewritten[0]
    first, other = group.clones.clones[1:3]
    copy = group.clones.tensor(group.ys[0], first).op
    wrong = group.clones.tensor(group.ys[0].op.inputs[0], other)
    compat.replace_input(copy, copy.inputs[0], wrong)
    with pytest.raises(RewriteError, match="reads .* instead of"):
        verify_group(*rewritten)


def test_verify_finds_a_missing_edge_of_the_schedule(rewritten):
    edge = rewritten[0].edges[-1]
    compat.remove_control_inputs(edge.after, [edge.barrier])
    with pytest.raises(RewriteError, match="does not wait"):
        verify_group(*rewritten)


def test_verify_finds_an_operation_on_the_wrong_device(rewritten):
    group = rewritten[0]
    copy = group.clones.tensor(group.ys[0], group.clones.clones[1]).op
    copy._set_device("/device:CPU:0")
    with pytest.raises(RewriteError, match="is on '/device:CPU:0'"):
        verify_group(*rewritten)


def test_verify_finds_a_replica_on_the_devices_of_another(rewritten, monkeypatch):
    """Whatever `choose` says, by which it was placed."""
    group, _, devices = rewritten
    other = next(clone for clone in group.clones.clones if clone.replica == 1)
    copy, wrong = group.clones.tensor(group.ys[0], other).op, group.ys[0].op.device
    assert copy.device != wrong
    copy._set_device(wrong)
    monkeypatch.setattr(devices, "choose", lambda op, *_: op.device)
    with pytest.raises(RewriteError, match="{}' instead of".format(wrong)):
        verify_group(*rewritten)


def test_verify_finds_two_collectives_of_one_name(fresh_graph):
    collective = Collective(tf.no_op(), "all_reduce", "name_0", "float32", "[]")
    state = state_of(fresh_graph)
    groups_of(state).append(GradientGroup("epl/gradients_0", [], []))
    groups_of(state)[0].collectives += [collective, collective]
    with pytest.raises(RewriteError, match="name_0"):
        verify.verify_names(state)


def two_workers():
    return make_plan([("", 1)], 2, 1)


def test_verify_finds_an_unreduced_gradient():
    forgotten = tf.constant(2.0, name="forgotten")
    gradient = Gradient(tf.get_variable("v", []), forgotten, forgotten)
    group = GradientGroup("epl/gradients_0", [], [gradient])
    with pytest.raises(RewriteError, match="forgotten.*over workers 0, 1"):
        verify_group(group, two_workers(), None)


def test_verify_finds_a_collective_in_a_branch():
    raw = tf.constant(1.0)
    inside = []
    tf.cond(tf.placeholder_with_default(True, []),
            lambda: inside.append(tf.identity(raw)) or inside[0], lambda: raw)
    group = GradientGroup("epl/gradients_0", [], [])
    group.collectives.append(Collective(inside[0].op, "all_reduce", "name", "float32", "[]"))
    with pytest.raises(RewriteError, match="control flow"):
        verify_group(group, two_workers(), None)
