# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""From scores of start and end positions to answers."""

from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from examples.bert.errors import UserError
from examples.bert.features import Window
from examples.bert.squad import Question


class Search(NamedTuple):
    """How answers are looked for.

    Attributes:
      best: candidates kept for each question.
      longest: most tokens in an answer.
      may_be_unanswerable: the empty answer is a candidate as well.
      null_threshold: an answer is empty if that scores better than all others by more than this.
    """

    best: int = 20
    longest: int = 30
    may_be_unanswerable: bool = False
    null_threshold: float = 0.0


class Candidate(NamedTuple):
    """A possible answer: its text, "" for no answer, and the scores of its start and its end."""

    text: str
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        return self.start_logit + self.end_logit


class Scored(NamedTuple):
    """A window and the model's scores for its positions, float32 [S] each."""

    window: Window
    start_logits: Any
    end_logits: Any


class Answers(NamedTuple):
    """What is written for all questions, by their ids.

    Attributes:
      best: the answers.
      candidates: the candidates of each question, best first, with "text", "probability",
        "start_logit" and "end_logit".
      null_odds: how much better the empty answer scores than all others; filled if questions may be
        unanswerable.
    """

    best: Dict[str, str]
    candidates: Dict[str, List[Dict[str, Any]]]
    null_odds: Dict[str, float]


def find_answers(questions: Sequence[Question], scored: Iterable[Scored],
                 search: Search) -> Answers:
    """The answers to `questions`, given the scores of all their windows.

    Raises:
      UserError: scores that are no numbers, as those of a model whose training diverged.
    """
    by_question: List[List[Scored]] = [[] for _ in questions]
    for one in scored:
        if not np.isfinite([one.start_logits, one.end_logits]).all():
            raise UserError("the model's scores for question '{}' are not finite: its training "
                            "diverged; try a lower --learning_rate".format(
                                questions[one.window.question].identity))
        by_question[one.window.question].append(one)
    answers = Answers({}, {}, {})
    for question, windows in zip(questions, by_question):
        spans = best_spans(question.paragraph, windows, search)
        candidates, text = spans, spans[0].text
        if search.may_be_unanswerable:
            null = _null(windows)
            candidates = sorted(spans + [null], key=lambda c: -c.score)
            odds = null.score - spans[0].score
            answers.null_odds[question.identity] = odds
            text = "" if odds > search.null_threshold else text
        answers.best[question.identity] = text
        answers.candidates[question.identity] = _described(candidates)
    return answers


def best_spans(paragraph: str, windows: Sequence[Scored], search: Search) -> List[Candidate]:
    """The best spans over all windows of a question, best first, each text once.

    At least one: if no span is made of likely starts and ends, all of them are tried.
    """
    found: List[Tuple[float, float, float, int, int]] = []
    for tried in (search.best, None):
        found = found or [
            (start_logit + end_logit, start_logit, end_logit, first, last) for one in windows
            for start_logit, end_logit, first, last in _spans(one, search.longest, tried)]
    best: List[Candidate] = []
    texts = set()
    for _, start_logit, end_logit, first, last in sorted(found, key=lambda f: -f[0]):
        text = paragraph[first:last]
        if text not in texts:
            texts.add(text)
            best.append(Candidate(text, start_logit, end_logit))
        if len(best) == search.best:
            break
    return best


def _spans(one: Scored, longest: int,
           tried: Optional[int]) -> Iterator[Tuple[float, float, int, int]]:
    """(start score, end score, first character, end character) of a window's spans.

    Only the `tried` highest starts and ends are looked at.
    """
    window = one.window
    inside = slice(window.offset, window.offset + len(window.places))
    starts, ends = one.start_logits[inside], one.end_logits[inside]
    for start in _highest(starts, tried):
        if not window.central[start]:
            continue
        for end in _highest(ends, tried):
            if start <= end < start + longest:
                yield (float(starts[start]), float(ends[end]),
                       int(window.places[start, 0]), int(window.places[end, 1]))


def _highest(scores: Any, count: Optional[int]) -> List[int]:
    """The places of the `count` highest scores (None: all), the earlier of equals first."""
    return [int(place) for place in np.argsort(-scores, kind="stable")[:count]]


def _null(windows: Iterable[Scored]) -> Candidate:
    """The empty answer, which starts and ends at [CLS], in the window where it scores worst."""
    return min((Candidate("", float(one.start_logits[0]), float(one.end_logits[0]))
                for one in windows), key=lambda c: c.score)


def _described(candidates: Sequence[Candidate]) -> List[Dict[str, Any]]:
    scores = np.array([c.score for c in candidates])
    powers = np.exp(scores - scores.max())
    return [{"text": c.text, "probability": float(power / powers.sum()),
             "start_logit": c.start_logit, "end_logit": c.end_logit}
            for c, power in zip(candidates, powers)]
