# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes convert questions to what one of them makes, and end with it."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from examples.bert import conversion
from examples.bert.errors import UserError
from examples.bert.features import Lengths, Reader
from examples.bert.squad import Question
from examples.bert.tokenization import Vocabulary
from tests.support.jobs import ROOT, environment_for

QUESTIONS_OF_A_PARAGRAPH = 60


@pytest.fixture(name="reader")
def make_reader(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + "\n".join("abcdefghij"), "utf-8")
    return Reader(Vocabulary(str(path)), True, Lengths(12, 4, 3))


def some_questions(count=4100):
    """Questions about paragraphs of different lengths."""
    paragraphs = [" ".join("abcdefghij"[:1 + number % 10]) for number in range(1 + count // 60)]
    return [Question("q{}".format(i), "abcdefghij"[i % 10] + " b", paragraphs[i // 60], None)
            for i in range(count)]


def children():
    """The converting processes that this one has started and that still are."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open("/proc/{}/stat".format(pid)) as stat, \
                    open("/proc/{}/cmdline".format(pid)) as command:
                parent = int(stat.read().rpartition(")")[2].split()[1])
                if parent == os.getpid() and "examples.bert.conversion" in command.read():
                    found.append(int(pid))
    return found


def test_processes_make_what_one_makes(reader):
    questions = some_questions()
    found, numbers, helpers = [], [], 0
    for number, windows in conversion.convert(questions, reader, 3):
        helpers = max(helpers, len(children()))
        found.extend(windows)
        numbers.append(number)
    assert sum(numbers) == len(questions) and helpers == 3
    expected = reader.windows(questions)
    assert len(found) == len(expected) > len(questions)
    for one, other in zip(found, expected):
        assert (one.question, one.offset, one.target) == (
            other.question, other.offset, other.target)
        for name in ("ids", "places", "central"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert not children()


def test_few_questions_need_no_other_process(reader):
    for _ in conversion.convert(some_questions(200), reader, 8):
        assert not children()


def test_a_paragraph_is_in_one_chunk():
    questions = some_questions(1000)
    chunks = conversion.chunks_of(questions)
    assert [q for _, part in chunks for q in part] == questions
    assert [first for first, _ in chunks] == [0, 120, 240, 360, 480, 600, 720, 840, 960]


def test_the_first_question_that_cannot_be_converted_is_named(reader):
    questions = some_questions()
    for number in (4000, 2345):
        questions[number] = questions[number]._replace(text="\u200b")
    with pytest.raises(UserError) as caught:
        for _ in conversion.convert(questions, reader, 2):
            pass
    assert str(caught.value) == "question 'q2345': no token is left of its text"
    assert not children()


def test_processes_end_with_the_one_that_reads_their_results(reader):
    with contextlib.closing(conversion.convert(some_questions(), reader, 2)) as parts:
        next(parts)
        assert len(children()) == 2
    assert not children()


def test_what_nobody_waits_for_is_not_converted(reader, monkeypatch):
    begun = []
    windows = conversion._Helper.windows

    def noted(self, chunk):
        begun.append(chunk)
        return windows(self, chunk)

    monkeypatch.setattr(conversion._Helper, "windows", noted)
    questions = some_questions(60000)
    with contextlib.closing(conversion.convert(questions, reader, 2)) as parts:
        next(parts)
    assert 1 <= len(begun) < len(conversion.chunks_of(questions))


def test_a_process_that_dies_is_reported(reader):
    with pytest.raises(RuntimeError) as caught:
        for _ in conversion.convert(some_questions(), reader, 2):
            for pid in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert "ended with code -9" in str(caught.value)
    assert not children()


def test_converting_does_not_load_tensorflow():
    code = "import sys, examples.bert.conversion; print('tensorflow' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", code], env=environment_for(),
                                   universal_newlines=True)
    assert said == "False\n"


def test_a_process_ends_when_its_input_does(reader):
    process = subprocess.Popen([sys.executable, "-m", "examples.bert.conversion"], cwd=ROOT,
                               stdin=subprocess.PIPE)
    pickle.dump(reader, process.stdin)
    process.stdin.close()
    assert process.wait(timeout=60) == 0
