# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are read and written piece by piece, and hold what they always hold."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.errors import ConfigError
from epl.rewrite.walk import ancestors
from epl.runtime.saver import MemoryEfficientBuilder, ShardingLoader
from tests.graph import devices
from tests.graph.devices import BOTH, ONE

VALUES = {"a/kernel": np.arange(20.0).reshape(4, 5), "a/bias": np.arange(5.0),
          "step": np.array(7.0)}


@pytest.fixture
def checkpoint(tmp_path):
    with tf.Graph().as_default():
        for name, value in VALUES.items():
            tf.get_variable(name, initializer=value.astype(np.float32))
        with devices.session() as session:
            return tf.train.Saver().save(session, str(tmp_path / "before"))


def variable(name, shape, resource):
    return tf.get_variable(name, shape, initializer=tf.zeros_initializer(), use_resource=resource)


@pytest.mark.parametrize("resource", [False, True])
def test_variables_begin_with_the_checkpoint(checkpoint, resource):
    with devices.started(ONE):
        found = [variable("a/kernel", [4, 5], resource), variable("a/bias", [5], resource),
                 variable("step", [], resource)]
        ShardingLoader(checkpoint).restore()
        with tf.train.MonitoredTrainingSession() as session:
            for each, expected in zip(session.run(found), VALUES.values()):
                np.testing.assert_array_equal(each, expected)


@pytest.mark.parametrize("resource", [False, True])
def test_other_names_and_parts(checkpoint, resource):
    with devices.started(ONE):
        part, twin, bias = [variable("part", [2, 3], resource), variable("twin", [4, 5], resource),
                            variable("b/bias", [5], resource)]
        ShardingLoader(checkpoint, [part], {"part": "a/kernel"},
                       {"a/kernel": {"begin": [1, 2], "size": [2, 3]}}).restore()
        ShardingLoader(checkpoint, [twin, bias],
                       {"twin": "a/kernel", "b/bias": "a/bias"}).restore()
        with devices.session() as session:
            np.testing.assert_array_equal(session.run(part), VALUES["a/kernel"][1:3, 2:5])
            np.testing.assert_array_equal(session.run(twin), VALUES["a/kernel"])
            np.testing.assert_array_equal(session.run(bias), VALUES["a/bias"])
    slices = {tf.get_static_value(op.inputs[2])[0] for op in part.graph.get_operations()
              if op.type == "RestoreV2"}
    assert slices == {b"4 5 1,2:2,3", b""}  # no more is read than needed


def test_parts_of_a_partitioned_variable(checkpoint):
    with devices.started(ONE):
        with tf.variable_scope("", partitioner=tf.fixed_size_partitioner(2)):
            whole = tf.get_variable("a/kernel", [4, 5])
        ShardingLoader(checkpoint, list(whole)).restore()
        with devices.session() as session:
            np.testing.assert_array_equal(session.run(tf.convert_to_tensor(whole)),
                                          VALUES["a/kernel"])


def test_reads_follow_one_another_and_an_initializer_changes_its_own_variable(checkpoint):
    with devices.started(ONE):
        kernel, bias = variable("a/kernel", [4, 5], False), variable("a/bias", [5], False)
        ShardingLoader(checkpoint).restore()
        reads = [op for op in kernel.graph.get_operations() if op.type == "RestoreV2"]
        assert reads[0] in ancestors([reads[1]])
        with devices.session() as session:
            kernel.load(np.ones([4, 5]), session)
            session.run(bias.initializer)
            np.testing.assert_array_equal(session.run(kernel), np.ones([4, 5]))


def test_no_checkpoint_yet():
    with devices.started(ONE):
        one = variable("one", [2], False)
        ShardingLoader(None).restore()
        with devices.session() as session:
            np.testing.assert_array_equal(session.run(one), [0, 0])


@pytest.mark.parametrize("shape, options, message", [
    ([4, 5], {}, "has no tensor 'a/kernal'.*did you mean 'a/kernel'"),
    ([4, 4], {"assign_map": {"a/kernal": "a/kernel"}}, "of shape .4, 4. cannot hold"),
    ([4, 4], {"assign_map": {"a/kernal": "a/kernel"},
              "sharding_info": {"a/kernel": {"begin": [0, 2], "size": [4, 4]}}}, r"from \[0, 2\]"),
    ([4, 4], {"assign_map": {"a/kernal": "a/kernel"}, "sharding_info": {"a/kernel": [0, 2]}},
     "write {'begin'"),
])
def test_what_does_not_fit(checkpoint, shape, options, message):
    with devices.started(ONE):
        variable("a/kernal", shape, False)
        with pytest.raises(ConfigError, match=message):
            ShardingLoader(checkpoint, **options).restore()


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("size, parts", [(60, 3), (1 << 20, 1), (1, 4)])
def test_parts_are_written_one_after_the_other(tmp_path, resource, size, parts):
    with devices.started(ONE):
        for number in range(4):  # 40 bytes each
            tf.get_variable("v{}".format(number), use_resource=resource,
                            initializer=np.full([2, 5], number, np.float32))
        saver = tf.train.Saver(sharded=True, restore_sequentially=True,
                               builder=MemoryEfficientBuilder(size if parts != 3 else 80))
        graph = tf.get_default_graph()
        writes = [op for op in graph.get_operations() if op.type == "SaveV2"]
        with devices.session() as session:
            path = saver.save(session, str(tmp_path / "model"))
        reader = tf.train.load_checkpoint(path)
        for number in range(4):
            np.testing.assert_array_equal(reader.get_tensor("v{}".format(number)),
                                          np.full([2, 5], number))
    assert len(writes) == (2 if parts == 3 else parts)
    for before, after in zip(writes, writes[1:]):
        for tensor in list(after.inputs)[3:]:  # not even read before
            assert before in ancestors([tensor.op])


def test_a_pipeline_is_saved_in_parts_and_goes_on(tmp_path):
    def trained(stage, start, steps):
        fit = devices.fit(stage)
        saver = tf.train.Saver(sharded=True, builder=MemoryEfficientBuilder(4))
        if start:
            ShardingLoader(start).restore()
        with tf.train.MonitoredTrainingSession(config=devices.session_config()) as session:
            for _ in range(steps):
                session.run(fit.train, {fit.x: devices.ROWS})
            session.run_step_fn(lambda step_context: saver.save(
                step_context.session, str(tmp_path / "model"), steps))
            return session.run(fit.weight)

    with devices.started(BOTH):
        assert trained(devices.stages(BOTH), None, 2) == devices.weight_after(2)
    with devices.started(BOTH):
        start = str(tmp_path / "model-2")
        assert trained(devices.stages(BOTH), start, 3) == devices.weight_after(5)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "50MB"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="bytes are needed"):
        MemoryEfficientBuilder(size)
