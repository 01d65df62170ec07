# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who sits where: stages, state and what works on it, the input pipeline, what is pinned."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.core.framework import kernel_def_pb2

import epl
from epl import compat
from epl.communicators.base import all_workers
from epl.ir.graph_state import state_of
from epl.ir.ownership import Ownership
from epl.plan.parallel_plan import make_plan
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import groups_of
from epl.rewrite.place import HOST, Devices, pinned_to_cpu
from epl.rewrite.rewriter import rewrite
from tests.graph.devices import Layout, session, started
from tests.support import layers

PIPELINE = Layout(stages=2, micro_batches=2)
BOTH = Layout(stages=2, replicas=2, micro_batches=2)
REPLICAS = Layout(replicas=2)
RESOURCE = pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])


def cpu(index):
    return "/device:CPU:{}".format(index)


def rows():
    return tf.placeholder(tf.float32, [None, 3], "x")


def weights(name="w", shape=(3, 3), **options):
    return tf.get_variable(name, list(shape), **options)


def group_of(loss):
    tf.gradients(loss, tf.trainable_variables())
    rewrite(loss.graph)
    return groups_of(state_of(loss.graph))[-1]


def home_of(variable):
    return compat.variable_key(variable).device


# Stages.

def test_every_clone_of_a_stage_sits_on_its_device():
    with started(BOTH):
        x = rows()
        with epl.replicate(1):
            hidden = tf.tanh(tf.matmul(x, weights("first")))
        with epl.replicate(1):
            loss = tf.reduce_mean(tf.matmul(hidden, weights("second")))
        group = group_of(loss)
        for clone in group.clones.clones:
            for tensor, stage in ((hidden, 0), (loss, 1)):
                assert group.clones.op(tensor.op, clone).device == cpu(2 * clone.replica + stage)
        sigmoids = [op for op in group.partition.batch_dependent if op.type == "TanhGrad"]
        assert {group.clones.op(op, clone).device for op in sigmoids
                for clone in group.clones.clones} == {cpu(0), cpu(2)}


def test_several_devices_of_a_stage_share_its_slices():
    with started(Layout(), devices=4):
        x = rows()
        with epl.replicate(4):
            hidden = tf.matmul(x, weights())
            loss = tf.reduce_mean(hidden)
        group = group_of(loss)
        assert [group.clones.op(hidden.op, clone).device for clone in group.clones.clones] == [
            cpu(0), cpu(1), cpu(2), cpu(3)]


def test_with_one_device_nothing_is_placed():
    with started(Layout(micro_batches=2)) as graph:
        x = rows()
        with epl.replicate(1):
            with tf.device("/device:CPU:0"):
                pinned = tf.tanh(x)
            loss = tf.reduce_mean(tf.matmul(pinned, weights()))
        group_of(loss)
        pinned_ops = {op for op in graph.get_operations() if op.device}
        assert pinned.op in pinned_ops
        assert {op.type for op in pinned_ops} <= {"Tanh", "TanhGrad"}


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_two_runs_of_the_same_script_are_placed_alike(layout):
    def placed():
        with started(layout) as graph:
            x = rows()
            with epl.replicate(1):
                hidden = layers.dense(x, 7)
            with epl.replicate(1):
                loss = tf.reduce_mean(layers.dense(hidden, 5))
            tf.train.AdamOptimizer(0.1).minimize(loss)
            rewrite(graph)
            return [(op.name, op.device) for op in graph.get_operations()]
    assert placed() == placed()


# What the script pins.

def test_what_is_pinned_to_the_cpu_stays_there():
    with started(PIPELINE) as graph:
        x = rows()
        with epl.replicate(1):
            hidden = tf.matmul(x, weights("first"))
        with epl.replicate(1):
            with tf.device("/cpu:0"):
                pinned = tf.tanh(hidden, "pinned")
                table = weights("table")
            loss = tf.reduce_mean(tf.matmul(pinned, table))
        group = group_of(loss)
        for clone in group.clones.clones:
            device = group.clones.op(pinned.op, clone).device
            assert device and pinned_to_cpu(group.clones.op(pinned.op, clone))
            assert tf.DeviceSpec.from_string(device).device_index == 0
        assert tf.DeviceSpec.from_string(home_of(table)).device_index == 0
        assert home_of(graph.get_collection("trainable_variables")[0]) == cpu(0)


def test_what_is_pinned_elsewhere_is_placed_by_the_plan():
    with started(PIPELINE):
        x = rows()
        with epl.replicate(1):
            hidden = tf.matmul(x, weights("first"))
        with epl.replicate(1), tf.device("/gpu:0"):
            kernel = weights("second")
            after = tf.tanh(hidden, "after")
            loss = tf.reduce_mean(tf.matmul(after, kernel))
        group = group_of(loss)
        assert {group.clones.op(op, clone).device for op in (after.op, loss.op)
                for clone in group.clones.clones} == {cpu(1)}
        assert home_of(kernel) == cpu(1)
        assert all("GPU" not in op.device for op in group.partition.ops)


@pytest.mark.parametrize("text, pinned", [
    ("/cpu:0", True), ("/device:CPU:0", True), ("/job:localhost/task:0/device:CPU:0", True),
    ("/gpu:0", False), ("/job:worker", False), ("", False)])
def test_only_a_cpu_device_counts_as_pinned(text, pinned):
    with tf.Graph().as_default(), tf.device(text or None):
        assert pinned_to_cpu(tf.no_op()) == pinned


def test_the_input_pipeline_stays_on_the_first_cpu_device():
    with started(BOTH) as graph:
        iterator = tf.data.make_initializable_iterator(
            tf.data.Dataset.from_tensors([1.0, 2.0, 3.0]).repeat().batch(2))
        queue = tf.FIFOQueue(9, [tf.float32], [[3]])
        with epl.replicate(1):
            hidden = layers.dense(iterator.get_next(), 3)
        with epl.replicate(1):
            loss = tf.reduce_mean(layers.dense(hidden + queue.dequeue_many(2), 1))
        group_of(loss)
        of_input = [op for op in graph.get_operations() if op.type in (
            "IteratorV2", "IteratorGetNext", "FIFOQueueV2", "QueueDequeueManyV2")]
        assert len(of_input) == 2 + 2 * BOTH.clones
        for op in of_input:  # TensorFlow itself puts some on "/device:CPU:*"
            device = tf.DeviceSpec.from_string(op.device)
            assert device.device_type == "CPU" and device.device_index in (None, 0), op.device


# State.

@RESOURCE
def test_variables_live_with_their_stage(resource):
    with started(PIPELINE):
        with tf.variable_scope("", use_resource=resource):
            x = rows()
            with epl.replicate(1):
                hidden = layers.dense(x, 4, name="first")
            with epl.replicate(1):
                loss = tf.reduce_mean(layers.dense(hidden, 4, name="second"))
        group_of(loss)
        assert {v.op.name: home_of(v) for v in tf.trainable_variables()} == {
            "first/kernel": cpu(0), "first/bias": cpu(0),
            "second/kernel": cpu(1), "second/bias": cpu(1)}


@RESOURCE
def test_replicas_share_variables_spread_by_size(resource):
    with started(REPLICAS):
        x = rows()
        with epl.replicate(1):
            hidden = x
            for number, width in enumerate((100, 40, 30, 20)):
                hidden = tf.matmul(hidden, tf.get_variable(
                    "w{}".format(number), [hidden.shape[1], width], use_resource=resource))
            loss = tf.reduce_mean(hidden)
        group_of(loss)
        bytes_on = {cpu(0): 0, cpu(1): 0}
        for variable in tf.trainable_variables():
            bytes_on[home_of(variable)] += variable.shape.num_elements()
        # 4000 | 1200 + 600 + 300: the largest is alone.
        assert sorted(bytes_on.values()) == [2100, 4000]


@RESOURCE
@pytest.mark.parametrize("make", [lambda: tf.train.AdamOptimizer(0.1),
                                  lambda: tf.train.MomentumOptimizer(0.1, 0.9)],
                         ids=["adam", "momentum"])
def test_slots_and_updates_sit_with_their_variable(resource, make):
    with started(PIPELINE) as graph:
        with tf.variable_scope("", use_resource=resource):
            x = rows()
            with epl.replicate(1):
                hidden = layers.dense(x, 4, name="first")
            with epl.replicate(1):
                loss = tf.reduce_mean(layers.dense(hidden, 4, name="second"))
            optimizer = make()
            train = optimizer.minimize(loss)
        options = tf.ConfigProto(device_count={"CPU": 2})
        run_options = tf.RunOptions(output_partition_graphs=True)
        metadata = tf.RunMetadata()
        with session(config=options) as running:
            running.run(train, {x: np.ones([4, 3], np.float32)}, run_options, metadata)
        device = {node.name: node.device.rsplit("/", 1)[-1]
                  for part in metadata.partition_graphs for node in part.node}
        for variable in tf.trainable_variables():
            stage = 0 if variable.op.name.startswith("first") else 1
            expected = "device:CPU:{}".format(stage)
            assert home_of(variable) == cpu(stage)
            slots = [optimizer.get_slot(variable, name) for name in optimizer.get_slot_names()]
            assert slots
            for each in [variable] + slots:
                assert device[compat.variable_key(each).name] == expected, each
            applied = [op for op in graph.get_operations() if "Apply" in op.type
                       and compat.variable_key(variable) in [t.op for t in op.inputs]]
            assert applied and {device[op.name] for op in applied} == {expected}


@RESOURCE
def test_rows_of_a_table_are_gathered_where_the_table_is(resource):
    with started(BOTH):
        ids = tf.placeholder(tf.int32, [None], "ids")
        with epl.replicate(1):
            table = weights("table", (8, 3), use_resource=resource)
            hidden = tf.nn.embedding_lookup(table, ids)
        with epl.replicate(1):
            loss = tf.reduce_mean(tf.tanh(hidden))
        group = group_of(loss)
        gather = next(op for op in group.partition.ops if op.type in ("GatherV2", "ResourceGather"))
        assert {group.clones.op(gather, clone).device for clone in group.clones.clones} == {
            home_of(table)}


def test_a_lookup_table_serves_all_replicas_from_one_place():
    with started(BOTH):
        words = tf.placeholder(tf.string, [None], "words")
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            tf.constant(["a", "b"]), tf.constant([1.0, 2.0])), 0.0)
        with epl.replicate(1):
            hidden = tf.expand_dims(table.lookup(words), 1) * weights("first", (1, 3))
        with epl.replicate(1):
            loss = tf.reduce_mean(tf.matmul(hidden, weights("second")))
        group = group_of(loss)
        found = [op for op in group.partition.ops if op.type == "LookupTableFindV2"]
        assert {group.clones.op(op, clone).device for op in found
                for clone in group.clones.clones} == {HOST}
        with session() as running:
            running.run(tf.tables_initializer())
            gradient = group.gradients[0].returned
            assert running.run(gradient, {words: ["a", "b", "c", "a"] * 2}).shape == (1, 3)


@RESOURCE
def test_the_gradient_of_a_variable_ends_where_the_variable_is(resource):
    with started(BOTH):
        x = rows()
        with epl.replicate(1):
            hidden = tf.matmul(x, weights("first", use_resource=resource))
        with epl.replicate(1):
            loss = tf.reduce_mean(tf.matmul(hidden, weights("second", use_resource=resource)))
        for gradient in group_of(loss).gradients:
            assert gradient.returned.op.device == home_of(gradient.variable)


# GPUs. TensorFlow's own list of kernels says what runs there.

_FLOATS = (tf.half, tf.float32, tf.float64)
# As TensorFlow registers them: one kernel per device and element type, or one without constraint.
_KERNELS = {
    "Add": [("CPU", "T", (tf.float32,)), ("CPU", "T", (tf.string,))]
           + [("GPU", "T", (dtype,)) for dtype in _FLOATS],
    "Identity": [("CPU", None, ())] + [("GPU", "T", (dtype,)) for dtype in _FLOATS],
    "IdentityN": [("CPU", None, ()), ("GPU", "T", _FLOATS)],
    "MatMul": [("CPU", "T", _FLOATS), ("GPU", "T", _FLOATS)],
    "NoOp": [("CPU", None, ()), ("GPU", None, ())],
    "StringJoin": [("CPU", None, ())],
    "IteratorGetNext": [("CPU", None, ()), ("GPU", None, ())],
    "IteratorV2": [("CPU", None, ()), ("GPU", None, ())],
}


@pytest.fixture
def registry(monkeypatch):
    def registered(name):
        found = kernel_def_pb2.KernelList()
        for device, attribute, dtypes in _KERNELS.get(name, [("CPU", None, ())]):
            kernel = found.kernel.add(op=name, device_type=device)
            if attribute:
                constraint = kernel.constraint.add(name=attribute)
                constraint.allowed_values.list.type.extend(d.as_datatype_enum for d in dtypes)
        return found
    monkeypatch.setattr(compat.kernels_module, "get_registered_kernels_for_op", registered)
    with tf.Graph().as_default():
        yield


def identity_n(*values):
    return tf.identity_n(list(values))[0].op


RUNS_ON_GPU = {
    "float_sum": (lambda: tf.raw_ops.Add(x=[1.0], y=[2.0]).op, True),
    "string_sum": (lambda: tf.raw_ops.Add(x=["a"], y=["b"]).op, False),
    "half_product": (lambda: tf.matmul(tf.zeros([1, 1], tf.half), tf.zeros([1, 1], tf.half)).op,
                     True),
    "int_product": (lambda: tf.matmul([[1]], [[2]]).op, False),
    "string_join": (lambda: tf.string_join(["a", "b"]).op, False),
    "float_identity": (lambda: tf.identity(1.0).op, True),
    "string_identity": (lambda: tf.identity("a").op, False),
    "floats": (lambda: identity_n(1.0, 2.0), True),
    "float_and_string": (lambda: identity_n(1.0, "a"), False),
    "no_op": (lambda: tf.no_op(), True),
    "unknown_to_gpus": (lambda: tf.as_string(1.0).op, False),
}


def gpus(plan, worker):
    return Devices(plan, worker, "gpu", Ownership(all_workers(plan.num_workers), worker))


@pytest.mark.parametrize("name", sorted(RUNS_ON_GPU))
def test_the_kernels_of_an_element_type_decide_who_runs_on_a_gpu(registry, name):
    make, expected = RUNS_ON_GPU[name]
    op = make()
    assert compat.runs_on_gpu(op) == expected
    devices = gpus(make_plan([("", 1), ("", 1)], 1, 4), 0)
    for replica in (0, 1):
        clone = CloneId(replica, 0, 0)
        on_gpu = "/device:GPU:{}".format(2 * replica + 1)
        assert devices.choose(op, 1, clone, False) == (on_gpu if expected else HOST)


def test_the_input_pipeline_is_on_the_host_though_gpus_have_kernels_for_it(registry):
    data = tf.data.Dataset.from_tensors(1.0)
    batch = tf.data.make_initializable_iterator(data).get_next().op
    devices = gpus(make_plan([("", 1)], 1, 2), 0)
    for op in (batch, batch.inputs[0].op):
        assert devices.choose(op, 0, CloneId(1, 0, 0), False) == HOST


def test_what_is_pinned_to_the_cpu_stays_there_beside_gpus(registry):
    with tf.device("/cpu:0"):
        op = tf.no_op()
    devices = gpus(make_plan([("", 1)], 1, 2), 0)
    assert devices.choose(op, 0, CloneId(1, 0, 0), False) == op.device
    assert pinned_to_cpu(op)


def test_a_second_worker_numbers_its_own_devices(registry):
    plan = make_plan([("", 1), ("", 1)], 2, 2)
    devices = gpus(plan, 1)
    assert [devices.of_stage(stage, CloneId(1, 0, 0)) for stage in (0, 1)] == [
        "/device:GPU:0", "/device:GPU:1"]


def test_all_micro_batches_of_a_clone_share_its_device(registry):
    devices = gpus(make_plan([("", 1), ("", 1)], 1, 2, 4), 0)
    op = tf.identity(1.0).op
    assert {devices.choose(op, 1, CloneId(0, m, 0), False) for m in range(4)} == {"/device:GPU:1"}
