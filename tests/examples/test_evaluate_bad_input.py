# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Both programs that score refuse in one line what is no data set, answers or numbers."""

import os
import subprocess
import sys

import pytest

from tests.support.jobs import ROOT

DATA = '{"version": "1.1", "data": [{"paragraphs": [{"qas": [{"id": "a", "answers": %s}]}]}]}'
GOOD = DATA % '[{"text": "cat"}]'


def run(tmp_path, version, data, answers='{"a": "cat"}', doubts=None):
    paths = []
    for name, text in (("data", data), ("answers", answers), ("doubts", doubts)):
        paths.append(tmp_path / name)
        paths[-1].write_text(text or "")
    command = [sys.executable, os.path.join(ROOT, "examples", "bert", "evaluate-v%s.py" % version)]
    command += [str(path) for path in paths[:2]]
    if doubts:
        command += ["--na-prob-file", str(paths[2])]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_the_good_ones_are_scored(tmp_path, version):
    assert b"100.0" in run(tmp_path, version, GOOD).stdout


@pytest.mark.parametrize("version", ["1.1", "2.0"])
@pytest.mark.parametrize("data, answers", [
    (DATA % '[{"text": 5}]', None), (DATA % '[{"text": null}]', None), (DATA % '"cat"', None),
    (DATA % '{"text": "cat"}', None), (DATA % "null", None), (DATA % '["cat"]', None),
    (DATA % '""', None), (DATA % "{}", None),  # else questions without an answer
    ('{"data": "abc"}', None), ('{"data": {"paragraphs": []}}', None), ("[" * 100000, None),
    (GOOD.replace('"a"', "null"), None), (GOOD.replace('"a"', "true"), None),
    (GOOD.replace('"a"', "[1]"), None), ("[]", None), ("5", None),
    ('{"data": ' + "9" * 5000 + "}", None), (GOOD, '{"a": 5}'), (GOOD, '{"a": ["cat"]}'),
    (GOOD, "[" * 100000), (GOOD, "null")])
def test_what_is_none_is_refused(tmp_path, version, data, answers):
    done = run(tmp_path, version, data, answers or '{"a": "cat"}')
    error = done.stderr.decode().splitlines()
    assert done.returncode == 1 and done.stdout == b"" and error[-1].startswith("error: ")
    assert len(error) <= 2 and len(error[-1]) < 500  # v1.1 says first that a version differs


def test_a_question_without_an_answer_has_no_place_in_version_1(tmp_path):
    done = run(tmp_path, "1.1", DATA % "[]")
    assert done.returncode == 1 and b"question 'a' has no answer" in done.stderr


@pytest.mark.parametrize("doubt", ["NaN", "Infinity", "1e999", '"1"', "true", "null",
                                   "1" + "0" * 400])
def test_doubts_are_numbers(tmp_path, doubt):
    done = run(tmp_path, "2.0", GOOD, doubts='{"a": %s}' % doubt)
    assert done.returncode == 1 and b"is not a number: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("flags", [["--na-prob-thresh", "nan"], ["--out-file", "/nowhere/x"]])
def test_flags_of_version_2(tmp_path, flags):
    paths = [tmp_path / "data", tmp_path / "answers"]
    paths[0].write_text(GOOD)
    paths[1].write_text('{"a": "cat"}')
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, "examples", "bert", "evaluate-v2.0.py")]
        + [str(path) for path in paths] + flags, stderr=subprocess.PIPE)
    assert done.returncode != 0 and b"Traceback" not in done.stderr and b"error: " in done.stderr
