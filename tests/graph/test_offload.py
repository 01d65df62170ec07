# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""offload.level: variables, what optimizers keep, and updates are on the host, `/device:CPU:0`.

On virtual CPU devices that is the device of the first stage; what crosses to the others is counted
from the graphs that TensorFlow runs.
"""

import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import op_traits
from epl.rewrite.place import HOST
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, ONE, PIPELINE, REPLICAS, Layout

OFFLOAD = {"offload.level": "V0"}
FEATURES, LABELS = devices.data(16)
TABLE = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
UNITS = 8


def build(stage, resource):
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    with tf.variable_scope("", use_resource=resource):
        with stage(0):
            table = tf.get_variable("table", initializer=TABLE)
            rows = tf.cast(tf.abs(x[:, 0] * 3), tf.int32) % 5
            hidden = devices.dense(x + tf.nn.embedding_lookup(table, rows), UNITS, "first", tf.tanh)
        with stage(1):
            hidden = devices.dense(hidden, UNITS, "second", tf.tanh)
            loss = tf.reduce_mean(tf.square(y - devices.dense(hidden, 1, "third")))
        step = tf.train.get_or_create_global_step()
        return x, y, loss, tf.train.AdamOptimizer(0.01).minimize(loss, step)


def trained(stage, resource, metadata=None, then=lambda session: None):
    x, y, loss, step = build(stage, resource)
    options = tf.RunOptions(output_partition_graphs=True)
    with devices.session() as session:
        losses = [session.run([loss, step], {x: FEATURES, y: LABELS}, options, metadata)[0]
                  for _ in range(4)]
        then(session)
        return losses, session.run({v.name: v for v in tf.global_variables()})


def wrong_devices(graph):
    """State, and what writes it, that is not on the host."""
    weights = {compat.variable_key(v) for v in tf.global_variables() if v.dtype.is_floating}
    return [op.name for op in graph.get_operations()
            if (op in weights or "Apply" in op.type and op_traits.written_variable(op) in weights)
            and "power" not in op.name and op.device != HOST
            and not any(t.device == HOST for t in compat.colocated_with(op))]


@pytest.mark.parametrize("layout", [ONE, ACCUMULATION, PIPELINE, REPLICAS, BOTH], ids=str)
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_state_is_on_the_host_and_results_are_the_same(resource, layout):
    def script(stage):
        result = trained(stage, resource)
        assert wrong_devices(tf.get_default_graph()) == []
        return result

    devices.assert_same(devices.run(layout, script, OFFLOAD),
                        devices.run(None, lambda stage: trained(stage, resource)))


def test_without_it_state_is_with_its_stage():
    def script(stage):
        result = trained(stage, True)
        assert any("second" in name for name in wrong_devices(tf.get_default_graph()))
        return result

    devices.run(PIPELINE, script)


def sent(metadata, device):
    """Names of the tensors that a step sends from the host to a device, each once."""
    graph = next(g for g in metadata.partition_graphs
                 if any(node.device.endswith(HOST) for node in g.node))
    return [node.attr["tensor_name"].s.decode() for node in graph.node
            if node.op == "_Send" and node.attr["recv_device"].s.decode().endswith(device)
            and node.attr["T"].type == tf.float32.as_datatype_enum]


def test_a_weight_crosses_once_in_a_step_however_many_micro_batches():
    crossing = {}
    for parts in (1, 4):
        metadata = tf.RunMetadata()
        devices.run(Layout(stages=2, micro_batches=parts), functools.partial(
            trained, resource=True, metadata=metadata), OFFLOAD)
        crossing[parts] = sorted(name.split("_", 2)[2] for name in sent(metadata, "/device:CPU:1")
                                 if "ReadVariableOp" in name)
    assert len(crossing[1]) == 4  # kernels and biases of the two layers of the second stage
    assert crossing[4] == crossing[1]


def test_a_checkpoint_with_it_is_one_without_it(tmp_path):
    path = str(tmp_path / "model")

    def save(session):
        tf.train.Saver().save(session, path)

    def go_on(stage):
        x, y, loss, step = build(stage, True)
        with tf.Session() as session:
            tf.train.Saver().restore(session, path)
            return session.run([loss, step], {x: FEATURES, y: LABELS})[0]

    for before, after in ((OFFLOAD, {}), ({}, OFFLOAD)):
        devices.run(PIPELINE, lambda stage: trained(stage, True, then=save), before)
        found = devices.run(PIPELINE, go_on, after)
        devices.assert_same(found, devices.run(None, go_on))
