# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The simulator agrees with the formulas; the drawing shows what it found.

Times are integers or fractions, so that equality is exact.
"""

from fractions import Fraction

import pytest

from epl.plan.drawing import draw
from epl.plan.schedule import BACKWARD, FORWARD, SCHEDULES, Task
from epl.plan.simulator import Simulation, Span, simulate

NAMES = sorted(SCHEDULES)
SIZES = [(p, m) for p in range(1, 9) for m in range(1, 17)]
F0, F1, B0, B1 = Task(FORWARD, 0), Task(FORWARD, 1), Task(BACKWARD, 0), Task(BACKWARD, 1)


def pipeline(name, num_stages, num_micro_batch, *times, **more):
    schedules = [SCHEDULES[name](d, num_stages, num_micro_batch) for d in range(num_stages)]
    return simulate(schedules, *times, **more)


def times_of(simulation, stage):
    return [(span.start, span.end) for span in simulation.of_stage(stage)]


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
])
def test_peaks_do_not_depend_on_times(name, peak):
    for p, m in SIZES:
        expected = tuple(peak(d, p, m) for d in range(p))
        assert pipeline(name, p, m).peak_in_flight == expected
        assert pipeline(name, p, m, list(range(1, p + 1)), 3,
                        transfer_time=2).peak_in_flight == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tf, tb, transfer", [(1, 1, 0), (2, 3, 1), (1, 2, Fraction(1, 2))])
def test_a_task_begins_when_its_stage_is_free_and_its_inputs_are_there(name, tf, tb, transfer):
    for p, m in SIZES:
        schedules = [SCHEDULES[name](d, p, m) for d in range(p)]
        simulation = simulate(schedules, tf, tb, transfer)
        end = {(s.stage, s.phase, s.micro_batch): s.end for s in simulation.spans}
        assert len(end) == len(simulation.spans) == 2 * m * p
        for stage in range(p):
            spans = simulation.of_stage(stage)
            assert [Task(s.phase, s.micro_batch) for s in spans] == schedules[stage]
            free = 0
            for span in spans:
                ready = [free]
                if span.phase == FORWARD and stage > 0:
                    ready.append(end[stage - 1, FORWARD, span.micro_batch] + transfer)
                if span.phase == BACKWARD:
                    ready.append(end[stage, FORWARD, span.micro_batch])
                    if stage < p - 1:
                        ready.append(end[stage + 1, BACKWARD, span.micro_batch] + transfer)
                assert span.start == max(ready)
                assert span.end - span.start == (tf if span.phase == FORWARD else tb)
                free = span.end


def test_a_time_for_each_stage():
    simulation = simulate([[F0, F1, B0, B1], [F0, B0, F1, B1]], [1, 3], (2, 4))
    assert times_of(simulation, 0) == [(0, 1), (1, 2), (8, 10), (15, 17)]
    assert times_of(simulation, 1) == [(1, 4), (4, 8), (8, 11), (11, 15)]
    assert simulation.makespan == 17
    assert simulation.bubble_share == (2 * 17 - 6 - 14) / 34


def test_transfers_delay_the_neighbour_and_keep_nobody_busy():
    simulation = simulate([[F0, F1, B0, B1], [F0, F1, B0, B1]], 1, 1, transfer_time=2)
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


@pytest.mark.parametrize("schedules, words", [
    ([[F0, B0, F1, B1], [F0, F1, B0, B1]],
     ["stage 0 waits before backward 0 for backward 0 of stage 1",
      "stage 1 waits before forward 1 for forward 1 of stage 0"]),
    ([[B0, F0]], ["stage 0 waits before backward 0 for forward 0 of stage 0"]),
    ([[F0, B0], [F0]],
     ["stage 0 waits before backward 0 for backward 0 of stage 1, which is not in its list"]),
    ([[], [F0]], ["stage 1 waits before forward 0 for forward 0 of stage 0, which is not in"]),
    ([[F0, F0]], ["stage 0 lists forward 0 twice"]),
    ([[F0], [Task("sideways", 0)]], ["stage 1", "'sideways'", "'forward'", "'backward'"]),
])
def test_schedules_that_cannot_finish_say_who_waits_for_what(schedules, words):
    with pytest.raises(ValueError) as caught:
        simulate(schedules)
    for word in words:
        assert word in str(caught.value)


def test_a_stage_that_has_finished_is_not_among_those_that_wait():
    with pytest.raises(ValueError) as caught:
        simulate([[F0], [F0, B1]])
    assert str(caught.value) == ("the schedules cannot finish: stage 1 waits before backward 1 "
                                 "for forward 1 of stage 1, which is not in its list")


@pytest.mark.parametrize("times, message", [
    (dict(forward_time=[1, 2, 3]), r"forward_time has 3 value\(s\) for 2 stage\(s\)"),
    (dict(backward_time=[]), r"backward_time has 0 value\(s\) for 2 stage\(s\)"),
    (dict(forward_time=-1), "forward_time = -1: use 0 or more"),
    (dict(backward_time=[1, -2]), "backward_time = -2: use 0 or more"),
    (dict(transfer_time=-0.5), "transfer_time = -0.5: use 0 or more"),
])
def test_times_that_cannot_be_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        simulate([[F0, B0], [F0, B0]], **times)


def test_nothing_takes_no_time():
    simulation = simulate([[], []])
    assert (simulation.makespan, simulation.bubble_share) == (0, 0)
    assert simulation.peak_in_flight == (0, 0)
    assert draw(simulation) == ""
    assert draw(simulate([[F0, B0]], 0, 0)) == ""


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
    (simulate([[F0, B0]], 0.1, 0.3), """
stage 0 | F0 B0 -  -
"""),
    (simulate([[F0, B0]], 0, 1), """
stage 0 | B0
"""),
    (Simulation(1, (Span(0, FORWARD, 0, 0, 2), Span(0, BACKWARD, 10, 4, 8))), """
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
def test_a_drawing_shows_every_task_once_on_its_stage(name, times, p, m):
    lines = draw(pipeline(name, p, m, *times), width=80, max_blocks=100).splitlines()
    shown = [[] for _ in range(p)]
    for line in lines:
        assert len(line) <= 80 and all(32 <= ord(character) < 127 for character in line)
        if line.startswith("stage"):
            stage, cells = line[len("stage"):].split("|")
            shown[int(stage)].extend(cell for cell in cells.split() if cell not in (".", "-"))
    for stage in range(p):
        assert shown[stage] == ["{}{}".format(t.phase[0].upper(), t.micro_batch)
                                for t in SCHEDULES[name](stage, p, m)]


def test_columns_line_up_over_ten_stages():
    bars = {line.index("|") for line in draw(pipeline("preferforward", 11, 1)).splitlines()}
    assert bars == {len("stage 10 ")}


def test_a_drawing_without_a_beginning_or_an_end_is_refused():
    with pytest.raises(ValueError, match="max_blocks = 1: use 2 or more"):
        draw(pipeline("preferbackward", 1, 1), max_blocks=1)
