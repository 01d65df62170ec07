# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The check that compares whole trainings sees what is different, and nothing else."""

import json
import os

import pytest
import tensorflow.compat.v1 as tf

from tests.support import warm
from tests.support.jobs import ROOT, environment_for

CHECK = os.path.join(ROOT, "examples", "bert", "checks", "compare_trainings.py")
ANSWERS = {"q0": "a tall tree", "q1": "the river", "q2": "in 1912", "q3": "two dogs"}
LOSSES = [4.0, 3.0, 2.0, 1.0]


@pytest.fixture(name="dev")
def write_questions(tmp_path):
    path = tmp_path / "dev.json"
    entries = [{"id": identity, "answers": [{"text": text}]} for identity, text in ANSWERS.items()]
    path.write_text(json.dumps({"version": "1.1", "data": [{"paragraphs": [{"qas": entries}]}]}))
    return str(path)


def write_run(directory, losses, answers):
    directory.mkdir()
    with tf.Graph().as_default(), tf.summary.FileWriter(str(directory)) as writer:
        for step, loss in enumerate(losses, 1):
            writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag="loss", simple_value=loss)]),
                               step)
    (directory / "predictions.json").write_text(json.dumps(answers))


def compare(tmp_path, dev, losses, answers, *flags):
    """(exit code, output) of a comparison with a run of these losses and answers."""
    write_run(tmp_path / "plain", LOSSES, ANSWERS)
    write_run(tmp_path / "other", losses, answers)
    argv = [CHECK, "--dev", dev, "--steps", "2"] + list(flags) + [
        "{0}={1}".format(name, tmp_path / name) for name in ("plain", "other")]
    done = warm.run(argv, environment_for(), 120, text=True)
    return done.returncode, done.stdout


def test_equal_runs_and_their_picture(tmp_path, dev):
    code, output = compare(tmp_path, dev, LOSSES, ANSWERS, "--loss", "1e-6", "--picture",
                           str(tmp_path / "curves.png"))
    assert code == 0, output
    assert "| other | 4 | 3.0000 | 0.0e+00 | 0.0e+00 | 1.5000 | 100.00 | 100.00 |" in output
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("later, code", [(False, 1), (True, 0)])
def test_only_the_first_steps_have_to_agree(tmp_path, dev, later, code):
    losses = [4.0, 3.0, 2.2, 1.0] if later else [4.0, 3.3, 2.0, 1.0]
    found, output = compare(tmp_path, dev, losses, ANSWERS, "--loss", "0.05")
    assert found == code, output
    assert ("other: loss differs by 0.1, at most 0.05 is allowed" in output) == (not later)


def test_other_answers(tmp_path, dev):
    code, output = compare(tmp_path, dev, LOSSES, dict(ANSWERS, q3="no idea"))
    assert code == 1
    assert "other: f1 differs by 25, at most 1 is allowed" in output


def test_another_number_of_steps(tmp_path, dev):
    code, output = compare(tmp_path, dev, LOSSES[:3], ANSWERS)
    assert code == 1
    assert "error: 'plain' has 4 steps, 'other' has 3: these are different trainings" in output


def test_a_directory_without_a_training(tmp_path, dev):
    code, output = compare(tmp_path, dev, [], ANSWERS)
    assert code == 1
    assert "other' has no summaries of all steps of a training" in output
