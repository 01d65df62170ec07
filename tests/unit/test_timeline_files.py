# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a timeline: text, a trace for Chrome, a picture; and what may be asked for."""

import json
import os
import struct

import pytest

from epl.errors import ConfigError
from epl.plan.action import BACKWARD, FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS
from epl.plan.parallel_plan import make_plan
from epl.plan.schedules import Shape, actions_of
from epl.profiler import files as files_module
from epl.profiler.chrome import chrome_trace
from epl.profiler.events import COPIED, LAUNCHED, Event
from epl.profiler.files import check_output, write_timeline
from epl.profiler.hook import _checked
from epl.profiler.spans import make_spans
from epl.profiler.timeline import make_timeline
from tests.unit.test_timeline import mapped, ran, simulated


def rows(trace):
    """{(process name, thread name): slices of the trace}"""
    events = trace["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    found = {(e["pid"], e["tid"]): (processes[e["pid"]], e["args"]["name"])
             for e in events if e["name"] == "thread_name"}
    return {key: [e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == place]
            for place, key in found.items()}


def check_nesting(trace):
    """The slices of a row follow each other or lie within each other."""
    places = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["ph"] == "X"}
    for place in places:
        slices = [e for e in trace["traceEvents"]
                  if e["ph"] == "X" and (e["pid"], e["tid"]) == place]
        ends = []
        for each in sorted(slices, key=lambda e: (e["ts"], -e["dur"])):
            while ends and ends[-1] <= each["ts"] + 1e-9:
                ends.pop()
            assert not ends or each["ts"] + each["dur"] <= ends[-1] + 1e-9, each
            ends.append(each["ts"] + each["dur"])


def test_a_device_is_a_process_and_an_action_encloses_its_operations():
    events = [ran("CPU:0", "0/F0", 1000, 3000), ran("CPU:0", "0/F0/b", 3000, 5000, ready=2500),
              ran("CPU:0", "0/F0/beside", 2000, 4000), ran("CPU:1", "1/F0", 6000, 7000),
              ran("CPU:0", "Adam", 5000, 5500, type_="ApplyAdam")]
    action_map = mapped("0/F0", "0/F0/b", "0/F0/beside", "1/F0")
    trace = chrome_trace(events, make_spans(events, action_map), action_map, {"about": 1})
    trace = json.loads(json.dumps(trace))
    check_nesting(trace)
    found = rows(trace)
    actions = found["CPU:0", "actions"]
    assert {(s["name"], s["cat"], s["ts"], s["dur"]) for s in actions} == {
        ("F0", "action", 1.0, 4.0), ("MatMul", "operation", 1.0, 2.0),
        ("MatMul", "operation", 3.0, 2.0), ("update", "update", 5.0, 0.5)}
    span = next(s for s in actions if s["name"] == "F0")
    assert span["args"] == {"busy_ms": 0.004, "replica": 0, "stage": 0, "kind": "forward",
                            "micro_batch": 0}
    waited = next(s for s in actions if s["args"].get("op") == "0/F0/b")
    assert waited["args"] == {"op": "0/F0/b", "waited_us": 0.5,
                              "action": "replica_0/stage_0/forward_0"}
    assert [s["args"]["op"] for s in found["CPU:0", "operations"]] == ["0/F0/beside", "Adam"]
    assert len(found["CPU:1", "actions"]) == 2 and trace["otherData"] == {"about": 1}


def test_copies_and_launches_have_rows_of_their_own():
    events = [Event("GPU:0", LAUNCHED, "0/F0", "MatMul", 0, 0, 10),
              ran("GPU:0", "0/F0", 20, 90), Event("GPU:0", COPIED, "edge", "", 90, 90, 99),
              ran("CPU:0", "input", 0, 5)]
    action_map = mapped("0/F0", devices=[("GPU:0",)])
    trace = chrome_trace(events, make_spans(events, action_map), action_map)
    assert list(rows(trace)) == [
        ("GPU:0", "actions"), ("GPU:0", "copies"), ("GPU:0", "launches by the host"),
        ("CPU:0", "operations")]


def test_actions_that_overlap_by_the_clocks_grain_share_a_row():
    events = [ran("CPU:0", "0/F0", 0, 5030), ran("CPU:0", "0/B0", 5000, 9000),
              ran("CPU:0", "0/F1", 6000, 12000)]
    action_map = mapped("0/F0", "0/B0", "0/F1")
    trace = chrome_trace(events, make_spans(events, action_map), action_map)
    check_nesting(trace)
    threads = [e["tid"] for e in trace["traceEvents"] if e.get("cat") == "action"]
    assert threads == [0, 0, 1]


@pytest.fixture(name="pipeline")
def _pipeline():
    plan = make_plan([("lower", 1), ("upper", 1)], 1, 2, 4)
    events, action_map = simulated(plan, {FORWARD: 2000000, BACKWARD: 4000000})
    events = [*events, ran("CPU:0", "Adam", 30001000, 31001000)]
    return make_timeline(7, plan, action_map, events)


def test_the_summary_has_the_measured_bubble_beside_the_plans(pipeline):
    assert pipeline.describe() == (
        "step 7 took 31.00 ms, the pipeline in it 30.00 ms; schedule preferbackward, "
        "4 micro-batch(es)\n"
        "bubble: measured 20.0 %; plan 20.0 % with the measured times below, 20.0 % with equal "
        "times\n"
        "stage 0 (lower): forward 2.00 ms, backward 4.00 ms per micro-batch\n"
        "stage 1 (upper): forward 2.00 ms, backward 4.00 ms per micro-batch")


def test_actions_that_ran_elsewhere_are_named(pipeline):
    events = [e for e in pipeline.events if e.device != "CPU:1"]
    found = make_timeline(7, pipeline.plan, pipeline.action_map, events)
    assert len(found.missing) == 8
    assert "8 action(s), such as replica_0/stage_1/forward_0" in found.describe()


def test_files(pipeline, tmp_path):
    files = write_timeline(pipeline, str(tmp_path))
    assert sorted(os.listdir(str(tmp_path))) == ["timeline_7.json", "timeline_7.png"]
    with open(files.trace, encoding="utf-8") as file:
        trace = json.load(file)
    check_nesting(trace)
    assert trace["otherData"]["bubble_measured"] == pytest.approx(0.2)
    assert trace["otherData"]["summary"] == pipeline.describe().split("\n")
    assert set(rows(trace)) == {("CPU:0", "actions"), ("CPU:0", "operations"), ("CPU:1", "actions")}
    width, height = png_size(files.picture)
    assert width >= 800 and height >= 300


def png_size(path):
    """(width, height) of a PNG file, from its header (PNG specification, 11.2.2)."""
    with open(path, "rb") as file:
        header = file.read(24)
    assert header[:8] == b"\x89PNG\r\n\x1a\n" and header[12:16] == b"IHDR"
    return struct.unpack(">II", header[16:24])


TIMES = {FORWARD: 2000000, BACKWARD: 3000000, INPUT_GRADIENTS: 2000000, WEIGHT_GRADIENTS: 1000000}


@pytest.mark.parametrize("actions, share, text", [
    (actions_of("zb-h1", Shape(3, 5)), 6 / 31,
     "forward 2.00 ms, input gradients 2.00 ms, weight gradients 1.00 ms per micro-batch"),
    (actions_of("preferbackward", Shape(6, 3, 2)), 2 / 8,
     "forward 2.00 ms, backward 3.00 ms per micro-batch")])
def test_timelines_of_halves_and_of_several_stages_on_a_device(actions, share, text, tmp_path):
    num_stages = 1 + max(action.stage for own in actions for action in own)
    num_micro_batch = 1 + max(action.micro_batch for own in actions for action in own)
    plan = make_plan([("", 1)] * num_stages, 1, num_stages, num_micro_batch)._replace(
        actions=actions)
    events, action_map = simulated(plan, TIMES)
    timeline = make_timeline(3, plan, action_map, events)
    assert not timeline.missing and timeline.bubble.measured == pytest.approx(share)
    assert timeline.bubble.planned == pytest.approx(share)
    assert timeline.describe().count(text) == num_stages
    files = write_timeline(timeline, str(tmp_path))
    assert min(png_size(files.picture)) > 200
    with open(files.trace, encoding="utf-8") as file:
        shown = rows(json.load(file))
    for device, own in enumerate(actions):
        assert [s["name"] for s in shown["CPU:{}".format(device), "actions"]
                if s["cat"] == "action"] == [action.label for action in own]


def test_without_a_picture_only_the_trace_is_written(pipeline, tmp_path):
    files = write_timeline(pipeline, str(tmp_path), picture=False)
    assert os.listdir(str(tmp_path)) == ["timeline_7.json"] and files.picture == ""


def test_the_output_directory_is_made(tmp_path):
    check_output(str(tmp_path / "new" / "deep"), picture=False)
    assert os.listdir(str(tmp_path / "new" / "deep")) == []


@pytest.mark.parametrize("name", ["file", "file/below", None])
def test_a_directory_that_cannot_be_written_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("")
    output_dir = None if name is None else str(tmp_path / name)
    with pytest.raises(ConfigError, match="output_dir = .*give a local directory"):
        check_output(output_dir, picture=False)


def test_matplotlib_is_needed_for_pictures_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(files_module, "find_spec", lambda name: None)
    check_output(str(tmp_path), picture=False)
    with pytest.raises(ImportError, match="pip install matplotlib, or pass picture=False"):
        check_output(str(tmp_path), picture=True)


def test_steps():
    assert _checked(range(2, 4)) == {2, 3} and _checked([0]) == {0}
    for wrong in (10, ["ten"], [1.5]):
        with pytest.raises(TypeError, match="steps = .*steps=\\[10\\]"):
            _checked(wrong)
    for wrong in ([], [-1]):
        with pytest.raises(ValueError, match="steps = .*steps=\\[10\\]"):
            _checked(wrong)
