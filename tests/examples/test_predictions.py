# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers are cut out of the paragraph where the model's scores point."""

import math

import numpy as np
import pytest

from examples.bert import predictions
from examples.bert.errors import UserError
from examples.bert.features import Window
from examples.bert.predictions import Candidate, Scored, Search
from examples.bert.squad import Question

PARAGRAPH = "One two, three four"
PLACES = np.array([(0, 3), (4, 7), (7, 8), (9, 14), (15, 19)], np.int32)
OFFSET = 3


def scored(starts, ends, central=(True,) * 5, null=(-9.0, -9.0), question=0):
    """A window over the whole paragraph; `starts` and `ends` map token numbers to scores."""
    window = Window(question, np.zeros([9], np.int32), OFFSET, PLACES, np.array(central), (0, 0))
    start_logits, end_logits = np.full([10], -10.0), np.full([10], -10.0)
    start_logits[0], end_logits[0] = null
    for token, score in starts.items():
        start_logits[OFFSET + token] = score
    for token, score in ends.items():
        end_logits[OFFSET + token] = score
    return Scored(window, start_logits, end_logits)


def best(*windows, **search):
    return predictions.best_spans(PARAGRAPH, windows, Search(**search))


def question(identity="q"):
    return Question(identity, "?", PARAGRAPH, None)


def test_the_text_is_the_paragraphs_own():
    assert best(scored({1: 5}, {3: 4}))[0] == Candidate("two, three", 5.0, 4.0)


def test_an_end_before_the_start_is_no_span():
    assert best(scored({3: 5}, {0: 9, 4: 1}))[0].text == "three four"


def test_long_spans_are_left_out():
    one = scored({0: 5, 3: 1}, {4: 5})
    assert best(one, longest=5)[0].text == PARAGRAPH
    assert best(one, longest=4)[0].text == "three four"


def test_a_span_counts_in_the_window_that_shows_most_of_its_context():
    other = scored({1: 9}, {1: 9}, central=(True, False, True, True, True))
    assert best(other, scored({3: 1}, {3: 1}))[0].text == "three"


def test_scores_at_the_question_are_not_looked_at():
    one = scored({1: 1}, {1: 1}, null=(50.0, 50.0))
    one.start_logits[OFFSET - 1] = one.end_logits[OFFSET - 1] = 60.0
    assert best(one)[0] == Candidate("two", 1.0, 1.0)


def test_every_text_once_and_no_more_than_asked_for():
    found = best(scored({0: 3, 1: 2}, {0: 3, 1: 2}), scored({0: 3}, {0: 3}), best=3)
    assert [c.text for c in found] == ["One", "One two", "two"]


def test_only_the_best_starts_and_ends_are_tried():
    assert len(best(scored({0: 3, 1: 2}, {1: 3, 2: 2}), best=1)) == 1


def test_there_is_an_answer_even_if_no_likely_start_fits_a_likely_end():
    assert best(scored({3: 5, 4: 4}, {0: 9, 1: 8}), best=2)[0] == Candidate("One", -10.0, 9.0)


def test_scores_of_a_model_that_diverged_are_refused():
    with pytest.raises(UserError) as caught:
        predictions.find_answers([question("q7")], [scored({1: math.nan}, {1: 1})], Search())
    assert "scores for question 'q7' are not finite" in str(caught.value)


def test_the_empty_answer_is_among_the_candidates_however_it_scores():
    answers = predictions.find_answers(
        [question()], [scored({0: 2, 1: 1}, {1: 3})], Search(best=2, may_be_unanswerable=True))
    assert [c["text"] for c in answers.candidates["q"]] == ["One two", "two", ""]
    assert sum(c["probability"] for c in answers.candidates["q"]) == pytest.approx(1.0)


def test_probabilities_are_a_softmax_over_the_candidates():
    answers = predictions.find_answers([question()], [scored({0: 2, 1: 1}, {1: 3})], Search(best=2))
    first, second = answers.candidates["q"]
    assert answers.best == {"q": "One two"}
    assert first["text"] == "One two" and second["text"] == "two"
    assert first["start_logit"] == 2.0 and first["end_logit"] == 3.0
    assert first["probability"] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert first["probability"] + second["probability"] == pytest.approx(1.0)
    assert answers.null_odds == {}


def test_every_question_gets_the_spans_of_its_own_windows():
    answers = predictions.find_answers(
        [question("a"), question("b")],
        [scored({0: 1}, {0: 1}), scored({4: 1}, {4: 1}, question=1)], Search())
    assert answers.best == {"a": "One", "b": "four"}


def test_no_answer_wins_by_more_than_the_threshold():
    windows = [scored({0: 2}, {0: 2}, null=(3.0, 2.0)), scored({0: 1}, {0: 1}, null=(9.0, 9.0))]
    for threshold, text in ((0.5, ""), (1.0, "One")):
        answers = predictions.find_answers(
            [question()], windows, Search(may_be_unanswerable=True, null_threshold=threshold))
        assert answers.best["q"] == text
        assert answers.null_odds["q"] == pytest.approx(1.0)
        assert answers.candidates["q"][0]["text"] == ""
