# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The scores of `evaluate-v2.0.py`, as a command, against scores worked out by hand."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.jobs import ROOT

SCRIPT = os.path.join(ROOT, "examples", "bert", "evaluate-v2.0.py")


def entry(identity, truths):
    return {"id": identity, "question": "?", "is_impossible": not truths,
            "answers": [{"text": text, "answer_start": 0} for text in truths]}


def evaluate(tmp_path, entries, predictions, doubts=None, *flags):
    """Run the script; what it did."""
    data = {"version": "v2.0", "data": [{"paragraphs": [{"context": "", "qas": entries}]}]}
    contents = {"data.json": data, "predictions.json": predictions, "doubts.json": doubts}
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    command = [sys.executable, SCRIPT, str(tmp_path / "data.json"),
               str(tmp_path / "predictions.json")] + list(flags)
    if doubts is not None:
        command += ["--na-prob-file", str(tmp_path / "doubts.json")]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


def score(tmp_path, cases, doubts=None, *flags):
    """The scores of (right answers, prediction or None) pairs; doubts in the same order."""
    entries = [entry("q{}".format(i), truths) for i, (truths, _) in enumerate(cases)]
    predictions = {"q{}".format(i): p for i, (_, p) in enumerate(cases) if p is not None}
    named = doubts and {"q{}".format(i): doubt for i, doubt in enumerate(doubts)}
    done = evaluate(tmp_path, entries, predictions, named, *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("truths, prediction, exact, f1", [
    (["Denver Broncos"], "the denver  broncos!", 100, 100),
    (["Denver Broncos", "Broncos"], "Broncos", 100, 100),
    (["to be or not to be"], "to be", 0, 50),
    (["gold"], "", 0, 0),
    (["gold"], "silver", 0, 0),
    ([], "", 100, 100),
    ([], "gold", 0, 0),
    ([], "the", 100, 100),
    ([], "\u2014", 0, 0),
    (["the", "gold"], "a", 0, 0),
    (["the"], "a", 100, 100),
    (["Z\u00fcrich\u00a0See"], "z\u00fcrich see", 100, 100),
    (["Zu\u0308rich"], "Z\u00fcrich", 0, 0),
    (["\u4e2d\u6587"], "\u4e2d", 0, 0),
    (["\u0130zmir"], "i\u0307zmir", 100, 100),
])
def test_one_answer(tmp_path, truths, prediction, exact, f1):
    part = "HasAns" if truths else "NoAns"
    expected = {"exact": exact, "f1": f1, "total": 1}
    expected.update({"{}_{}".format(part, name): value for name, value in expected.items()})
    assert score(tmp_path, [(truths, prediction)]) == expected


# Exact: 1, 0, 0, 1, 0. F1: 1, 2/3, 0, 1, 0.
CASES = [(["a cat"], "cat"), (["x y"], "y"), (["z"], ""), ([], ""), ([], "w")]


def test_scores_are_means_over_all_questions_and_over_both_kinds(tmp_path):
    scores = score(tmp_path, CASES)
    assert list(scores) == ["exact", "f1", "total", "HasAns_exact", "HasAns_f1", "HasAns_total",
                            "NoAns_exact", "NoAns_f1", "NoAns_total"]
    assert list(scores.values()) == [
        40.0, pytest.approx(160 / 3), 5, pytest.approx(100 / 3), pytest.approx(500 / 9), 3,
        50.0, 50.0, 2]


def test_the_best_thresholds(tmp_path):
    """With nobody answered, 2 of 5 are right. The surest first: cat +1 (3), y +0 or +2/3, w -1,
    z and the empty answer change nothing."""
    scores = score(tmp_path, CASES, [-3.0, -2.0, 4.0, 0.0, -1.5])
    assert {name: scores[name] for name in scores if name.startswith("best")} == {
        "best_exact": 60.0, "best_exact_thresh": -3.0,
        "best_f1": pytest.approx(100 * (3 + 2 / 3) / 5), "best_f1_thresh": -2.0}


def test_answering_nothing_may_be_the_best(tmp_path):
    scores = score(tmp_path, CASES, [5.0, 5.0, 5.0, 0.0, 1.0])
    assert scores["best_exact"] == 40.0 and scores["best_exact_thresh"] == 0.0


def test_equal_doubts_are_taken_in_the_order_of_their_file(tmp_path):
    """Between the two, the script counts one of them: that is what its threshold is worth."""
    cases = [(["a cat"], "cat"), ([], "w")]
    assert score(tmp_path, cases, [1.0, 1.0])["best_exact"] == 100.0
    assert score(tmp_path, cases[::-1], [1.0, 1.0])["best_exact"] == 50.0


def test_a_threshold_takes_answers_back(tmp_path):
    """Above 1.0: "cat" is taken back, which is wrong, and "w", which is right."""
    doubts = [1.5, 1.0, 0.0, 0.0, 2.0]
    scores = score(tmp_path, CASES, doubts)
    assert [scores[n] for n in ("exact", "f1")] == [40.0, pytest.approx(160 / 3)]
    assert [scores[n] for n in ("HasAns_exact", "NoAns_exact")] == [0.0, 100.0]
    # The best thresholds are found with all answers.
    assert scores["best_f1"] == pytest.approx(100 * (2 + 5 / 3) / 5)
    lower = score(tmp_path, CASES, doubts, "--na-prob-thresh", "0.5")
    assert lower["f1"] == pytest.approx(40.0)


def test_a_question_without_a_prediction_scores_nothing(tmp_path):
    entries = [entry("q0", ["a b"]), entry("q1", []), entry("q2", ["c"])]
    done = evaluate(tmp_path, entries, {"q2": "c"})
    scores = json.loads(done.stdout)
    assert scores["exact"] == pytest.approx(100 / 3) and scores["total"] == 3
    assert "q0" in done.stderr and "q1" in done.stderr and "q2" not in done.stderr


def test_of_questions_with_one_id_the_last_counts(tmp_path):
    entries = [entry("q0", ["b"]), entry("q0", []), entry("q1", ["c"])]
    scores = json.loads(evaluate(tmp_path, entries, {"q0": "b", "q1": "c"}).stdout)
    assert (scores["exact"], scores["total"], scores["NoAns_total"]) == (50.0, 2, 1)


def test_predictions_for_questions_of_other_sets_do_not_count(tmp_path):
    done = evaluate(tmp_path, [entry("q0", ["b"])], {"q0": "b", "other": "x"},
                    {"q0": 0.0, "other": -5.0})
    assert json.loads(done.stdout)["best_exact"] == 100.0


def test_scores_may_be_written_to_a_file(tmp_path):
    done = evaluate(tmp_path, [entry("q0", ["b"])], {"q0": "b"}, None, "-o",
                    str(tmp_path / "scores.json"))
    assert done.stdout == "" and json.loads((tmp_path / "scores.json").read_text())["exact"] == 100


@pytest.mark.parametrize("entries, predictions, doubts, message", [
    ([], {}, None, "data.json': the data set holds no questions"),
    ([{"id": "q0"}], {"q0": "b"}, None, "data.json' is not a data set in SQuAD 2.0 format"),
    ([entry("q0", [])], ["b"], None, "predictions.json' is not a JSON object"),
    ([entry("q0", [])], {"q0": None}, None, "the value of question 'q0' is not a text: None"),
    ([entry("q0", [])], {"q0": "b"}, {"q0": "b"}, "the value of question 'q0' is not a number"),
    ([entry("q0", [])], {"q0": "b"}, {}, "doubts.json' lacks question 'q0'"),
])
def test_files_that_cannot_be_used(tmp_path, entries, predictions, doubts, message):
    done = evaluate(tmp_path, entries, predictions, doubts)
    assert done.returncode == 1 and done.stdout == ""
    assert message in done.stderr and "Traceback" not in done.stderr


def test_ids_that_are_numbers(tmp_path):
    done = evaluate(tmp_path, [entry(7, ["x"]), entry(8, [])], {"7": "x", "8": ""},
                    {"7": 0.0, "8": 1.0})
    assert json.loads(done.stdout)["f1"] == 100.0 and done.stderr == ""
    done = evaluate(tmp_path, [entry(None, ["x"])], {})
    assert done.returncode == 1 and "a question's id is None" in done.stderr
