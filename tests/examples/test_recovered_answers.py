# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A model that is always right gets every answer back as the paragraph has it."""

import numpy as np
import pytest

from examples.bert.features import Lengths, Reader
from examples.bert.predictions import Scored, Search, find_answers
from examples.bert.squad import Answer, Question
from examples.bert.tokenization import Vocabulary

LENGTH = 19
# Between the bars: the answer.
PARAGRAPHS = [
    "She wrote |\u201cLes  Mis\u00e9rables\u201d| (not he).",
    "It cost |US$1,234.50| in\t1999.",
    "The capital is |M\u00fc\u0308n\u200bchen| , not Koln.",
    "|\u4e2d\u534e| \u4eba\u6c11\u5171\u548c\u56fd",
    "A \U0001f469\u200d\U0001f4bb| \U0001f600 |and more words after it"
    " to fill more than one or two windows that there are",
    "\u0130stanbul and |\u0130zmir|",
    "words before words before words before words before words before words before words |the end|",
    "|x|",
]


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("marked", PARAGRAPHS, ids=ascii)
@pytest.mark.parametrize("stride", [1, 3, 8])
def test_answers_come_back_exactly(tmp_path, marked, lower_case, stride):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nthe\nwords\n", "utf-8")
    before, answer, after = marked.split("|")
    start = len(before)
    question = Question("q", "a a", before + answer + after, Answer(start, start + len(answer)))
    reader = Reader(Vocabulary(str(tmp_path / "vocab.txt")), lower_case, Lengths(LENGTH, 2, stride))
    scored, held = [], 0
    for window in reader.windows([question]):
        starts, ends = np.zeros([LENGTH]), np.zeros([LENGTH])
        if window.target != (0, 0):
            held += 1
            starts[window.target[0]] = ends[window.target[1]] = 9.0
        scored.append(Scored(window, starts, ends))
    assert held >= 1
    assert find_answers([question], scored, Search()).best["q"] == answer.strip()
