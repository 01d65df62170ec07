# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The order in which stages run their micro-batches."""

import contextlib
import inspect
import io
import os
import re

import pytest

from epl.config import Config
from epl.errors import ConfigError
from epl.plan.action import (
    BACKWARD,
    FORWARD,
    INPUT_GRADIENTS,
    KINDS,
    RECOMPUTE,
    WEIGHT_GRADIENTS,
    Action,
)
from epl.plan.drawing import draw
from epl.plan.parallel_plan import make_plan
from epl.plan.schedules import (
    AUTO,
    NAMES,
    Shape,
    actions_of,
    gpipe,
    interleaved,
    one_forward_one_backward,
    zero_bubble,
)
from epl.plan.simulator import simulate
from tests.support.jobs import ROOT
from tests.support.schedules import registering

BUILT_IN = ("preferforward", "preferbackward", "preferbackwardoptimizer",
            "1f1b-ahead")  # whole backwards
SIZES = [(p, m) for p in range(1, 9) for m in range(1, 17)]


@pytest.fixture(name="registered")
def _registered():
    with registering() as register:
        yield register


def labels(actions):
    return [" ".join(action.label for action in own) for own in actions]


@pytest.mark.parametrize("name, num_stages, num_micro_batch, stages", [
    ("preferforward", 1, 2, ["F0 F1 B0 B1"]),
    ("preferforward", 2, 3, ["F0 F1 F2 B0 B1 B2", "F0 F1 F2 B0 B1 B2"]),
    ("preferbackward", 1, 3, ["F0 B0 F1 B1 F2 B2"]),
    ("preferbackward", 2, 4, ["F0 F1 B0 F2 B1 F3 B2 B3", "F0 B0 F1 B1 F2 B2 F3 B3"]),
    ("preferbackward", 4, 2, ["F0 F1 B0 B1"] * 3 + ["F0 B0 F1 B1"]),
    ("preferbackwardoptimizer", 1, 3, ["F0 F1 B0 F2 B1 B2"]),
    ("preferbackwardoptimizer", 2, 4, ["F0 F1 F2 B0 F3 B1 B2 B3", "F0 F1 B0 F2 B1 F3 B2 B3"]),
    ("preferbackwardoptimizer", 3, 1, ["F0 B0"] * 3),
    ("1f1b-ahead", 1, 2, ["F0 B0 F1 B1"]),
    ("1f1b-ahead", 2, 5, ["F0 F1 F2 F3 B0 F4 B1 B2 B3 B4", "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4"]),
])
def test_the_order_of_each_stage(name, num_stages, num_micro_batch, stages):
    actions = actions_of(name, Shape(num_stages, num_micro_batch))
    assert labels(actions) == stages
    assert all(action.stage == d for d, own in enumerate(actions) for action in own)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_micro_batch_goes_forward_then_backward_once_and_in_turn(name):
    for p, m in SIZES:
        for stage, own in enumerate(actions_of(name, Shape(p, m))):
            assert own[0] == Action(FORWARD, stage, 0)
            for kind in (FORWARD, BACKWARD):
                assert [a.micro_batch for a in own if a.kind == kind] == list(range(m))
            assert len(own) == 2 * m
            for i in range(m):
                assert own.index(Action(FORWARD, stage, i)) < own.index(Action(BACKWARD, stage, i))


@pytest.mark.parametrize("name, peak", [
    ("preferforward", lambda d, p, m: m),
    ("preferbackward", lambda d, p, m: min(p - d, m)),
    ("preferbackwardoptimizer", lambda d, p, m: min(p - d + 1, m)),
    ("1f1b-ahead", lambda d, p, m: min(3 * (p - d - 1) + 1, m)),
])
def test_micro_batches_in_flight(name, peak):
    for p, m in SIZES:
        for stage, own in enumerate(actions_of(name, Shape(p, m))):
            in_flight = [0]
            for action in own:
                in_flight.append(in_flight[-1] + (1 if action.kind == FORWARD else -1))
            assert max(in_flight) == peak(stage, p, m), (stage, p, m)


# What is drawn in the source and on the page, in this order.
DRAWN = [(name, Shape(3, 5)) for name in BUILT_IN] + [
    ("zb-h1", Shape(3, 4)), ("preferbackward", Shape(4, 4, 2)), ("zb-v", Shape(4, 4, 2))]


def source():
    halves, v = inspect.getsource(zero_bubble).split("def zb_h1")
    return "".join(map(inspect.getsource, (gpipe, one_forward_one_backward))) + halves \
        + inspect.getsource(interleaved) + v


def test_the_tables_in_the_source_are_what_the_schedules_do():
    rows = re.findall(r"^(?:# |    )((?:stage|device) \d.* \| .*)$", source(), re.MULTILINE)
    expected = []
    for name, shape in DRAWN:
        expected.extend(draw(simulate(actions_of(name, shape)), width=1000).splitlines())
    assert len(rows) == len(expected) > 15
    for row, drawn in zip(rows, expected):
        assert row == drawn or (row.endswith(" ...") and drawn.startswith(row[:-3]))


def test_the_peaks_in_the_source_are_those_of_the_schedules():
    peaks = re.findall(r"^(?:# )?In flight at most: ([0-9, ]*[0-9])[.,]", source(), re.MULTILINE)
    assert peaks == [", ".join(map(str, simulate(actions_of(name, shape)).peak_in_flight))
                     for name, shape in DRAWN]


def test_schedules_are_found_by_name():
    assert set(NAMES.values()) == set(BUILT_IN) | {"zb-h1", "zb-v", AUTO}


def test_until_one_is_chosen_there_is_a_schedule_that_can_run():
    assert actions_of(AUTO, Shape(2, 4)) == actions_of("1f1b", Shape(2, 4))
    assert actions_of(AUTO, Shape(4, 4, 2)) == actions_of("1f1b", Shape(4, 4, 2))
    assert actions_of(AUTO, Shape(4, 5, 2)) == actions_of("zb-v", Shape(4, 5, 2))
    with pytest.raises(ConfigError, match="use 6"):
        actions_of(AUTO, Shape(6, 5, 3))


@pytest.mark.parametrize("alias, name", [
    ("gpipe", "preferforward"), ("GPipe", "preferforward"), ("1f1b", "preferbackward"),
    ("1F1B", "preferbackward"), ("PreferBackwardOptimizer", "preferbackwardoptimizer")])
def test_other_names_mean_the_same_wherever_they_are_given(alias, name, monkeypatch):
    config = Config({"pipeline.strategy": alias})
    assert config.pipeline.strategy == name
    config = Config()
    config.pipeline.strategy = alias
    assert config.pipeline.strategy == name == config.as_dict()["pipeline.strategy"]
    monkeypatch.setenv("EPL_PIPELINE_STRATEGY", alias)
    assert Config().pipeline.strategy == name
    plans = [make_plan([("", 1)] * 3, 1, 3, 5, schedule=each) for each in (alias.lower(), name)]
    assert plans[0] == plans[1] and plans[0].schedule == name


@pytest.mark.parametrize("name, hint", [
    ("preferbackwards", "did you mean 'preferbackward'"),
    ("gpip", "did you mean 'gpipe'"),
    ("zzz", "known: 1f1b, 1f1b-ahead, auto, gpipe, preferbackward, preferbackwardoptimizer, "
     "preferforward, zb-h1, zb-v"),
])
def test_an_unknown_schedule_names_the_nearest(name, hint):
    with pytest.raises(ConfigError) as caught:
        actions_of(name, Shape(2, 4))
    assert "pipeline.strategy = '{}'".format(name) in str(caught.value)
    assert hint in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Config({"pipeline.strategy": name})
    assert "'pipeline.strategy' = '{}'".format(name) in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("arguments, message", [
    ((0, 4), "num_stages = 0: use 1 or more"),
    ((2, 0), "num_micro_batch = 0: use 1 or more"),
    ((2, 4, 0), "stages_per_device = 0: use 1 or more"),
    ((3, 4, 2), "num_stages = 3 are no multiple of stages_per_device = 2"),
])
def test_numbers_that_are_out_of_range_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        actions_of(name, Shape(*arguments))


@pytest.mark.parametrize("name", ["preferforward", "preferbackwardoptimizer", "zb-h1"])
def test_a_schedule_for_one_stage_on_a_device_is_not_asked_for_two(name):
    with pytest.raises(NotImplementedError) as caught:
        actions_of(name, Shape(4, 4, stages_per_device=2))
    assert "pipeline.strategy = '{}' is for 4 device(s), but 4 stage(s) with 2 on each are on 2" \
        .format(name) in str(caught.value)


# Schedules of others.

def in_turn(shape):
    """Forward and backward of the whole pipeline, one micro-batch after the other."""
    return [[Action(kind, stage, m) for m in range(shape.num_micro_batch)
             for kind in (FORWARD, BACKWARD)] for stage in range(shape.num_stages)]


def test_a_registered_schedule_is_configured_and_planned(registered):
    registered("InTurn", in_turn, aliases=["One"])
    assert Config({"pipeline.strategy": "INTURN"}).pipeline.strategy == "inturn"
    assert Config({"pipeline.strategy": "one"}).pipeline.strategy == "inturn"
    plan = make_plan([("", 1)] * 2, 1, 2, 2, schedule="one")
    assert plan.schedule == "inturn" and plan.simulate().bubble_share == 0.5
    assert plan.describe().splitlines()[-5:] == [
        "schedule inturn (assumed: backward time = forward time, transfers take no time):",
        "bubble: 1/2 = 50.0 % of the stages' time",
        "micro-batches in flight at most, by stage: 1, 1",
        "stage 0 | F0 .  .  B0 F1 .  .  B1",
        "stage 1 | .  F0 B0 .  .  F1 B1 ."]


def test_a_name_stands_for_one_schedule(registered):
    for name in ("inturn", "1F1B", "PreferBackward"):
        with pytest.raises(ValueError, match="already; choose another name, or say replace=True"):
            registered("inturn", in_turn)
            registered(name, gpipe.prefer_forward)
    registered("inturn", in_turn)  # the same again
    registered("inturn", gpipe.prefer_forward, replace=True)
    assert actions_of("inturn", Shape(3, 5)) == actions_of("gpipe", Shape(3, 5))


@pytest.mark.parametrize("name, schedule, error, message", [
    (3, in_turn, TypeError, "the name of a schedule is a text, not 3"),
    (" ", in_turn, ValueError, "a schedule needs a name, not ' '"),
    ("mine", "gpipe", TypeError, "schedule 'mine' is 'gpipe'; give a function"),
])
def test_what_is_no_schedule_is_not_registered(registered, name, schedule, error, message):
    with pytest.raises(error, match=message):
        registered(name, schedule)


KINDS_OF = {"F": FORWARD, "B": BACKWARD, "R": RECOMPUTE, "I": INPUT_GRADIENTS,
            "W": WEIGHT_GRADIENTS}


def listed(text):
    """"F1/0" is the forward of micro-batch 1 on stage 0."""
    return [Action(KINDS_OF[label[0]], int(label[3]), int(label[1])) for label in text.split()]


UPPER = listed("F0/1 B0/1 F1/1 B1/1")


@pytest.mark.parametrize("lower, message", [
    (listed("F0/0 B0/0 F1/0"), "no device lists backward 1 of stage 0 or input gradients 1 of"),
    (listed("F0/0 B0/0 B1/0"), "no device lists forward 1 of stage 0"),
    (listed("F0/0 B0/0 F1/0 I1/0"),
     "no device lists backward 1 of stage 0 or weight gradients 1 of stage 0"),
    (listed("F0/0 B0/0 F1/0 B1/0 W1/0"),
     "backward 1 of stage 0 and weight gradients 1 of stage 0 are both listed, and both make the "
     "gradients of weights"),
    (listed("F0/0 B0/0 F1/0 B1/0 F2/0"),
     "device 0 lists forward 2 of stage 0, but there are 2 stage(s) and 2 micro-batch(es)"),
    (listed("F0/0 B0/0 F1/0 B1/0 I1/1"),
     "device 1 lists forward 0 of stage 1, but device 0 has that stage: a stage stays on one"),
    (listed("F0/0 B0/0 F1/0 B1/0 F1/0"),
     "forward 1 of stage 0 is listed twice, by device 0 and device 0"),
    (listed("F0/0 B0/0 B1/0 F1/0"),
     "device 0 waits before backward 1 of stage 0 for forward 1 of stage 0, which device 0 runs "
     "later; device 1 waits before forward 1 of stage 1 for forward 1 of stage 0, which device 0 "
     "runs later"),
    (listed("F0/0") + [("forward", 1)], "device 0 lists ('forward', 1), which is no"),
    ([Action("foward", 0, 0)], "an action of kind 'foward'; did you mean 'forward'"),
])
def test_a_schedule_that_is_no_step_says_what_is_wrong(registered, lower, message):
    registered("mine", lambda shape: [lower, UPPER])
    with pytest.raises(ConfigError) as caught:
        make_plan([("", 1)] * 2, 1, 2, 2, schedule="mine")
    assert str(caught.value).startswith(
        "pipeline.strategy = 'mine' cannot run 2 micro-batch(es) on 2 stage(s): ")
    assert message in str(caught.value)


@pytest.mark.parametrize("actions, message", [
    ([listed("F0/0 I0/0 W0/0"), listed("F0/1 R0/1 B0/1")],
     "'mine' lists actions of the kinds backward and forward and recompute for stage 1: this "
     "version of EPL runs those of forward and backward, or of forward and input_gradients and "
     "weight_gradients; choose another schedule, such as 'preferbackward'"),
    ([listed("F0/0 F0/1 B0/1 B0/0")],
     "'mine' is for 1 device(s), but 2 stage(s) with 1 on each are on 2; choose another"),
])
def test_a_schedule_that_cannot_be_carried_out_yet_is_refused_by_name(registered, actions, message):
    registered("mine", lambda shape: actions)
    with pytest.raises(NotImplementedError) as caught:
        make_plan([("", 1)] * 2, 1, 2, 1, schedule="mine")
    assert message in str(caught.value)


def test_a_device_begins_with_the_scripts_own_forward(registered):
    registered("mine", lambda shape: [listed("F1/0 F0/0 B1/0 B0/0")])
    with pytest.raises(NotImplementedError, match="lets device 0 begin with forward 1 of stage 0: "
                       ".* let it begin with forward 0 of stage 0"):
        make_plan([("", 1)], 1, 1, 2, schedule="mine")


def test_devices_are_dealt_out_by_their_first_stages(registered):
    registered("mine", lambda shape: [listed("F0/1 B0/1"), listed("F0/0 B0/0")])
    plan = make_plan([("", 1)] * 2, 1, 2, schedule="mine")
    assert [(p.stage, p.devices[0].index) for p in plan.placements] == [(0, 0), (1, 1)]
    registered("together", lambda shape: [listed("F0/0 F0/1 B0/1 B0/0")])
    assert [p.devices[0].index for p in make_plan(
        [("", 1)] * 2, 1, 1, schedule="together", num_chunks=2).placements] == [0, 0]


# docs/schedules.md

def page():
    with open(os.path.join(ROOT, "docs", "schedules.md"), encoding="utf-8") as file:
        return file.read()


def test_the_drawings_and_peaks_of_the_page_are_what_the_schedules_do():
    text = page().split("## One of your own")[0]
    drawings = re.findall(r"^```\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    peaks = [re.sub(r"\s+", " ", peak) for peak in re.findall(
        r"In flight at\s+most:\s([0-9,\s]*[0-9])", text)]
    simulations = [simulate(actions_of(name, shape)) for name, shape in DRAWN]
    assert drawings == [draw(simulation) for simulation in simulations]
    assert peaks == [", ".join(map(str, s.peak_in_flight)) for s in simulations]
    named = [re.findall("`([-A-Za-z0-9]+)`", line) for line in re.findall(
        "^`(?:Prefer|1F1B-|ZB).*", text, re.MULTILINE)]
    assert [{NAMES[name.lower()] for name in names} for names in named] == [
        {name} for name in BUILT_IN + ("zb-h1", "zb-v")]
    assert {name.lower() for names in named for name in names} == set(NAMES) - {AUTO}


def test_the_schedule_of_the_page_prints_what_the_page_says():
    code, = re.findall(r"^```python\n(.*?)^```$", page(), re.MULTILINE | re.DOTALL)
    said = page().split(code)[1].split("```\n")[2]
    printed = io.StringIO()
    with registering(), contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/schedules.md", "exec"), {})
        assert printed.getvalue() == said and len(said) > 100


def test_the_page_lists_the_kinds_of_actions():
    listed_ = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z]) \|", page(), re.MULTILINE)
    assert listed_ == [(kind.upper(), row.label) for kind, row in KINDS.items()]
    labels_ = [row.label for row in KINDS.values()]
    assert len(set(labels_)) == len(labels_)


def test_the_error_of_the_page_is_what_is_said(registered):
    registered("mine", lambda shape: [listed("F0/0 B0/0 F1/0 B1/0"), listed("F0/1 F1/1 B0/1 B1/1")])
    with pytest.raises(ConfigError) as caught:
        make_plan([("", 1)] * 2, 1, 2, 2, schedule="mine")
    assert str(caught.value) in page().replace("\n", " ")
