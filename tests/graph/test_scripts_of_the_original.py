# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What scripts written for the original EPL read and set is there, and does what it says."""

import json
import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.errors import ConfigError
from tests.graph import devices
from tests.graph.devices import BOTH, ONE, PIPELINE, REPLICAS

FEATURES, LABELS = devices.data(64)


def name(device):
    return "/job:worker/replica:0/task:0/device:CPU:{}".format(device)


def trained(stage, steps=4):
    """The weights after some steps of 16 rows."""
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    with stage(0):
        hidden = devices.dense(x, 5, "one", tf.tanh)
    with stage(1):
        loss = tf.losses.mean_squared_error(y, devices.dense(hidden, 1, "two"))
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    with devices.session() as session:
        for rows in np.split(np.arange(16 * steps), steps):
            session.run(train, {x: FEATURES[rows], y: LABELS[rows]})
        return session.run(tf.trainable_variables())


def test_before_init_there_is_no_cluster():
    code = """if True:
        import epl
        assert epl.Env.get().cluster is None and not epl.env.Env.get().config
        with epl.Cluster(worker_hosts="10.0.0.1:8000", worker_index=0) as cluster:
            assert epl.Env.get().cluster is cluster and cluster.worker_num == 1
        with epl.Cluster(worker_hosts="10.0.0.1:8000,10.0.0.2:8000", worker_index=0):
            import tensorflow.compat.v1 as tf
            tf.disable_v2_behavior()
            try:
                epl.init()
            except epl.ConfigError as error:
                print(error)
    """
    said = subprocess.check_output([sys.executable, "-c", code], universal_newlines=True)
    assert "describes Cluster(worker 0 of 2" in said and "leave worker_hosts" in said


def test_a_cluster_may_come_first():
    code = """if True:
        import epl
        with epl.Cluster(worker_hosts="10.0.0.1:8000", worker_index=0) as cluster:
            assert epl.Env.get().cluster is cluster
    """
    assert subprocess.call([sys.executable, "-c", code]) == 0


def test_a_cluster_of_other_workers_is_refused():
    with devices.started(REPLICAS):
        with pytest.raises(ConfigError, match="worker 1 of 2.*but this is Cluster.worker 0 of 1"):
            with epl.Cluster(worker_hosts="10.0.0.1:1,10.0.0.2:1", worker_index=1):
                pass
        assert epl.Env.get().cluster.worker_num == 1


@pytest.mark.parametrize("layout, chosen", [
    (PIPELINE, [[[name(1)]], [[name(0)]]]),
    (BOTH, [[[name(3)], [name(1)]], [[name(0)], [name(2)]]]),
])
def test_stages_are_where_the_script_puts_them(layout, chosen):
    expected = devices.run(None, trained)
    with devices.started(layout):
        with epl.Cluster(layout={"specific": chosen}):
            devices.assert_same(trained(devices.stages(layout)), expected)
        found = epl.Env.get().cluster.virtual_devices
        assert [each.slice_devices for each in found] == chosen
        for layer, (device,) in (("one", chosen[0][0]), ("two", chosen[1][0])):
            product = tf.get_default_graph().get_operation_by_name(layer + "/MatMul")
            assert product.device == device[device.index("/device"):]


def test_a_layout_for_other_stages_is_refused():
    with devices.started(PIPELINE):
        with epl.Cluster(layout="all"):
            with pytest.raises(ConfigError, match="has 1 TaskGraph.*the model 2 of"):
                trained(devices.stages(PIPELINE))


def test_a_graph_has_one_layout():
    with devices.started(BOTH):
        trained(devices.stages(BOTH), 1)
        with epl.Cluster(layout={"specific": [[[name(3)], [name(1)]], [[name(0)], [name(2)]]]}):
            with pytest.raises(RuntimeError, match="or epl.Cluster .layout = "):
                tf.gradients(tf.reduce_mean(tf.trainable_variables()[0]), tf.trainable_variables())


def test_virtual_devices_are_those_of_the_default_graph():
    with devices.started(BOTH):
        cluster = epl.Env.get().cluster
        assert len(cluster.virtual_devices) == 1  # nothing is annotated yet
        trained(devices.stages(BOTH), 1)
        assert [each.slice_devices for each in cluster.virtual_devices] == [
            [[name(0)], [name(2)]], [[name(1)], [name(3)]]]


def test_graph():
    with devices.started(BOTH):
        trained(devices.stages(BOTH), 1)
        graph = epl.Graph.get()
        assert graph.num_stages == 2 and graph.gc_tensors == [] and len(graph.gradients) == 4
        first, last = graph.taskgraphs
        assert (first.index, first.name, first.num_replicas, first.local_num_replicas) == (
            0, "stage_0", 2, 2)
        assert first.is_first_stage and last.is_last_stage and not last.is_first_stage
        assert last.virtual_device.all_devices == (name(1), name(3))
        assert {op.name for op in first.operations} >= {"one/MatMul", "one/kernel"}
        assert "two/MatMul" in {op.name for op in last.operations}
        assert graph.format(max_depth=1, prefix_list=["one", "two"]).splitlines() == [
            "TaskGraph 0 'stage_0' on {} | {}".format(name(0), name(2)), "  one", "",
            "TaskGraph 1 'stage_1' on {} | {}".format(name(1), name(3)), "  two"]


def test_collections():
    with devices.started(ONE):
        one, two = tf.constant(1.0), tf.constant(2.0)
        epl.add_to_collection(one, epl.GraphKeys.GLOBAL_SUM_OBJECTS)
        epl.add_to_collection([two], epl.GraphKeys.LOCAL_CONCAT_OBJECTS)
        assert epl.get_all_collections() == [[], [], [one], [two], [], []]
        assert epl.Graph.get().get_all_collections() == epl.get_all_collections()
        assert epl.Graph.get().get_collection(epl.GraphKeys.GLOBAL_SUM_OBJECTS) == [one]
        assert [epl.get_collection(key) for key in epl.GraphKeys.ALL_COLLECTION_KEYS] \
            == epl.get_all_collections()


def test_information_belongs_to_a_graph():
    with devices.started(ONE):
        information = epl.Env.get().parallel_information
        information["mine"] = 1
        with tf.Graph().as_default():
            assert epl.Env.get().parallel_information == {}
        assert epl.Env.get().parallel_information == {"mine": 1}


def test_attributes_of_the_configuration_in_force():
    with devices.started(ONE):
        epl.Env.get().config.pipeline.num_micro_batch = 4
        epl.set_default_strategy(epl.replicate(1))
        text = epl.explain()
        with pytest.raises(ConfigError, match="num_micro_batch' = 0 is too small"):
            epl.Env.get().config.pipeline.num_micro_batch = 0
    assert "4 micro-batch(es)" in text


def test_number_of_communicators():
    with mock.patch.object(tf.logging, "warning") as warning:
        with devices.started(ONE, {"communication.num_communicators": 4}):
            pass
    assert warning.call_args[0] == (
        "%s = %d has no effect: the workers are connected once",
        "communication.num_communicators", 4)
    with pytest.raises(ConfigError, match="use 1 or more"):
        epl.Config({"communication.num_communicators": 0})


def test_strategies_of_tensorflow_give_way(tmp_path):
    hidden = {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1"]}})}
    with devices.started(REPLICAS), mock.patch.object(tf.logging, "warning") as warning, \
            mock.patch.dict(os.environ, hidden):
        strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
        for config in (tf.estimator.RunConfig(str(tmp_path), train_distribute=strategy),
                       tf.estimator.RunConfig(str(tmp_path)).replace(train_distribute=strategy)):
            assert config.train_distribute is None and config.model_dir == str(tmp_path)
    said = [call[0][0] % call[0][1:] for call in warning.call_args_list
            if "RunConfig" in call[0][0]]
    assert len(said) == 2 and all(
        "RunConfig(train_distribute=MirroredStrategy" in text and "leave out epl.init" in text
        for text in said)


@pytest.mark.parametrize("scope", [True, False])
def test_gradients_under_a_strategy_of_tensorflow_are_refused(scope, tmp_path):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with devices.plain():  # as before epl.init
        config = tf.estimator.RunConfig(str(tmp_path), train_distribute=strategy)

    def model_fn(features, labels, mode):
        loss = devices.fit(devices.stages(None), x=features).loss
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=tf.no_op())

    # TensorFlow 2 makes an error of its own of what a replica raises, and cites it.
    message = "under MirroredStrategyV1, .*leave MirroredStrategyV1 out"
    with pytest.raises(ConfigError if scope else Exception, match=message):
        with devices.started(REPLICAS):
            epl.set_default_strategy(epl.replicate(1))
            if scope:
                with strategy.scope():
                    weight = tf.get_variable("w", [])
                    tf.gradients(tf.reduce_mean(weight * tf.placeholder(tf.float32, [None])),
                                 [weight])
            tf.estimator.Estimator(model_fn, config=config).train(
                lambda: tf.data.Dataset.from_tensor_slices(devices.ROWS).batch(4), steps=1)


def test_modules_that_are_named_without_an_import():
    code = """if True:
        import epl
        assert epl.env.Env is epl.Env and epl.config.Config is epl.Config
        assert epl.cluster.Cluster is epl.Cluster
        from epl.utils.version import VERSION
        assert VERSION == epl.VERSION
    """
    assert subprocess.call([sys.executable, "-c", code]) == 0


def test_the_launcher_by_its_first_name():
    said = subprocess.check_output([sys.executable, "-m", "epl.utils.launcher", "--version"],
                                   universal_newlines=True)
    assert said.startswith("epl-launch ")
