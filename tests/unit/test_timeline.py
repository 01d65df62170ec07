# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""From what TensorFlow notes of a step to events, spans and the bubble's share."""

import pytest
import tensorflow.compat.v1 as tf

from epl.plan.action import BACKWARD, FORWARD, KINDS, Action
from epl.plan.parallel_plan import make_plan
from epl.profiler.action_map import ActionMap
from epl.profiler.bubble import measure
from epl.profiler.events import COPIED, LAUNCHED, RAN, Event, device_key, read_events
from epl.profiler.spans import computes_gradients, make_spans, union

NOW = 1795493001556239997  # a real clock, in nanoseconds
JOB = "/job:localhost/replica:0/task:0/device:"


def node(name, start, end, ready=None, label=None, origin=NOW):
    """One `NodeExecStats` with times in nanoseconds after `origin`, as TensorFlow writes it."""
    stats = tf.RunMetadata().step_stats.dev_stats.add().node_stats.add()
    stats.node_name = name
    stats.timeline_label = name + " = MatMul(x, y)" if label is None else label
    stats.all_start_nanos, stats.all_end_rel_nanos = origin + start, end - start
    stats.all_start_micros = stats.all_start_nanos // 1000
    scheduled = (origin + (start if ready is None else ready)) * 1000  # its mistake
    stats.scheduled_nanos = (scheduled + 2 ** 63) % 2 ** 64 - 2 ** 63
    return stats


def read(devices):
    """The events of {device string: [NodeExecStats]}."""
    metadata = tf.RunMetadata()
    for device, nodes in devices.items():
        metadata.step_stats.dev_stats.add(device=device, node_stats=nodes)
    return read_events(metadata.step_stats)


@pytest.mark.parametrize("device, expected", [
    ("/job:localhost/replica:0/task:0/device:CPU:1", ("CPU:1", LAUNCHED)),
    ("/job:worker/replica:0/task:3/device:GPU:11", ("GPU:11", LAUNCHED)),
    ("/device:GPU:0/stream:all", ("GPU:0", RAN)),
    ("/gpu:0/stream:all", ("GPU:0", RAN)),
    ("/job:localhost/replica:0/task:0/device:GPU:1/stream:all", ("GPU:1", RAN)),
    ("/device:GPU:1/memcpy", ("GPU:1", COPIED)),
    ("/device:XLA_GPU:0", ("XLA_GPU:0", LAUNCHED)),
    ("/device:GPU:0/stream:13", None),
    ("/device:GPU:0/stream:13<MemcpyD2H>", None),
    ("/device:GPU:0/sync", None),
    ("/host:CPU", None),
    ("", None),
])
def test_device_strings(device, expected):
    assert device_key(device) == expected


def test_events_have_times_types_and_the_time_when_they_could_have_run():
    found = read({
        JOB + "CPU:0": [node("a", 100, 350, ready=70), node("_SOURCE", 0, 10)],
        JOB + "CPU:1": [node("b/c", 400, 500, label="[cpu 0.2MB 0.2MB] b/c = _FusedMatMul(a, w)")],
        "/host:CPU": [node("a:MatMul", 100, 350)]})
    assert found == [Event("CPU:0", RAN, "_SOURCE", "MatMul", 0, 0, 10),
                     Event("CPU:0", RAN, "a", "MatMul", 70, 100, 350),
                     Event("CPU:1", RAN, "b/c", "_FusedMatMul", 400, 400, 500)]


def test_scheduling_times_that_cannot_be_are_the_start():
    right, missing, wild = [node(name, 2000, 3000) for name in ("right", "missing", "wild")]
    right.scheduled_nanos, missing.scheduled_nanos, wild.scheduled_nanos = NOW + 1500, 0, 12345
    found = read({JOB + "CPU:0": [node("first", 0, 1), right, missing, wild]})
    assert {event.name: event.ready for event in found[1:]} == {
        "right": 1500, "missing": 2000, "wild": 2000}


def test_on_a_gpu_kernels_run_and_the_host_only_launches():
    def kernel(name, start, end):  # microseconds, as the tracer of GPUs has them
        stats = node(name, 0, 0, label="volta_sgemm_128x64_nn regs:64 grid:8,1,1")
        stats.ClearField("all_start_nanos"), stats.ClearField("all_end_rel_nanos")
        stats.ClearField("scheduled_nanos")
        stats.all_start_micros, stats.all_end_rel_micros = NOW // 1000 + start, end - start
        return stats

    found = read({
        JOB + "GPU:0": [node("dense/MatMul", 0, 5000, origin=NOW // 1000 * 1000)],
        "/device:GPU:0/stream:all": [kernel("dense/MatMul:MatMul", 50, 90)],
        "/device:GPU:0/stream:13": [kernel("dense/MatMul:MatMul", 50, 90)],
        "/device:GPU:0/memcpy": [kernel("edge_7_x", 95, 99)],
        JOB + "CPU:0": [node("x", 1000, 2000, origin=NOW // 1000 * 1000)]})
    assert [(e.device, e.kind, e.name, e.start, e.end) for e in found] == [
        ("GPU:0", LAUNCHED, "dense/MatMul", 0, 5000), ("CPU:0", RAN, "x", 1000, 2000),
        ("GPU:0", RAN, "dense/MatMul", 50000, 90000), ("GPU:0", COPIED, "edge_7_x", 95000, 99000)]
    assert found[2].type == "MatMul"


def test_nothing_traced():
    assert read({}) == [] and read({"/host:CPU": [node("a", 0, 1)]}) == []


# Spans. `F0` on stage 1 is made of the operations "1/F0" and "1/F0/...".

KIND_OF = {row.label: kind for kind, row in KINDS.items()}


def action_of(name):
    stage, label = name.split("/")[:2]
    return Action(KIND_OF[label[0]], int(stage), int(label[1:]))


def mapped(*names, devices=(("CPU:0",), ("CPU:1",)), in_graph=()):
    """A `ActionMap` of one replica, a stage per entry of `devices`."""
    return ActionMap("epl/gradients_0", {name: action_of(name) for name in names},
                   frozenset(names).union(in_graph),
                   {(0, stage): found for stage, found in enumerate(devices)})


def ran(device, name, start, end, ready=None, type_="MatMul"):
    return Event(device, RAN, name, type_, start if ready is None else ready, start, end)


def spans_of(events, action_map):
    """[(label, device, pieces)]"""
    return [(span.label, span.device, list(span.pieces)) for span in make_spans(events, action_map)]


def test_a_span_reaches_from_the_first_operation_to_the_last():
    events = [ran("CPU:0", "0/F0", 10, 20), ran("CPU:0", "0/F0/b", 20, 45, ready=12),
              ran("CPU:0", "0/F0/c", 30, 40)]
    assert spans_of(events, mapped("0/F0", "0/F0/b", "0/F0/c")) == [("F0", "CPU:0", [(10, 45)])]


def test_waiting_for_a_thread_is_busy_and_waiting_for_inputs_is_idle():
    waited = [ran("CPU:0", "0/F0", 0, 10), ran("CPU:0", "0/F0/b", 50, 60, ready=10)]
    starved = [ran("CPU:0", "0/F0", 0, 10), ran("CPU:0", "0/F0/b", 50, 60, ready=45)]
    action_map = mapped("0/F0", "0/F0/b")
    assert spans_of(waited, action_map) == [("F0", "CPU:0", [(0, 60)])]
    assert spans_of(starved, action_map) == [("F0", "CPU:0", [(0, 10), (45, 60)])]


def test_what_waits_while_another_action_runs_counts_from_its_end():
    events = [ran("CPU:0", "0/F0", 0, 30), ran("CPU:0", "0/F1", 34, 50, ready=5)]
    assert spans_of(events, mapped("0/F0", "0/F1")) == [
        ("F0", "CPU:0", [(0, 30)]), ("F1", "CPU:0", [(30, 50)])]


def test_a_mask_that_runs_early_is_a_piece_of_its_own():
    events = [ran("CPU:1", "1/F0/mask", 0, 3), ran("CPU:0", "0/F0", 0, 100),
              ran("CPU:1", "1/F0", 110, 200)]
    found = make_spans(events, mapped("0/F0", "1/F0", "1/F0/mask"))
    assert [(span.label, span.device, span.main, span.busy) for span in found] == [
        ("F0", "CPU:0", (0, 100), 100), ("F0", "CPU:1", (110, 200), 93)]
    assert found[1].pieces == ((0, 3), (110, 200)) and (found[1].start, found[1].end) == (0, 200)


def test_constants_count_only_behind_other_work():
    events = [ran("CPU:0", "0/F0/shape", 0, 5, type_="Const"), ran("CPU:0", "0/F0", 40, 50),
              ran("CPU:0", "0/F0/two", 50, 52, type_="Const"), ran("CPU:0", "0/F0/c", 52, 60)]
    action_map = mapped("0/F0", "0/F0/shape", "0/F0/two", "0/F0/c")
    assert spans_of(events, action_map) == [("F0", "CPU:0", [(40, 60)])]


def test_only_what_ran_on_the_devices_of_the_stage_counts():
    events = [ran("CPU:1", "1/F0", 10, 20), ran("CPU:0", "1/F0/gather", 0, 5),
              Event("CPU:1", LAUNCHED, "1/F0", "", 0, 0, 1)]
    assert spans_of(events, mapped("1/F0", "1/F0/gather")) == [("F0", "CPU:1", [(10, 20)])]


def test_where_tensorflow_placed_the_stage_the_accelerator_is_its_device():
    action_map = mapped("0/F0", "0/F0/b", devices=[()])
    on_cpu = ran("CPU:0", "0/F0", 0, 5)
    assert spans_of([on_cpu], action_map) == [("F0", "CPU:0", [(0, 5)])]
    assert spans_of([on_cpu, ran("GPU:0", "0/F0/b", 7, 9)], action_map) == [
        ("F0", "GPU:0", [(7, 9)])]


def test_what_tensorflow_makes_of_an_operation_stands_below_its_name():
    action_map = mapped("0/F0/while", in_graph=["0/F0/while/neighbour"])
    assert action_map.find("0/F0/while/body/_1/MatMul") == Action(FORWARD, 0, 0)
    assert action_map.find("0/F0/while/neighbour") is None
    assert action_map.find("0/F0/other") is None and action_map.find("_SOURCE") is None


def test_the_update_is_what_runs_behind_the_last_action_of_a_device():
    events = [ran("CPU:0", "0/B0", 0, 100), ran("CPU:1", "1/B0", 0, 40),
              ran("CPU:0", "weights", 2, 4), ran("CPU:0", "sum", 90, 110),
              ran("CPU:0", "Adam", 110, 130), ran("CPU:1", "norm", 120, 125),
              ran("CPU:2", "elsewhere", 120, 125)]
    assert spans_of(events, mapped("0/B0", "1/B0")) == [
        ("B0", "CPU:1", [(0, 40)]), ("B0", "CPU:0", [(0, 100)]),
        ("update", "CPU:0", [(100, 130)]), ("update", "CPU:1", [(120, 125)])]


def test_a_run_without_a_backward_pass_is_no_step():
    action_map = mapped("0/F0", "0/B0")
    assert not computes_gradients([ran("CPU:0", "0/F0", 0, 1)], action_map)
    assert computes_gradients([ran("CPU:0", "0/B0", 0, 1)], action_map)


def test_union():
    assert union([(5, 7), (0, 2), (2, 3), (6, 9), (20, 21)]) == ((0, 3), (5, 9), (20, 21))


# The bubble.

def simulated(plan, times):
    """The events of a plan whose actions are one operation each, and their map."""
    spans = plan.simulate(times).spans
    homes = {span.action.stage: "CPU:{}".format(span.device) for span in spans}
    events = [ran("CPU:{}".format(span.device), "{}/{}".format(span.action.stage, span.label),
                  1000 + span.start, 1000 + span.end) for span in spans]
    return events, mapped(*[e.name for e in events], devices=[
        (homes[stage],) for stage in range(plan.num_stages)])


@pytest.mark.parametrize("schedule", ["preferforward", "preferbackward", "preferbackwardoptimizer"])
@pytest.mark.parametrize("stages, micro_batches", [(1, 3), (2, 4), (4, 8), (3, 1)])
def test_a_step_that_runs_as_planned_has_the_planned_bubble(schedule, stages, micro_batches):
    plan = make_plan([("", 1)] * stages, 1, stages, micro_batches, schedule=schedule)
    forward = [300 + 7 * stage for stage in range(stages)]
    backward = [500 + 11 * stage for stage in range(stages)]
    events, action_map = simulated(plan, {FORWARD: forward, BACKWARD: backward})
    spans = make_spans(events, action_map)
    bubble = measure(spans, plan)
    meant = plan.simulate({FORWARD: forward, BACKWARD: backward})
    share = meant.bubble_share
    assert bubble.measured == pytest.approx(share) and bubble.planned == pytest.approx(share)
    assert bubble.equal_times == pytest.approx((stages - 1) / (micro_batches + stages - 1))
    assert bubble.times == {FORWARD: tuple(forward), BACKWARD: tuple(backward)}
    assert bubble.window == (1000, 1000 + meant.makespan)
    for stage in range(stages):
        assert tuple(s.action for s in spans if s.action.stage == stage) == plan.actions[stage]


def test_idle_time_beyond_the_plan_is_measured():
    plan = make_plan([("", 1)] * 2, 1, 2)
    events = [ran("CPU:0", "0/F0", 0, 100), ran("CPU:1", "1/F0", 150, 250),
              ran("CPU:1", "1/B0", 250, 350), ran("CPU:0", "0/B0", 350, 450)]
    bubble = measure(make_spans(events, mapped(*[e.name for e in events])), plan)
    assert bubble.measured == pytest.approx(1 - 400 / 900)
    assert bubble.planned == pytest.approx(0.5) and bubble.equal_times == pytest.approx(0.5)


def test_every_replica_has_a_window_of_its_own():
    plan = make_plan([("", 1)], 1, 2)
    spans = make_spans(
        [ran("CPU:0", "a", 0, 100), ran("CPU:1", "b", 500, 600)],
        ActionMap("", {"a": Action(BACKWARD, 0, 0), "b": Action(BACKWARD, 0, 0, 1)}, frozenset(),
                {(0, 0): ("CPU:0",), (1, 0): ("CPU:1",)}))
    bubble = measure(spans, plan)
    assert bubble.measured == 0 and bubble.window == (0, 600) and bubble.times[BACKWARD] == (100,)


def test_a_stage_of_two_devices_has_a_span_on_each():
    plan = make_plan([("", 2)], 1, 2)
    action_map = mapped("0/F0/first_half", "0/F0/second_half", devices=[("CPU:0", "CPU:1")])
    spans = make_spans([ran("CPU:0", "0/F0/first_half", 0, 100),
                        ran("CPU:1", "0/F0/second_half", 0, 50)], action_map)
    assert [(span.label, span.device, span.busy) for span in spans] == [
        ("F0", "CPU:1", 50), ("F0", "CPU:0", 100)]
    assert measure(spans, plan).measured == pytest.approx(0.25)


def test_without_an_action_there_is_nothing_to_measure():
    with pytest.raises(ValueError, match="no action"):
        measure([], make_plan([("", 1)], 1, 1))
