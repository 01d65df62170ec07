# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The scores of `evaluate-v1.1.py`, as a command, against scores worked out by hand."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.jobs import ROOT

SCRIPT = os.path.join(ROOT, "examples", "bert", "evaluate-v1.1.py")


def score(tmp_path, cases, version="1.1"):
    """Run the script on (right answers, prediction or None) pairs; (scores, standard error)."""
    qas = [{"id": "q{}".format(i), "question": "?",
            "answers": [{"text": text, "answer_start": 0} for text in truths]}
           for i, (truths, _) in enumerate(cases)]
    data = {"version": version, "data": [{"paragraphs": [{"context": "", "qas": qas}]}]}
    predictions = {"q{}".format(i): p for i, (_, p) in enumerate(cases) if p is not None}
    (tmp_path / "data.json").write_text(json.dumps(data))
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path / "data.json"), str(tmp_path / "predictions.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("truths, prediction, exact, f1", [
    (["Denver Broncos"], "Denver Broncos", 100, 100),
    (["Denver Broncos"], "the denver  broncos!", 100, 100),
    (["Denver Broncos"], "Broncos", 0, 200 / 3),
    (["Denver Broncos", "Broncos"], "Broncos", 100, 100),
    (["theatre"], "a theatre", 100, 100),
    (["an other"], "another", 0, 0),
    (["U.S."], "us", 100, 100),
    (["well-known"], "well known", 0, 0),
    (["to be or not to be"], "to be", 0, 50),
    (["to be"], "to to be be", 0, 200 / 3),
    (["gold"], "", 0, 0),
    (["the"], "a", 100, 0),
    (["Zürich\u00a0See"], "zürich see", 100, 100),
    (["“quoted”"], "quoted", 0, 0),
])
def test_one_answer(tmp_path, truths, prediction, exact, f1):
    scores, errors = score(tmp_path, [(truths, prediction)])
    assert scores == {"exact_match": pytest.approx(exact), "f1": pytest.approx(f1)}
    assert errors == ""


def test_scores_are_means_and_a_missing_answer_scores_nothing(tmp_path):
    scores, errors = score(tmp_path, [(["a cat"], "cat"), (["x y"], "y"), (["z"], None)])
    assert scores == {"exact_match": pytest.approx(100 / 3), "f1": pytest.approx(500 / 9)}
    assert "q2" in errors and "q0" not in errors and "q1" not in errors


def test_another_version_is_noted(tmp_path):
    scores, errors = score(tmp_path, [(["a b"], "a b")], version="v2.0")
    assert scores["exact_match"] == 100.0
    assert "v2.0" in errors


def test_a_file_that_is_missing(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, str(tmp_path / "none.json"), "x"],
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 1
    assert "none.json" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("predictions", ["[]", '{"q0": null}'])
def test_predictions_that_are_none(tmp_path, predictions):
    (tmp_path / "data.json").write_text('{"version": "1.1", "data": []}')
    (tmp_path / "predictions.json").write_text(predictions)
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path / "data.json"), str(tmp_path / "predictions.json")],
        stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 1
    assert "predictions.json' is not a JSON object" in done.stderr


def test_questions_with_one_id_count_each(tmp_path):
    qas = [{"id": "q0", "question": "?", "answers": [{"text": text, "answer_start": 0}]}
           for text in ("a b", "b", "c")]
    data = {"version": "1.1", "data": [{"paragraphs": [{"context": "", "qas": qas}]}]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    (tmp_path / "predictions.json").write_text('{"q0": "b"}')
    said = subprocess.check_output(
        [sys.executable, SCRIPT, str(tmp_path / "data.json"), str(tmp_path / "predictions.json")])
    # "a" is an article: the first two are right.
    assert json.loads(said.decode()) == {"exact_match": 100 * 2 / 3, "f1": 100 * 2 / 3}


def test_ids_that_are_numbers_and_files_with_a_byte_order_mark(tmp_path):
    qas = [{"id": 7, "question": "?", "answers": [{"text": "x", "answer_start": 0.0}]}]
    data = {"version": "1.1", "data": [{"paragraphs": [{"context": "x", "qas": qas}]}]}
    for name, content in (("data.json", data), ("predictions.json", {"7": "x"})):
        (tmp_path / name).write_text("\ufeff" + json.dumps(content), "utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path / "data.json"), str(tmp_path / "predictions.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert (json.loads(done.stdout), done.stderr) == ({"exact_match": 100.0, "f1": 100.0}, "")
