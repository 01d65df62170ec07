# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The plan: slices, clones, its table; fusion buckets; TaskGraph intervals."""

import pkgutil
import subprocess
import sys

import pytest

import epl.plan
from epl.errors import ConfigError
from epl.ir.annotations import Annotations, Strategy
from epl.plan.action import BACKWARD, FORWARD
from epl.plan.buckets import TensorSpec, plan_buckets
from epl.plan.parallel_plan import Device, ParallelPlan, Placement, make_plan
from epl.plan.schedules import Shape, actions_of
from epl.plan.simulator import simulate
from tests.support.jobs import ROOT, environment_for

# Schedules of whole backwards, with one stage on each device.
WHOLE = ("preferbackward", "preferbackwardoptimizer", "preferforward", "1f1b-ahead")


def plan_of(*device_counts, **changes):
    arguments = dict(num_workers=1, devices_per_worker=sum(device_counts))
    arguments.update(changes)
    return make_plan([("", count) for count in device_counts], **arguments)


def test_a_plan_is_made_from_positions_as_well():
    plan = make_plan([("a", 1), ("b", 1)], 2, 2, 4, "sum")
    assert plan == ParallelPlan(
        num_workers=2, devices_per_worker=2, stage_names=("a", "b"), device_counts=(1, 1),
        placements=(Placement(0, 0, (Device(0, 0),)), Placement(0, 1, (Device(0, 1),)),
                    Placement(1, 0, (Device(1, 0),)), Placement(1, 1, (Device(1, 1),))),
        num_micro_batch=4, reduce_method="sum", schedule="preferbackward",
        actions=actions_of("preferbackward", Shape(2, 4)))


@pytest.mark.parametrize("names, expected", [
    ([""], ("model",)),
    (["encoder"], ("encoder",)),
    (["", "decoder", ""], ("stage 0", "decoder", "stage 2")),
])
def test_stages_have_names(names, expected):
    assert make_plan([(n, 1) for n in names], 1, len(names)).stage_names == expected


@pytest.mark.parametrize("device_counts, num_slices, stage_devices", [
    ((1,), 1, ["0"]),
    ((3,), 3, ["0 1 2"]),
    ((1, 2), 2, ["0 0", "1 2"]),
    ((2, 2), 2, ["0 1", "2 3"]),
    ((2, 4), 4, ["0 0 1 1", "2 3 4 5"]),
    ((2, 3), 6, ["0 0 0 1 1 1", "2 2 3 3 4 4"]),
])
def test_slices_are_dealt_evenly_in_runs(device_counts, num_slices, stage_devices):
    plan = plan_of(*device_counts, num_workers=2)
    assert plan.num_slices == num_slices
    for replica in (0, 1):
        for stage, devices in enumerate(stage_devices):
            assert [plan.device_of(replica, stage, s) for s in range(num_slices)] == [
                Device(replica, int(d)) for d in devices.split()]


@pytest.mark.parametrize("where, message", [
    ((2, 0, 0), "replica 2 of 2"), ((-1, 0, 0), "replica -1 of 2"),
    ((0, 2, 0), "stage 2 of 2"), ((0, 0, 2), "slice 2 of 2"),
])
def test_there_is_no_device_for_what_does_not_exist(where, message):
    with pytest.raises(IndexError, match=message):
        plan_of(1, 2, num_workers=2).device_of(*where)


def test_replicas_and_clones_of_a_worker():
    plan = plan_of(1, 2, num_workers=2, devices_per_worker=6, num_micro_batch=5)
    assert [plan.replicas_of(w) for w in range(3)] == [(0, 1), (2, 3), ()]
    assert [plan.clones_per_worker(w) for w in range(3)] == [2 * 5 * 2, 2 * 5 * 2, 0]
    pairs = plan_of(1, 1, num_workers=4, devices_per_worker=1, num_micro_batch=3)
    assert [pairs.replicas_of(team) for team in range(3)] == [(0,), (1,), ()]
    assert pairs.clones_per_worker(0) == 3
    columns = plan_of(1, num_workers=2, devices_per_worker=2, prefer_intra_node=False)
    assert [columns.replicas_of(w) for w in range(2)] == [(0, 2), (1, 3)]


def test_a_replica_on_two_workers_belongs_to_neither():
    plan = plan_of(1, 1)._replace(num_workers=2, devices_per_worker=1, placements=(
        Placement(0, 0, (Device(0, 0),)), Placement(0, 1, (Device(1, 0),))))
    assert (plan.replicas_of(0), plan.replicas_of(1)) == ((), ())
    plan = plan_of(2)._replace(num_workers=2, devices_per_worker=1, placements=(
        Placement(0, 0, (Device(0, 0), Device(1, 0))),))
    assert (plan.replicas_of(0), plan.replicas_of(1)) == ((), ())


@pytest.mark.parametrize("plan, single", [
    (plan_of(1), True),
    (plan_of(1, num_workers=4), True),
    (plan_of(1, num_micro_batch=2), False),
    (plan_of(1, devices_per_worker=2), False),
    (plan_of(2), False),
    (plan_of(1, 1), False),
])
def test_single_device_means_one_clone_on_one_device_per_worker(plan, single):
    assert plan.is_single_device is single


@pytest.mark.parametrize("name", WHOLE)
def test_a_plan_runs_its_own_schedule(name):
    plan = plan_of(1, 1, 1, num_micro_batch=4, schedule=name)
    assert plan.actions == actions_of(name, Shape(3, 4))
    simulation = plan.simulate({FORWARD: 2, BACKWARD: [3, 3, 3]})
    assert simulation == simulate(plan.actions, {FORWARD: 2, BACKWARD: 3})
    assert plan.simulate().makespan == 2 * (4 + 3 - 1)


def test_the_table_of_a_data_parallel_job():
    assert plan_of(1, num_workers=3).describe() == """
3 worker(s) x 1 device(s), 3 model replica(s) x 1 stage(s), 1 micro-batch(es) per step
global batch = script's batch x 1 micro-batch(es) x 3 replica(s); gradients: mean
 replica  stage  worker:device  name
       0      0  0:0            model
       1      0  1:0            model
       2      0  2:0            model
""".strip()


def test_the_table_of_a_pipeline():
    plan = make_plan([("encoder", 1), ("", 2)], 2, 3, 4, "sum", "preferforward")
    assert plan.describe() == """
2 worker(s) x 3 device(s), 2 model replica(s) x 2 stage(s), 4 micro-batch(es) per step
global batch = script's batch x 4 micro-batch(es) x 2 replica(s); gradients: sum
every micro-batch is cut along axis 0 into 2 slices
 replica  stage  worker:device  name
       0      0  0:0            encoder
       0      1  0:1 0:2        stage 1
       1      0  1:0            encoder
       1      1  1:1 1:2        stage 1
schedule preferforward (assumed: backward time = forward time, transfers take no time):
bubble: 1/5 = 20.0 % of the stages' time
micro-batches in flight at most, by stage: 4, 4
stage 0 | F0 F1 F2 F3 .  .  B0 B1 B2 B3
stage 1 | .  F0 F1 F2 F3 B0 B1 B2 B3 .
""".strip()


def test_the_table_of_pipelines_over_workers():
    plan = make_plan([("encoder", 1), ("decoder", 1)], 4, 1)
    assert plan.describe().splitlines()[:8] == """
4 worker(s) x 1 device(s), 2 model replica(s) x 2 stage(s), 1 micro-batch(es) per step
global batch = script's batch x 1 micro-batch(es) x 2 replica(s); gradients: mean
workers 0 1 hold replica(s) 0 together; worker 0 leads them
workers 2 3 hold replica(s) 1 together; worker 2 leads them
 replica  stage  worker:device  name
       0      0  0:0            encoder
       0      1  1:0            decoder
       1      0  2:0            encoder
""".strip().splitlines()


def test_one_stage_with_micro_batches_has_a_timetable_without_bubble():
    lines = plan_of(1, num_micro_batch=2).describe().splitlines()
    assert lines[-3:] == [
        "bubble: 0 = 0.0 % of the stages' time",
        "micro-batches in flight at most, by stage: 1",
        "stage 0 | F0 B0 F1 B1"]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("num_stages", [1, 2, 8])
@pytest.mark.parametrize("num_micro_batch", [32, 64, 300])
def test_a_table_stays_readable(name, num_stages, num_micro_batch):
    text = plan_of(*[1] * num_stages, num_micro_batch=num_micro_batch, schedule=name).describe()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 6 + num_stages + 4 * (num_stages + 1) + 1
    assert "F0 " in text and lines[-num_stages].endswith("B{}".format(num_micro_batch - 1))


def test_the_table_of_stages_that_share_devices():
    plan = make_plan([("", 1)] * 4, 1, 4, 2, num_chunks=2)
    assert (plan.num_replicas, plan.devices_per_replica) == (2, 2)
    assert plan.columns == ((0, 2), (1, 3))
    assert plan.actions_of(2) == tuple(a for a in plan.actions[0] if a.stage == 2)
    assert plan.describe().splitlines()[2:] == """
 replica  stage  worker:device  name
       0      0  0:0            stage 0
       0      1  0:1            stage 1
       0      2  0:0            stage 2
       0      3  0:1            stage 3
       1      0  0:2            stage 0
       1      1  0:3            stage 1
       1      2  0:2            stage 2
       1      3  0:3            stage 3
schedule preferbackward (assumed: backward time = forward time, transfers take no time):
bubble: 1/5 = 20.0 % of the devices' time
micro-batches in flight at most, by device, once for each of its stages: 4, 3
device 0, stages 0a 2b | F0a F1a F0b F1b .   B0b .   B1b B0a B1a
device 1, stages 1a 3b | .   F0a F1a F0b B0b F1b B1b B0a B1a .
""".strip("\n").splitlines()


@pytest.mark.parametrize("stages, arguments, message", [
    ([1] * 3, {}, "pipeline.num_chunks = 2 puts so many stages on every device, but the model has "
     "3: use a number of stages that is a multiple of 2"),
    ([1, 1, 2, 1], {}, "stages 0 and 2 share their devices (pipeline.num_chunks = 2), but ask for "
     "1 and 2 of them; let them ask for as many"),
    ([1] * 4, {"num_micro_batch": 3}, "interleaved stages take micro-batches in rounds of 2, as "
     "many as a replica has devices, and 3 is no multiple of that"),
    ([1] * 4, {"slices": ()}, "with pipeline.num_chunks = 2 the schedule chooses the devices"),
    ([1] * 6, {"schedule": "zb-v", "num_chunks": 3, "devices_per_worker": 2},
     "'zb-v' is for two stages on each device; set pipeline.num_chunks = 2"),
])
def test_stages_that_cannot_share_devices_are_refused(stages, arguments, message):
    options = dict({"num_workers": 1, "devices_per_worker": 2, "num_micro_batch": 2,
                    "num_chunks": 2}, **arguments)
    with pytest.raises(ConfigError) as caught:
        make_plan([("", count) for count in stages], **options)
    assert message in str(caught.value)


def test_all_workers_print_the_same_plan():
    code = "from epl.plan.parallel_plan import make_plan; " \
           "print(make_plan([('a', 1), ('', 2)], 4, 6, 8).describe())"
    texts = {subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT,
                            stdout=subprocess.PIPE,
                            env=environment_for({"PYTHONHASHSEED": seed})).stdout
             for seed in ("1", "2", "3")}
    assert len(texts) == 1
    assert b"8 model replica(s) x 2 stage(s)" in texts.pop()


def test_the_plan_needs_no_tensorflow():
    modules = [m.name for m in pkgutil.walk_packages(epl.plan.__path__, "epl.plan.")]
    assert len(modules) >= 12
    code = "import sys, epl.launcher, epl.cluster, {}; " \
           "assert 'tensorflow' not in sys.modules and 'horovod.tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code.format(", ".join(modules))], check=True, cwd=ROOT,
                   env=environment_for())


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


@pytest.mark.parametrize("sizes, expected", [
    ([10, 10, 10, 10], [(3, 2, 1, 0)]),
    ([40, 40, 40, 40], [(3, 2, 1, 0)]),
    ([50, 50, 50, 50], [(3, 2), (1, 0)]),
    ([10, 990, 10], [(2, 1, 0)]),
    ([10, 10, 10, 100, 100, 990], [(5,), (4,), (3, 2, 1, 0)]),
    ([500, 400, 90, 10], [(3, 2, 1), (0,)]),
    ([100] * 10, [(9, 8), (7, 6), (5, 4), (3, 2), (1, 0)]),
])
def test_a_bucket_that_is_not_worth_a_message_is_not_split_off(sizes, expected):
    assert plan_buckets(specs(*sizes), 5, smallest=100) == expected


def test_small_buckets_of_other_kinds_stay_apart():
    assert plan_buckets(specs(1, 1, 1, t1="float64"), 5, smallest=100) == [(2, 0), (1,)]


@pytest.mark.parametrize("max_splits", [1, 2, 3, 5, 100])
def test_buckets_hold_every_tensor_once_within_the_limit(max_splits):
    tensors = specs(*[(i * 7919) % 1000 for i in range(57)], t3="float16", t9="float64")
    buckets = plan_buckets(tensors, max_splits)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(57))
    assert len(buckets) <= max(max_splits, 3)  # three dtypes
    for bucket in buckets:
        assert len({tensors[i].dtype for i in bucket}) == 1
        assert list(bucket) == sorted(bucket, reverse=True)


def on(devices, *sizes, **dtypes):
    return [spec._replace(device=d) for spec, d in zip(specs(*sizes, **dtypes), devices)]


@pytest.mark.parametrize("tensors, max_splits, expected", [
    (on("aabb", 10, 10, 10, 10), 1, [(3, 2), (1, 0)]),
    (on("abab", 10, 10, 10, 10), 2, [(3, 1), (2, 0)]),
    (on("aabb", 50, 50, 10, 10), 3, [(3, 2), (1,), (0,)]),
    (on("aabb", 10, 10, 50, 50), 3, [(3,), (2,), (1, 0)]),
    (on("aaaa", 10, 10, 10, 10), 2, [(3, 2), (1, 0)]),
    (on("abab", 10, 10, 10, 10, t1="float16"), 3, [(3,), (2, 0), (1,)]),
    (on("ab", -1, 10), 5, [(1,), (0,)]),
])
def test_a_bucket_stays_on_one_device(tensors, max_splits, expected):
    assert plan_buckets(tensors, max_splits) == expected


@pytest.mark.parametrize("max_splits", [1, 4, 7, 100])
def test_buckets_on_devices_hold_every_tensor_once_within_the_limit(max_splits):
    devices = ["/device:GPU:{}".format(i % 3) for i in range(57)]
    tensors = on(devices, *[(i * 7919) % 1000 for i in range(57)], t3="float16", t9="float64")
    buckets = plan_buckets(tensors, max_splits)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(57))
    kinds = [{(tensors[i].dtype, tensors[i].device) for i in bucket} for bucket in buckets]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(buckets) <= max(max_splits, 5)  # float32 on three devices, and one of each other


def test_unknown_sizes_count_as_the_mean():
    assert plan_buckets(specs(10, -1, 10, -1), 2) == [(3, 2), (1, 0)]
    assert plan_buckets(specs(-1, -1), 2) == [(1,), (0,)]


def test_no_bucket_at_all():
    with pytest.raises(ValueError, match="max_splits = 0"):
        plan_buckets(specs(1), 0)


def test_task_graphs_are_intervals_of_op_ids():
    annotations = Annotations()
    assert annotations.task_graph_of(7) == 0
    annotations.begin(10, Strategy("first", 1))
    annotations.begin(20, Strategy("second", 1))
    annotations.resume(30, 0)
    owners = [annotations.task_graph_of(op_id) for op_id in (1, 10, 11, 20, 21, 30, 31, 99)]
    assert owners == [0, 0, 0, 0, 1, 1, 0, 0]
    assert [t.name for t in annotations.task_graphs] == ["first", "second"]


def test_an_annotation_without_operations_is_replaced_by_the_next():
    annotations = Annotations()
    annotations.begin(10, Strategy("empty", 1))
    annotations.begin(10, Strategy("full", 2))
    found, = annotations.task_graphs
    assert (found.position, found.name, found.device_count) == (0, "full", 2)
    assert annotations.task_graph_of(11) == 0
    annotations.begin(20, Strategy("after", 1))
    annotations.resume(30, 1)
    annotations.begin(30, Strategy("last", 1))  # "after" has operations
    assert [t.name for t in annotations.task_graphs] == ["full", "after", "last"]
    assert [annotations.task_graph_of(n) for n in (5, 20, 21, 30, 31)] == [0, 0, 1, 1, 2]
