# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The simulator agrees with the formulas; the drawing shows what it found.

Times are integers or fractions, so that equality is exact.
"""

from fractions import Fraction
from unittest import mock

import pytest

from epl.plan.action import (
    BACKWARD,
    FORWARD,
    GRADIENTS_OF_WEIGHTS,
    INPUT_GRADIENTS,
    KINDS,
    RECOMPUTE,
    WEIGHT_GRADIENTS,
    Action,
    Kind,
    Need,
    Span,
)
from epl.plan.dependencies import check_step
from epl.plan.drawing import draw
from epl.plan.schedules import Shape, actions_of
from epl.plan.simulator import Simulation, simulate

# Of whole backwards.
NAMES = ("preferbackward", "preferbackwardoptimizer", "preferforward", "1f1b-ahead")
SIZES = [(p, m) for p in range(1, 9) for m in range(1, 17)]
KINDS_OF = {"F": FORWARD, "B": BACKWARD, "R": RECOMPUTE, "I": INPUT_GRADIENTS,
            "W": WEIGHT_GRADIENTS}


def listed(*texts):
    """A device for every text, which has that stage: "F0 B0"."""
    return [[Action(KINDS_OF[label[0]], stage, int(label[1:])) for label in text.split()]
            for stage, text in enumerate(texts)]


def taking(forward, backward):
    return {FORWARD: forward, BACKWARD: backward}


def pipeline(name, num_stages, num_micro_batch, forward=1, backward=1, **more):
    return simulate(actions_of(name, Shape(num_stages, num_micro_batch)),
                    taking(forward, backward), **more)


def times_of(simulation, device):
    return [(span.start, span.end) for span in simulation.devices[device]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tf, tb", [
    (1, 1), (1, 2), (3, 1), (Fraction(1, 3), Fraction(2, 7))])
def test_makespan_and_bubble_are_those_of_the_formulas(name, tf, tb):
    for p, m in SIZES:
        simulation = pipeline(name, p, m, tf, tb)
        assert simulation.makespan == (m + p - 1) * (tf + tb), (p, m)
        idle = (p - 1) * (tf + tb) * p
        assert simulation.bubble_share == idle / (p * simulation.makespan), (p, m)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("p, m, share", [
    (2, 4, Fraction(1, 5)), (4, 8, Fraction(3, 11)), (8, 32, Fraction(7, 39)), (1, 4, 0)])
def test_bubble_shares_of_the_paper(name, p, m, share):
    assert pipeline(name, p, m, Fraction(1), Fraction(2)).bubble_share == share
    assert pipeline(name, p, m, 1, 2).bubble_share == float(share)


@pytest.mark.parametrize("name, peak", [
    ("preferforward", lambda d, p, m: m),
    ("preferbackward", lambda d, p, m: min(p - d, m)),
    ("preferbackwardoptimizer", lambda d, p, m: min(p - d + 1, m)),
    ("1f1b-ahead", lambda d, p, m: min(3 * (p - d - 1) + 1, m)),
])
def test_peaks_do_not_depend_on_times(name, peak):
    for p, m in SIZES:
        expected = tuple(peak(d, p, m) for d in range(p))
        assert pipeline(name, p, m).peak_in_flight == expected
        assert pipeline(name, p, m, list(range(1, p + 1)), 3,
                        transfer_time=2).peak_in_flight == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tf, tb, transfer", [(1, 1, 0), (2, 3, 1), (1, 2, Fraction(1, 2))])
def test_an_action_begins_when_its_device_is_free_and_its_inputs_are_there(name, tf, tb, transfer):
    for p, m in SIZES:
        actions = actions_of(name, Shape(p, m))
        simulation = simulate(actions, taking(tf, tb), transfer)
        end = {span.action: span.end for span in simulation.spans}
        assert len(end) == len(simulation.spans) == 2 * m * p
        for stage, spans in enumerate(simulation.devices):
            assert tuple(span.action for span in spans) == actions[stage]
            free = 0
            for span in spans:
                ready = [free]
                kind, _, number, _ = span.action
                if kind == FORWARD and stage > 0:
                    ready.append(end[Action(FORWARD, stage - 1, number)] + transfer)
                if kind == BACKWARD:
                    ready.append(end[Action(FORWARD, stage, number)])
                    if stage < p - 1:
                        ready.append(end[Action(BACKWARD, stage + 1, number)] + transfer)
                assert span.device == stage and span.start == max(ready)
                assert span.busy == span.end - span.start == (tf if kind == FORWARD else tb)
                free = span.end


def test_a_time_for_each_stage():
    simulation = simulate(listed("F0 F1 B0 B1", "F0 B0 F1 B1"), taking([1, 3], (2, 4)))
    assert times_of(simulation, 0) == [(0, 1), (1, 2), (8, 10), (15, 17)]
    assert times_of(simulation, 1) == [(1, 4), (4, 8), (8, 11), (11, 15)]
    assert simulation.makespan == 17
    assert simulation.bubble_share == (2 * 17 - 6 - 14) / 34


def test_transfers_delay_the_neighbour_and_keep_nobody_busy():
    simulation = simulate(listed("F0 F1 B0 B1", "F0 F1 B0 B1"), transfer_time=2)
    assert times_of(simulation, 0) == [(0, 1), (1, 2), (8, 9), (9, 10)]
    assert times_of(simulation, 1) == [(3, 4), (4, 5), (5, 6), (6, 7)]


@pytest.mark.parametrize("tf, tb, kind", [
    (1, 2, int), (Fraction(1), Fraction(1, 3), Fraction), (1.0, 0.5, float)])
def test_times_keep_their_type(tf, tb, kind):
    simulation = pipeline("preferbackward", 2, 3, tf, tb)
    assert isinstance(simulation.makespan, kind)
    if kind is Fraction:
        assert isinstance(simulation.bubble_share, Fraction)


def test_a_slack_of_one_micro_batch_hides_transfers():
    # With transfers, 1F1B waits for the backward of its neighbour; one more in flight waits less.
    plain = pipeline("preferbackward", 4, 16, 4, 4, transfer_time=1)
    optimizer = pipeline("preferbackwardoptimizer", 4, 16, 4, 4, transfer_time=1)
    assert optimizer.makespan < plain.makespan


@pytest.mark.parametrize("p, m", [(2, 8), (3, 16), (4, 32)])
def test_forwards_ahead_hide_transfers_as_long_as_a_stage(p, m):
    """Only the way there and back of a micro-batch is left, not one for each."""
    filled = (p - 1) * (4 + 8)
    found = {name: pipeline(name, p, m, 4, 8, transfer_time=12).makespan
             for name in ("preferbackward", "preferbackwardoptimizer", "1f1b-ahead")}
    assert found["1f1b-ahead"] == m * (4 + 8) + filled + (p - 1) * 2 * 12
    assert found["1f1b-ahead"] < 0.8 * found["preferbackwardoptimizer"]
    assert found["preferbackwardoptimizer"] <= found["preferbackward"]


@pytest.mark.parametrize("actions, words", [
    (listed("F0 B0 F1 B1", "F0 F1 B0 B1"),
     ["device 0 waits before backward 0 of stage 0 for backward 0 of stage 1, which device 1 runs",
      "device 1 waits before forward 1 of stage 1 for forward 1 of stage 0, which device 0 runs"]),
    (listed("B0 F0"), ["device 0 waits before backward 0 of stage 0 for forward 0 of stage 0"]),
    (listed("F0 B0", "F0"),
     ["device 0 waits before backward 0 of stage 0 for backward 0 of stage 1, which no device"]),
    (listed("", "F0"), ["device 1 waits before forward 0 of stage 1 for forward 0 of stage 0, which"
                        " no device lists"]),
    (listed("F0 F0"), ["forward 0 of stage 0 is listed twice, by device 0 and device 0"]),
    ([[Action("sideways", 0, 0)]], ["device 0", "'sideways'", "forward", "backward"]),
    (listed("F0 W0"), ["device 0 waits before weight gradients 0 of stage 0 for backward 0 of"]),
    (listed("F0 R0 B0", "F0 B0 R0"),
     ["device 1 waits before backward 0 of stage 1 for recompute 0 of stage 1, which device 1 runs"
      " later"]),
])
def test_actions_that_cannot_all_run_say_who_waits_for_what(actions, words):
    with pytest.raises(ValueError) as caught:
        simulate(actions)
    for word in words:
        assert word in str(caught.value)


def test_a_device_that_has_finished_is_not_among_those_that_wait():
    with pytest.raises(ValueError) as caught:
        simulate(listed("F0", "F0 B1"))
    assert str(caught.value) == ("the actions cannot all run: device 1 waits before backward 1 of "
                                 "stage 1 for forward 1 of stage 1, which no device lists")


@pytest.mark.parametrize("times, message", [
    ({FORWARD: [1, 2, 3]}, r"times of forward: 3 value\(s\) for 2 stage\(s\)"),
    ({BACKWARD: []}, r"times of backward: 0 value\(s\) for 2 stage\(s\)"),
    ({FORWARD: -1}, "times of forward: -1; use 0 or more"),
    ({BACKWARD: [1, -2]}, "times of backward: -2; use 0 or more"),
    ({"forwards": 1}, "times of 'forwards', which is no kind of action; did you mean 'forward'"),
])
def test_times_that_cannot_be_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        simulate(listed("F0 B0", "F0 B0"), times)


def test_a_transfer_takes_no_negative_time():
    with pytest.raises(ValueError, match="transfer_time = -0.5: use 0 or more"):
        simulate(listed("F0 B0", "F0 B0"), transfer_time=-0.5)


def test_nothing_takes_no_time():
    simulation = simulate([[], []])
    assert (simulation.makespan, simulation.bubble_share) == (0, 0)
    assert simulation.peak_in_flight == (0, 0)
    assert draw(simulation) == ""
    assert draw(simulate(listed("F0 B0"), taking(0, 0))) == ""


@pytest.mark.parametrize("simulation, drawing", [
    (pipeline("preferforward", 2, 4), """
stage 0 | F0 F1 F2 F3 .  .  B0 B1 B2 B3
stage 1 | .  F0 F1 F2 F3 B0 B1 B2 B3 .
"""),
    (pipeline("preferbackward", 2, 2, 1, 2), """
stage 0 | F0 F1 .  .  B0 -  .  B1 -
stage 1 | .  F0 B0 -  F1 B1 -  .  .
"""),
    (pipeline("preferbackward", 1, 2), """
stage 0 | F0 B0 F1 B1
"""),
    (simulate(listed("F0 B0"), taking(0.1, 0.3)), """
stage 0 | F0 B0 -  -
"""),
    (simulate(listed("F0 B0"), taking(0, 1)), """
stage 0 | B0
"""),
    (Simulation(((Span(0, Action(FORWARD, 0, 0), ((0, 2),)),
                  Span(0, Action(BACKWARD, 0, 10), ((4, 8),))),)), """
stage 0 | F0  .   B10 -
"""),
])
def test_drawings(simulation, drawing):
    assert draw(simulation) == drawing.strip("\n")


def test_a_long_drawing_is_wrapped():
    assert draw(pipeline("preferbackward", 2, 4), width=25) == """
time 0 to 5
stage 0 | F0 F1 .  B0 F2
stage 1 | .  F0 B0 F1 B1
time 5 to 10
stage 0 | B1 F3 B2 .  B3
stage 1 | F2 B2 F3 B3 .
""".strip()


def test_a_very_long_drawing_loses_its_middle():
    assert draw(pipeline("preferbackward", 1, 20), width=21, max_blocks=3) == """
time 0 to 3
stage 0 | F0  B0  F1
time 3 to 6
stage 0 | B1  F2  B2
...
time 39 to 40
stage 0 | B19
""".strip()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [(1, 1), (2, 3), (1, Fraction(7, 3)), (0.1, 0.7)])
@pytest.mark.parametrize("p, m", [(1, 1), (2, 4), (4, 32), (12, 5)])
def test_a_drawing_shows_every_action_once_on_its_stage(name, times, p, m):
    lines = draw(pipeline(name, p, m, *times), width=80, max_blocks=100).splitlines()
    shown = [[] for _ in range(p)]
    for line in lines:
        assert len(line) <= 80 and all(32 <= ord(character) < 127 for character in line)
        if line.startswith("stage"):
            stage, cells = line[len("stage"):].split("|")
            shown[int(stage)].extend(cell for cell in cells.split() if cell not in (".", "-"))
    assert shown == [[action.label for action in own] for own in actions_of(name, Shape(p, m))]


def test_columns_line_up_over_ten_stages():
    bars = {line.index("|") for line in draw(pipeline("preferforward", 11, 1)).splitlines()}
    assert bars == {len("stage 10 ")}


def test_a_drawing_without_a_beginning_or_an_end_is_refused():
    with pytest.raises(ValueError, match="max_blocks = 1: use 2 or more"):
        draw(pipeline("preferbackward", 1, 1), max_blocks=1)


# Several stages on a device, and backwards in two halves.

@pytest.mark.parametrize("times", [(1, 1, 1), (2, 2, 1), (2, 3, 2), (4, 4, 3)])
def test_the_bubble_of_zero_bubble_is_that_of_the_paper(times):
    """ZB-H1: (p - 1)(F + I - W) instead of the (p - 1)(F + I + W) of 1F1B, in the same memory."""
    kinds = (FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS)
    for p in range(1, 7):
        for m in range(2 * p - 1, 20):
            simulation = simulate(actions_of("zb-h1", Shape(p, m)), dict(zip(kinds, times)))
            forward, inputs, weights = times
            bubble = (p - 1) * (forward + inputs - weights)
            assert simulation.makespan == m * sum(times) + bubble, (p, m)
            plain = pipeline("preferbackward", p, m, forward, inputs + weights)
            assert plain.makespan == m * sum(times) + (p - 1) * sum(times)
            assert max(simulation.peak_in_flight) == max(plain.peak_in_flight) == p


@pytest.mark.parametrize("times", [(1, 1), (1, 2), (2, 3)])
def test_the_bubble_of_interleaved_stages_is_that_of_the_paper(times):
    """With v stages on a device it is a v-th: (p - 1)(F + B) of times that are a v-th each."""
    for p, v, rounds in [(p, v, r) for p in range(1, 6) for v in (2, 3) for r in (1, 2, 4)]:
        m = p * rounds
        actions = actions_of("preferbackward", Shape(p * v, m, v))
        simulation = simulate(actions, taking(*times))
        assert simulation.makespan == (m * v + p - 1) * sum(times), (p, v, m)
        assert len(simulation.devices) == p


def test_the_bubble_of_the_v_is_that_of_the_paper():
    """ZB-V: none but that a step begins and ends at other times on every device: p - 1 actions."""
    for p in range(1, 9):
        for m in {p, p + 1, 2 * p, 3 * p, 4 * p + 1}:
            simulation = simulate(actions_of("zb-v", Shape(2 * p, m, 2)))
            # What devices choose is no optimum where there are many.
            most = 0 if p < 5 or m == p else 2 if m >= 2 * p else p - 4
            assert 0 <= simulation.makespan - (6 * m + p - 1) <= most, (p, m)
            # Halves of what 1F1B has in flight on its first device.
            assert max(simulation.peak_in_flight) == min(2 * p, 2 * m)
            assert [{span.action.stage for span in own} for own in simulation.devices] == [
                {d, 2 * p - 1 - d} for d in range(p)]


def test_activations_are_in_memory_from_the_forward_to_the_weight_gradients():
    assert simulate(listed("F0 I0 F1 I1 W0 F2 W1 I2 W2")).peak_in_flight == (2,)
    assert simulate(listed("F0 I0 W0 F1 I1 W1")).peak_in_flight == (1,)


def test_what_is_computed_again_was_not_kept():
    assert simulate(listed("F0 F1 F2 R0 B0 R1 B1 R2 B2")).peak_in_flight == (1,)
    assert simulate(listed("F0 F1 F2 R0 B0 R1 B1 B2")).peak_in_flight == (2,)


def test_a_result_for_a_stage_on_the_same_device_needs_no_transfer():
    lower, upper = [[Action(kind, stage, 0) for kind in (FORWARD, BACKWARD)] for stage in (0, 1)]
    together = [[lower[0], *upper, lower[1]]]
    assert simulate(together, transfer_time=5).makespan == 4
    assert simulate([lower, upper], transfer_time=5).makespan == 14


def test_drawings_of_halves_and_of_several_stages_on_a_device():
    assert draw(simulate(actions_of("zb-h1", Shape(3, 4)))) == """
stage 0 | F0 F1 F2 .  .  I0 W0 F3 I1 W1 I2 W2 I3 W3
stage 1 | .  F0 F1 .  I0 F2 I1 W0 F3 I2 W1 I3 W2 W3
stage 2 | .  .  F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3
""".strip()
    assert draw(simulate(actions_of("preferbackward", Shape(4, 2, 2)))) == """
device 0, stages 0a 2b | F0a F1a F0b F1b .   B0b .   B1b B0a B1a
device 1, stages 1a 3b | .   F0a F1a F0b B0b F1b B1b B0a B1a .
""".strip()
    both = [[Action(FORWARD, 1, 0), Action(BACKWARD, 1, 0)],
            [Action(FORWARD, 0, 0), Action(BACKWARD, 0, 0)]]
    assert draw(simulate(both)) == """
device 0, stages 1a | .   F0a B0a .
device 1, stages 0a | F0a .   .   B0a
""".strip()


def test_a_new_kind_of_action_is_a_new_row():
    """Gradients of weights that are sent off, behind the last use of the activations."""
    send = Kind("S", "send", ("#000000", "#777777"), (Need(GRADIENTS_OF_WEIGHTS, 0),), ())
    with mock.patch.dict(KINDS, {"send": send}):
        actions = [[*own, Action("send", stage, 0)] for stage, own in enumerate(
            listed("F0 F1 B0 B1", "F0 B0 F1 B1"))]
        check_step(actions, 2, 2)
        simulation = simulate(actions, {"send": 2})
        assert simulation.peak_in_flight == (2, 1)
        assert draw(simulation) == """
stage 0 | F0 F1 .  B0 .  B1 S0 -
stage 1 | .  F0 B0 F1 B1 S0 -  .
""".strip()
        with pytest.raises(ValueError, match="device 0 waits before send 0 of stage 0 for "
                           "backward 0 of stage 0, which device 0 runs later"):
            simulate([[actions[0][0], actions[0][-1], *actions[0][1:-1]], actions[1]])
    with pytest.raises(ValueError, match="kind 'send'"):
        simulate(actions)
