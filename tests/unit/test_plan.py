# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The plan: layouts, refusals, fusion buckets, TaskGraph intervals."""

import subprocess
import sys

import pytest

from epl.ir.annotations import Annotations
from epl.plan.buckets import TensorSpec, plan_buckets
from epl.plan.parallel_plan import make_plan
from tests.support.jobs import ROOT, environment_for


def test_one_replica_per_worker():
    plan = make_plan([("", 1)], num_workers=3, devices_per_worker=1)
    assert (plan.num_replicas, plan.num_stages) == (3, 1)
    assert [(p.replica, p.worker, p.device) for p in plan.placements] == [
        (0, 0, 0), (1, 1, 0), (2, 2, 0)]
    assert "3 model replica(s) x 1 stage(s)" in plan.describe()


@pytest.mark.parametrize("stages, devices, words", [
    ([("a", 1), ("b", 1)], 1, ["2 TaskGraphs", "a, b", "once per graph"]),
    ([("a", 2)], 1, ["device_count=2", "device_count=1"]),
    ([("a", 1)], 4, ["4 devices per worker", "--num_workers 8 --gpu_per_worker 1"]),
])
def test_layouts_that_cannot_run_yet_are_refused(stages, devices, words):
    with pytest.raises(NotImplementedError) as caught:
        make_plan(stages, num_workers=2, devices_per_worker=devices)
    for word in words:
        assert word in str(caught.value)


def test_the_plan_needs_no_tensorflow():
    code = "import sys, epl.plan.parallel_plan, epl.plan.buckets, epl.launcher, epl.cluster; " \
           "assert 'tensorflow' not in sys.modules and 'horovod.tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment_for())


def specs(*sizes, **dtypes):
    return [TensorSpec(dtypes.get("t{}".format(i), "float32"), n) for i, n in enumerate(sizes)]


@pytest.mark.parametrize("sizes, max_splits, expected", [
    ([10], 5, [(0,)]),
    ([10, 10, 10, 10], 2, [(3, 2), (1, 0)]),
    ([10, 10, 10, 10], 1, [(3, 2, 1, 0)]),
    ([1, 1, 100], 3, [(2,), (1,), (0,)]),
    ([100, 1, 1], 2, [(2, 1, 0)]),
    ([0, 0], 2, [(1,), (0,)]),
    ([], 3, []),
])
def test_buckets_are_even_runs_in_backward_order(sizes, max_splits, expected):
    assert plan_buckets(specs(*sizes), max_splits) == expected


@pytest.mark.parametrize("max_splits", [1, 2, 3, 5, 100])
def test_buckets_hold_every_tensor_once_within_the_limit(max_splits):
    tensors = specs(*[(i * 7919) % 1000 for i in range(57)], t3="float16", t9="float64")
    buckets = plan_buckets(tensors, max_splits)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(57))
    assert len(buckets) <= max(max_splits, 3)  # three dtypes
    for bucket in buckets:
        assert len({tensors[i].dtype for i in bucket}) == 1
        assert list(bucket) == sorted(bucket, reverse=True)


def test_unknown_sizes_count_as_the_mean():
    assert plan_buckets(specs(10, -1, 10, -1), 2) == [(3, 2), (1, 0)]
    assert plan_buckets(specs(-1, -1), 2) == [(1,), (0,)]


def test_no_bucket_at_all():
    with pytest.raises(ValueError, match="max_splits = 0"):
        plan_buckets(specs(1), 0)


def test_task_graphs_are_intervals_of_op_ids():
    annotations = Annotations()
    assert annotations.task_graph_of(7) == 0
    annotations.begin(10, "first", 1)
    annotations.begin(20, "second", 1)
    annotations.resume(30, 0)
    owners = [annotations.task_graph_of(op_id) for op_id in (1, 10, 11, 20, 21, 30, 31, 99)]
    assert owners == [0, 0, 0, 0, 1, 1, 0, 0]
    assert [t.name for t in annotations.task_graphs] == ["first", "second"]


def test_an_empty_interval_belongs_to_what_follows():
    annotations = Annotations()
    annotations.begin(10, "empty", 1)
    annotations.begin(10, "full", 1)
    assert annotations.task_graph_of(11) == 1
