# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The cluster is read from the launcher, else TF_CONFIG, else it is one worker."""

import json

import pytest

from epl.cluster import Cluster, read_environment
from epl.errors import ConfigError


def tf_config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def cluster_of(monkeypatch, environment):
    for name in ("EPL_NUM_WORKERS", "EPL_WORKER_INDEX", "EPL_WORKER_HOSTS", "EPL_GPU_PER_WORKER",
                 "EPL_DEVICE_TYPE", "HOROVOD_SIZE", "HOROVOD_RANK", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Cluster()


LAUNCHED = {"EPL_NUM_WORKERS": "3", "EPL_WORKER_INDEX": "2", "EPL_GPU_PER_WORKER": "2",
            "EPL_WORKER_HOSTS": "a,b,b", "EPL_DEVICE_TYPE": "cpu"}


def test_nothing_means_one_worker(monkeypatch):
    cluster = cluster_of(monkeypatch, {})
    assert (cluster.worker_num, cluster.worker_index, cluster.total_gpu_num) == (1, 0, 1)
    assert cluster.is_chief and cluster.local_worker_num == 1


def test_launcher(monkeypatch):
    cluster = cluster_of(monkeypatch, LAUNCHED)
    assert (cluster.worker_num, cluster.worker_index) == (3, 2)
    assert (cluster.gpu_num_per_worker, cluster.total_gpu_num) == (2, 6)
    assert cluster.local_worker_num == 2  # two of the three are on host b
    assert cluster.available_devices == [  # its own
        "/job:worker/replica:0/task:2/device:CPU:0", "/job:worker/replica:0/task:2/device:CPU:1"]
    assert not cluster.is_chief


def test_launcher_beats_tf_config(monkeypatch):
    environment = dict(LAUNCHED, **tf_config({"worker": ["x:1", "y:1"]}))
    assert cluster_of(monkeypatch, environment).worker_num == 3


def test_no_gpu_per_worker_still_is_one_device(monkeypatch):
    environment = dict(LAUNCHED, EPL_GPU_PER_WORKER="0")
    assert cluster_of(monkeypatch, environment).gpu_num_per_worker == 1


def test_another_horovod_runner(monkeypatch):
    cluster = cluster_of(monkeypatch, {"HOROVOD_SIZE": "4", "HOROVOD_RANK": "3",
                                       "HOROVOD_LOCAL_SIZE": "2"})
    assert (cluster.worker_num, cluster.worker_index, cluster.local_worker_num) == (4, 3, 2)


@pytest.mark.parametrize("kind, index, expected", [("chief", 0, 0), ("worker", 0, 1),
                                                   ("worker", 1, 2)])
def test_tf_config_counts_the_chief_first(kind, index, expected):
    spec = read_environment(tf_config({"chief": ["c:1"], "worker": ["w:1", "w:2"]}, kind, index))
    assert spec.worker_index == expected
    assert spec.hosts == ["c:1", "w:1", "w:2"]


@pytest.mark.parametrize("environment, message", [
    (tf_config({"worker": ["a:1"]}, index=1), "index 1 is out of range"),
    (tf_config({"worker": ["a:1"]}, index=-1), "index -1 is out of range"),
    (tf_config({"worker": ["a:1", "a:1"]}), "'a:1'] appear more than once"),
    (tf_config({"worker": ["a:1"], "ps": ["b:1"]}), "'ps'"),
    (tf_config({"worker": ["a:1"]}, "evaluator"), "evaluator"),
    (tf_config({"chief": ["a:1", "b:1"]}, "chief"), "2 chiefs"),
    ({"TF_CONFIG": "{not json"}, "not valid JSON"),
    ({"TF_CONFIG": "[]"}, "JSON object"),
    (dict(LAUNCHED, EPL_WORKER_INDEX="3"), "index 3 is out of range"),
    (dict(LAUNCHED, EPL_WORKER_INDEX="one"), "EPL_WORKER_INDEX = 'one'"),
    (dict(LAUNCHED, EPL_WORKER_HOSTS="a,b"), "names 2 workers, EPL_NUM_WORKERS says 3"),
    (dict(LAUNCHED, EPL_DEVICE_TYPE="tpu"), "'tpu'"),
    ({"TF_CONFIG": "[" * 100000}, "not valid JSON"),
    ({"TF_CONFIG": '{"cluster": null}'}, "'cluster' = None: a JSON object is needed"),
    ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": 5}'}, "'task' = 5: a JSON object"),
    (tf_config({"worker": "a:1"}), "'worker' = 'a:1': a list of addresses is needed"),
    (tf_config({"worker": None}), "'worker' = None: a list of addresses is needed"),
    (tf_config({"worker": ["a:1", 2]}), "a list of addresses is needed"),
    (tf_config({"worker": ["a:1"]}, ["worker"]), "is not in its cluster"),
    (tf_config({"worker": ["a:1"]}, index=0.0), "is not in its cluster"),
    (tf_config({"worker": ["a:0"]}), "there is no port '0'; use 1 to 65535"),
    (tf_config({"worker": ["a:65536"]}), "there is no port '65536'"),
    (tf_config({"worker": ["a:\u0661"]}), "there is no port"),
    (tf_config({"worker": ["a:"]}), "there is no port ''"),
    (tf_config({"worker": ["a b:1"]}), "'a b' is no host name"),
    (tf_config({"worker": ["a\0:1"]}), "is no host name"),
    (tf_config({"worker": ["http://a:1"]}), "there is no port '//a:1'"),
    (tf_config({"worker": ["x" * 1000 + ":1"]}), "xxx...': 'xxx"),
    (dict(LAUNCHED, EPL_NUM_WORKERS="9" * 17), "use 65536 workers at most"),
    (dict(LAUNCHED, EPL_NUM_WORKERS="9" * 5000), "a whole number is needed"),
    (dict(LAUNCHED, EPL_GPU_PER_WORKER="99999"), "use 0 to 4096"),
])
def test_contradictions_are_refused(monkeypatch, environment, message):
    with pytest.raises(ConfigError) as caught:
        cluster_of(monkeypatch, environment)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_explicit_cluster():
    cluster = Cluster(worker_hosts=["a:1", "b:1"], worker_index=1)
    assert (cluster.worker_num, cluster.worker_index) == (2, 1)
    with pytest.raises(ConfigError, match="parameter servers"):
        Cluster(worker_hosts=["a:1"], ps_hosts=["b:1"])
    with pytest.raises(ConfigError, match="at least one"):
        Cluster(worker_hosts=[])
    assert Cluster(worker_hosts="a:1,b:1", worker_index=1).hosts == ["a:1", "b:1"]


def test_an_explicit_cluster_has_the_devices_that_the_launcher_gives(monkeypatch):
    cluster_of(monkeypatch, LAUNCHED)
    cluster = Cluster(worker_hosts="a:1,b:1", worker_index=0)
    assert (cluster.gpu_num_per_worker, cluster.device_type, cluster.total_gpu_num) == (2, "cpu", 4)


def name(worker, device):
    return "/job:worker/replica:0/task:{}/device:CPU:{}".format(worker, device)


def test_virtual_devices(monkeypatch):
    cluster_of(monkeypatch, LAUNCHED)
    hosts = dict(worker_hosts="a:1,b:1", worker_index=1)
    one, = Cluster(layout="all", **hosts).virtual_devices
    assert one.slice_devices == [[name(0, 0)], [name(0, 1)], [name(1, 0)], [name(1, 1)]]
    assert one.local_devices == (name(1, 0), name(1, 1)) and one.num_replicas == 4
    slices = [[[name(1, 0)], [name(0, 0)]], [[name(1, 1)], [name(0, 1)]]]
    first, second = Cluster(layout={"specific": slices}, **hosts).virtual_devices
    assert first.slice_devices == slices[0] and second.all_devices == (name(1, 1), name(0, 1))
    assert second.get_device(1, 0) == name(0, 1) and second.local_devices == (name(1, 1),)


def test_rows_of_workers(monkeypatch):
    cluster_of(monkeypatch, dict(LAUNCHED, EPL_GPU_PER_WORKER="1"))
    found = Cluster(layout={"aware_row": 2}, worker_hosts="a:1,a:2,b:1,b:2").virtual_devices
    assert [each.all_devices for each in found] == [
        (name(0, 0), name(1, 0)), (name(2, 0), name(3, 0))]


@pytest.mark.parametrize("layout, message", [
    ("some", "'some'"),
    ({"aware_row": 1, "specific": []}, "use None, 'all'"),
    ({"aware_rows": 2}, "did you mean 'aware_row'"),
    ("aware_row", "with what it is to be"),
    ({"aware_row": 3}, "deals 2 worker(s) x 2 device(s)"),
    ({"aware_row": 0}, "'aware_row': 0}: a number of workers"),
    ({"specific": []}, "is no list of anything"),
    ({"specific": [["x"]]}, "'x' is no list"),
    ({"specific": [[["x"]]]}, "'x' is no device; write"),
    ({"specific": [[[name(0, 0)], [name(0, 1)]]]}, "leaves out 1:0, 1:1"),
    ({"specific": [[[name(0, 0)], [name(0, 0)]]]}, "names 0:0 (task:device) more than once"),
    ({"specific": [[[name(0, 7)]]]}, "names 0:7 (task:device) which do not exist"),
])
def test_layouts_that_cannot_be(monkeypatch, layout, message):
    cluster_of(monkeypatch, LAUNCHED)
    with pytest.raises(ConfigError) as caught:
        Cluster(worker_hosts="a:1,b:1", layout=layout)
    assert message in str(caught.value)
