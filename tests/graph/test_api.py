# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The public functions: what they accept, refuse and print."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.runtime import settings

tf.disable_v2_behavior()


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    for name in ("EPL_NUM_WORKERS", "TF_CONFIG", "HOROVOD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    epl.init()
    with tf.Graph().as_default():
        yield


def test_public_names():
    for name in epl.__all__:
        assert getattr(epl, name) is not None, name
    assert set(dir(epl)) >= set(epl.__all__)
    assert not hasattr(epl, "replicat")


def test_init_refuses_eager_execution():
    from tensorflow.python.eager import context

    with context.eager_mode(), pytest.raises(RuntimeError, match="disable_v2_behavior"):
        epl.init()


def test_init_refuses_what_is_no_config():
    with pytest.raises(TypeError, match="epl.Config"):
        epl.init({"communication.max_splits": 2})


def test_init_keeps_the_default_graph():
    tensor = tf.constant(1.0)
    epl.init()
    assert tensor.graph is tf.get_default_graph()


@pytest.mark.parametrize("count, error", [(0, ValueError), (-1, ValueError), ("1", TypeError),
                                          (True, TypeError), (1.0, TypeError)])
def test_replicate_refuses_bad_device_counts(count, error):
    with pytest.raises(error, match=repr(count).strip("'")):
        epl.replicate(count)


def test_strategies_cannot_be_nested():
    with epl.replicate(1, name="outer"):
        with pytest.raises(RuntimeError, match="outer"):
            epl.replicate(1).__enter__()
        with pytest.raises(RuntimeError, match="close the block"):
            epl.set_default_strategy(epl.replicate(1))
    with epl.replicate(1):
        pass


def test_default_strategy_is_a_replicate():
    with pytest.raises(TypeError, match="None"):
        epl.set_default_strategy(None)


def test_a_strategy_block_is_left_after_an_error():
    with pytest.raises(ValueError, match="mine"):
        with epl.replicate(1):
            raise ValueError("mine")
    epl.set_default_strategy(epl.replicate(1))


def test_split_says_that_it_is_not_available():
    with pytest.raises(NotImplementedError, match="not available yet"):
        epl.split(2)


def test_more_stages_than_devices_are_refused_when_gradients_are_asked_for():
    epl.set_default_strategy(epl.replicate(1, name="one"))
    weight = tf.get_variable("w", [])
    epl.set_default_strategy(epl.replicate(1, name="two"))
    with pytest.raises(epl.ConfigError, match="--gpu_per_worker 2"):
        tf.gradients(weight ** 2, [weight])


def test_explain_prints_the_plan(capsys):
    assert "no strategy is set" in epl.explain()
    epl.set_default_strategy(epl.replicate(1, name="all"))
    text = epl.explain()
    assert "1 worker(s) x 1 device(s), 1 model replica(s)" in text and "all" in text
    assert text in capsys.readouterr().out


def test_default_strategy_reaches_graphs_made_later():
    epl.set_default_strategy(epl.replicate(1))
    with tf.Graph().as_default():
        assert "no strategy" not in epl.explain()


def test_collections():
    tensor, other = tf.constant([1.0]), tf.constant([2.0])
    members = [tensor]
    epl.add_to_collection(members, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
    epl.add_to_collection(tensor, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
    epl.add_to_collection(other, epl.GraphKeys.LOCAL_CONCAT_OBJECTS)
    assert members == [tensor]
    assert epl.get_collection(epl.GraphKeys.GLOBAL_MEAN_OBJECTS) == [tensor]
    with pytest.raises(KeyError, match="GLOBAL"):
        epl.add_to_collection(tensor, "GLOBAL")
    with pytest.raises(KeyError):
        epl.get_collection("losses")
    with pytest.raises(ValueError, match="1.0"):
        epl.add_to_collection(1.0, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
    with pytest.raises(ValueError, match="already"):
        epl.add_to_collection(tensor, epl.GraphKeys.GLOBAL_SUM_OBJECTS)
    with tf.Session() as session:
        assert session.run([tensor, other]) == [np.array([1.0]), np.array([2.0])]


def test_one_worker_keeps_the_users_session_configuration():
    assert settings.session_config(None, epl.Env.get().context) is None
    mine = tf.ConfigProto(intra_op_parallelism_threads=3)
    assert settings.session_config(mine, epl.Env.get().context) is mine


def test_workers_on_one_machine_share_its_cores(monkeypatch):
    for name, value in {"EPL_NUM_WORKERS": "2", "EPL_WORKER_INDEX": "0",
                        "EPL_WORKER_HOSTS": "a,a"}.items():
        monkeypatch.setenv(name, value)
    env = epl.env.Env()
    env.reset(epl.Config(), epl.Cluster())
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert settings.session_config(None, env.context).intra_op_parallelism_threads == 4
    mine = tf.ConfigProto(intra_op_parallelism_threads=3, allow_soft_placement=True)
    found = settings.session_config(mine, env.context)
    assert found.intra_op_parallelism_threads == 3 and found.allow_soft_placement
    assert found.inter_op_parallelism_threads == 4
    assert mine.inter_op_parallelism_threads == 0  # the caller's object is not changed
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert settings.session_config(mine, env.context) is mine


@pytest.mark.parametrize("hosts, index, share", [
    ("a,b", 0, None), ("a,a,b", 0, 4), ("a,a,b", 2, None), ("a,a,a,a,b", 1, 2)])
def test_only_workers_of_the_same_machine_share_its_cores(monkeypatch, hosts, index, share):
    for name, value in {"EPL_NUM_WORKERS": str(hosts.count(",") + 1),
                        "EPL_WORKER_INDEX": str(index), "EPL_WORKER_HOSTS": hosts}.items():
        monkeypatch.setenv(name, value)
    env = epl.env.Env()
    env.reset(epl.Config(), epl.Cluster())
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    found = settings.session_config(None, env.context)
    assert (found and found.intra_op_parallelism_threads) == share


@pytest.mark.parametrize("hosts, threads", [("a,b", 2), ("a", 0)])
def test_workers_with_a_single_core_run_two_operations_at_a_time(monkeypatch, hosts, threads):
    """One that waits for another worker must not hold up what that one waits for."""
    for name, value in {"EPL_NUM_WORKERS": str(hosts.count(",") + 1), "EPL_WORKER_INDEX": "0",
                        "EPL_WORKER_HOSTS": hosts}.items():
        monkeypatch.setenv(name, value)
    env = epl.env.Env()
    env.reset(epl.Config(), epl.Cluster())
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    found = settings.session_config(None, env.context)
    assert (found.inter_op_parallelism_threads if found else 0) == threads


def test_visible_devices_reach_the_session():
    epl.init(epl.Config({"cluster.run_visible_devices": "1,2"}))
    found = settings.session_config(None, epl.Env.get().context)
    assert found.gpu_options.visible_device_list == "1,2"
