# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A tensor that the input pipeline and the model share makes neither a part of the other."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, SEVERAL

FEATURES, LABELS = devices.data()
GLOBAL_BATCH = 16


def script(layout):
    """The batch size is a constant that both stages use too; so is what the map multiplies by."""
    def whole(stage):
        clones = layout.clones if layout else 1
        size = tf.constant(GLOBAL_BATCH // clones, tf.int64, name="size")
        factor = tf.constant(2.0, name="factor")
        rows = tf.data.Dataset.from_tensor_slices((FEATURES, LABELS)).batch(size)
        rows = rows.map(lambda x, y: (x * factor, y))
        iterator = tf.data.make_initializable_iterator(rows)
        x, y = iterator.get_next()
        x, y = tf.reshape(x, [-1, 3]), tf.reshape(y, [-1, 1])
        with stage(0):
            hidden = devices.dense(x, 4, "first", tf.tanh) * factor
        with stage(1):
            per_row = tf.square(devices.dense(hidden, 1, "second") - y) * factor
            loss = tf.reduce_sum(per_row) / tf.cast(size, tf.float32)
        train = tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss)
        with devices.session() as session:
            session.run(iterator.initializer)
            losses = [session.run([loss, train])[0] for _ in range(3)]
            return losses, session.run({v.name: v for v in tf.global_variables()})
    return whole


@pytest.mark.parametrize("layout", SEVERAL + (PIPELINE,), ids=str)
def test_a_batch_size_that_the_loss_uses_too(layout):
    expected = devices.run(None, script(None))
    assert not np.allclose(expected[0], expected[0][0], rtol=1e-3)
    devices.assert_same(devices.run(layout, script(layout)), expected)


@pytest.mark.parametrize("layout", [PIPELINE, BOTH], ids=str)
def test_the_model_stays_on_its_stages_devices_and_the_input_on_the_host(layout):
    with devices.started(layout) as graph:
        script(layout)(devices.stages(layout))
        clones = groups_of(state_of(graph))[0].clones
        for name, stage in (("first/MatMul", 0), ("second/MatMul", 1)):
            own = graph.get_operation_by_name(name)
            assert [clones.op(own, clone).device for clone in clones.clones] == [
                "/device:CPU:{}".format(2 * clone.replica + stage) for clone in clones.clones]
        takers = [op for op in graph.get_operations() if op.type == "IteratorGetNext"]
        assert len(takers) == layout.clones
        assert {tf.DeviceSpec.from_string(op.device).device_index for op in takers} == {0}
