# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Windows over long paragraphs, targets, and the arrays that the model reads."""

import numpy as np
import pytest

from examples.bert import features
from examples.bert.errors import UserError
from examples.bert.squad import Answer, Question
from examples.bert.tokenization import Vocabulary

LETTERS = "abcdefghij"
LENGTHS = features.Lengths(10, 2, 3)


@pytest.fixture(name="vocabulary")
def make_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + list(LETTERS)), "utf-8")
    return Vocabulary(str(path))


def windows_of(vocabulary, question):
    return features.Reader(vocabulary, True, LENGTHS).windows([question])


def text_of(window, paragraph):
    """The tokens of a window, cut from the paragraph."""
    return [paragraph[start:end] for start, end in window.places]


def question_about(answer=None):
    """A paragraph of ten one-letter words; `answer` is in characters."""
    return Question("q", "a b", " ".join(LETTERS), answer)


def test_spans_overlap_and_reach_the_end():
    assert features.window_spans(10, 5, 3) == [(0, 5), (3, 8), (6, 10)]
    assert features.window_spans(5, 5, 3) == [(0, 5)]
    assert features.window_spans(6, 5, 5) == [(0, 5), (5, 6)]


def test_a_stride_longer_than_a_window_leaves_no_gap():
    assert features.window_spans(7, 3, 100) == [(0, 3), (3, 6), (6, 7)]


def test_every_token_is_central_in_the_window_that_shows_most_of_its_context():
    spans = [(0, 5), (3, 8), (6, 10)]
    # Token 4 has 0 tokens after it in window 0, 1 before it in window 1.
    assert features.central_windows(spans, 10).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_longer_window_wins_a_tie():
    assert features.central_windows([(0, 3), (2, 8)], 8)[2] == 1


def test_sequences_are_question_and_part_of_the_paragraph(vocabulary):
    question = question_about()
    windows = windows_of(vocabulary, question)
    assert [text_of(w, question.paragraph) for w in windows] == [
        list("abcde"), list("defgh"), list("ghij")]
    assert [w.central.tolist() for w in windows] == [
        [True, True, True, True, False], [False, True, True, True, False],
        [False, True, True, True]]
    arrays = features.columns(windows, 10)
    a, cls, sep = 4, 2, 3
    np.testing.assert_array_equal(arrays["input_ids"][2], [
        cls, a, a + 1, sep, a + 6, a + 7, a + 8, a + 9, sep, 0])
    np.testing.assert_array_equal(arrays["input_mask"][2], [1] * 9 + [0])
    np.testing.assert_array_equal(arrays["segment_ids"][2], [0] * 4 + [1] * 5 + [0])
    assert all(array.dtype == np.int32 for array in arrays.values())


def test_the_target_is_the_answer_where_a_window_holds_all_of_it(vocabulary):
    answer = Answer(2 * 3, 2 * 4 + 1)  # "d e"
    targets = [w.target for w in windows_of(vocabulary, question_about(answer))]
    assert targets == [(4 + 3, 4 + 4), (4, 5), (0, 0)]


def test_an_answer_inside_a_word_means_the_word(vocabulary):
    question = Question("q", "a", "a bcd-e", Answer(3, 4))
    assert windows_of(vocabulary, question)[0].target == (4, 4)


def test_places_are_those_of_the_original_text(vocabulary):
    question = Question("q", "a", "A\u0301\u200b  b,\tC", None)
    window = windows_of(vocabulary, question)[0]
    assert text_of(window, question.paragraph) == ["A\u0301", "b", ",", "C"]
    assert window.ids.tolist() == [2, 4, 3, 4, 5, 1, 6, 3]


def test_questions_keep_their_numbers(vocabulary):
    reader = features.Reader(vocabulary, True, LENGTHS)
    windows = reader.windows([question_about(), Question("r", "a", "b", None)], first=7)
    assert [w.question for w in windows] == [7, 7, 7, 8]


@pytest.mark.parametrize("lower_case, lengths", [
    (False, LENGTHS), (True, LENGTHS._replace(sequence=11)), (True, LENGTHS._replace(question=3)),
    (True, LENGTHS._replace(stride=2))])
def test_settings_tell_readers_apart(vocabulary, lower_case, lengths):
    settings = features.Reader(vocabulary, True, LENGTHS).settings
    assert settings == features.Reader(vocabulary, True, LENGTHS).settings
    assert settings != features.Reader(vocabulary, lower_case, lengths).settings


def test_a_long_question_is_cut_off(vocabulary):
    question = Question("q", "a b c d", "e", None)
    assert windows_of(vocabulary, question)[0].offset == 4


@pytest.mark.parametrize("question, message", [
    (Question("q7", "\u0000", "a", None), "question 'q7': no token is left of its text"),
    (Question("q7", "a", " ", None), "question 'q7': no token is left of its paragraph"),
    (Question("q7", "a", "a \u200d b", Answer(2, 3)),
     "question 'q7': no token is left of its answer"),
])
def test_nothing_to_read(vocabulary, question, message):
    with pytest.raises(UserError) as caught:
        windows_of(vocabulary, question)
    assert message in str(caught.value)


def test_lengths_that_leave_no_room():
    with pytest.raises(UserError) as caught:
        features.Lengths(67, 64, 128).check()
    assert "max_seq_length 67 with max_query_length 64 leaves 0 tokens" in str(caught.value)
    features.Lengths(68, 64, 1).check()
