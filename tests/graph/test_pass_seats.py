# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where workers hold a replica together, every operation says on which worker it is."""

import pytest
import tensorflow.compat.v1 as tf

from epl.communicators.base import all_workers
from epl.ir.graph_state import state_of
from epl.ir.ownership import Ownership
from epl.plan.parallel_plan import make_plan
from epl.rewrite import seats
from epl.rewrite.clones import CloneId
from epl.rewrite.place import Devices

LEADER, OTHER = ["/job:worker/replica:0/task:{}".format(task) for task in (0, 1)]


@pytest.fixture
def devices():
    """Two workers of one device each, with a stage on each, in a graph of their own."""
    with tf.Graph().as_default() as graph:
        found = Devices(make_plan([("", 1)] * 2, 2, 1), 0, "cpu", Ownership(all_workers(1), 0))
        state_of(graph).keep(found)
        yield found


def take():
    graph = tf.get_default_graph()
    seats.take(graph, state_of(graph))


def test_devices_have_their_workers_in_their_names(devices):
    assert devices.leader == LEADER
    assert devices.names() == [LEADER + "/device:CPU:0", OTHER + "/device:CPU:0"]
    assert devices.of_stage(1, CloneId(0, 0, 0)) == OTHER + "/device:CPU:0"
    with tf.device("/cpu:0"):
        pinned = tf.zeros([]).op
    assert devices.choose(pinned, 1, CloneId(0, 0, 0), False) == OTHER + "/device:CPU:0"


def test_what_nobody_placed_is_with_the_leader(devices):
    with tf.device("/device:CPU:0"):
        pinned = tf.zeros([2])
    free, drawn = tf.ones([]), tf.random_uniform([])
    take()
    assert pinned.device == LEADER + "/device:CPU:0"
    assert free.device == drawn.device == LEADER


def test_arithmetic_is_where_all_its_readers_are(devices):
    own, shared, drawn = tf.ones([], name="own"), tf.ones([], name="shared"), tf.random_uniform([])
    scaled = own * 0.5 + shared
    with tf.device(OTHER + "/device:CPU:0"):
        tf.identity(scaled), tf.identity(drawn)
    with tf.device(LEADER + "/device:CPU:0"):
        tf.identity(shared)
    take()
    assert own.device == scaled.device == OTHER
    assert shared.device == LEADER
    assert {op.device for op in shared.graph.get_operations() if op.type == "RandomUniform"} == {
        LEADER}


@pytest.mark.parametrize("resource", [False, True])
def test_what_works_on_a_variable_is_where_it_is(devices, resource):
    with tf.device(OTHER + "/device:CPU:0"):
        variable = tf.get_variable("v", [2], use_resource=resource)
    slot = tf.train.MomentumOptimizer(0.1, 0.9)
    train = slot.apply_gradients([(tf.ones([2]), variable)])
    counter = tf.train.get_or_create_global_step()
    with tf.colocate_with(counter):
        near = tf.ones([])
    take()
    update = next(op for op in tf.get_default_graph().get_operations() if "Momentum" in op.type)
    assert train.graph is update.graph
    assert update.device.startswith(OTHER)
    assert slot.get_slot(variable, "momentum").op.device.startswith(OTHER)
    assert counter.op.device == near.device == LEADER


def test_who_reads_a_variable_may_be_elsewhere(devices):
    with tf.device(LEADER + "/device:CPU:0"):
        variable = tf.get_variable("v", [2], use_resource=False)
    with tf.device(OTHER + "/device:CPU:0"):
        read = tf.identity(variable.op.outputs[0])
    update = tf.assign_add(variable, [1.0, 1.0])
    take()
    assert update.op.device.startswith(LEADER) and read.device.startswith(OTHER)


def test_what_is_added_later_gets_a_place_as_well(devices):
    take()
    later = tf.zeros([])
    take()
    assert later.device == LEADER
    assert not any(op.device == "" for op in later.graph.get_operations())
