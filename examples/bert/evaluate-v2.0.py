# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Score answers against a SQuAD 2.0 data set, in which some questions have no answer.

    python evaluate-v2.0.py dev-v2.0.json predictions.json --na-prob-file null_odds.json

Prints exact match and F1 in percent over all questions, over those with an answer (HasAns) and
those without (NoAns), as JSON. Answers are compared as in SQuAD 1.1; the right answer to a question
without one is the empty text. A question without a prediction is reported and scores 0.

With `--na-prob-file`, a number for each question that is higher the surer it is that there is no
answer: best_exact and best_f1 are the highest scores to be had by answering only the questions
whose number is at most a threshold, and best_exact_thresh and best_f1_thresh these thresholds.
`--na-prob-thresh` takes a threshold for all the other scores.
"""

import argparse
import json
import math
import os
import sys
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from examples.bert import answer_scores
from examples.bert.answer_scores import entries, exact_match, load, normalized, question_id
from examples.bert.errors import shown

Scores = Dict[str, float]


class Question(NamedTuple):
    """A question's id, and its right answers: none for a question without one."""

    identity: str
    truths: List[str]


class Marks(NamedTuple):
    """Exact match and F1 of every question, from 0 to 1, by their ids in the data set's order."""

    exact: Scores
    f1: Scores


def f1(prediction: str, truth: str) -> float:
    """As in SQuAD 1.1, but no words are right where none are expected."""
    return max(exact_match(prediction, truth), answer_scores.f1(prediction, truth))


def read_questions(articles: Iterable[Any]) -> Dict[str, Question]:
    """The questions by their ids; of several with one id, the last."""
    questions: Dict[str, Question] = {}
    for entry in entries(articles):
        identity = question_id(entry)
        questions[identity] = Question(identity, answer_scores.truths(entry))
    return questions


def mark(questions: Iterable[Question], predictions: Dict[str, str]) -> Marks:
    """Every question's best score over its right answers."""
    marks = Marks({}, {})
    for identity, truths in questions:
        if identity not in predictions:
            sys.stderr.write("Question {} has no prediction; it scores 0.\n".format(identity))
            marks.exact[identity] = marks.f1[identity] = 0.0
            continue
        # An answer of which nothing is left counts as none.
        possible = [truth for truth in truths if normalized(truth)] or [""]
        prediction = predictions[identity]
        marks.exact[identity] = max(exact_match(prediction, truth) for truth in possible)
        marks.f1[identity] = max(f1(prediction, truth) for truth in possible)
    return marks


def withhold(scores: Scores, questions: Dict[str, Question], predictions: Dict[str, str],
             doubts: Dict[str, float], threshold: float) -> Scores:
    """The scores if questions with a doubt above `threshold` are answered with the empty text."""
    return {identity: float(not questions[identity].truths)
            if identity in predictions and doubts[identity] > threshold else score
            for identity, score in scores.items()}


def means(marks: Marks, identities: List[str], prefix: str) -> Dict[str, float]:
    """{"exact", "f1", "total"}, with `prefix`: percentages, and how many questions there are."""
    total = len(identities)
    return {prefix + "exact": 100.0 * sum(marks.exact[i] for i in identities) / total,
            prefix + "f1": 100.0 * sum(marks.f1[i] for i in identities) / total,
            prefix + "total": total}


def best_threshold(scores: Scores, questions: Dict[str, Question], predictions: Dict[str, str],
                   doubts: Dict[str, float]) -> Tuple[float, float]:
    """(best score in percent, its threshold) over all thresholds.

    At first no question is answered, and those without an answer are right. Then one question
    after the other is answered, the surest first: one with an answer brings its score, one without
    loses its point unless the answer is the empty text.
    """
    score: float = sum(not question.truths for question in questions.values())
    best, threshold = score, 0.0
    for identity in sorted(doubts, key=lambda one: doubts[one]):
        if identity not in scores or identity not in predictions:
            continue
        if questions[identity].truths:
            score += scores[identity]
        elif predictions[identity]:
            score -= 1
        if score > best:
            best, threshold = score, doubts[identity]
    return 100.0 * best / len(scores), threshold


def evaluate(questions: Dict[str, Question], predictions: Dict[str, str],
             doubts: Optional[Dict[str, float]], threshold: float) -> Dict[str, float]:
    """All scores, as the module's description says."""
    if not questions:
        raise ValueError("the data set holds no questions")
    raw = mark(questions.values(), predictions)
    known = dict.fromkeys(predictions, 0.0) if doubts is None else doubts
    marks = Marks(*[withhold(scores, questions, predictions, known, threshold) for scores in raw])
    result = means(marks, list(questions), "")
    for prefix, answerable in (("HasAns_", True), ("NoAns_", False)):
        part = [i for i, question in questions.items() if bool(question.truths) == answerable]
        if part:
            result.update(means(marks, part, prefix))
    if doubts is not None:
        for name, scores in (("exact", raw.exact), ("f1", raw.f1)):
            best, at = best_threshold(scores, questions, predictions, doubts)
            result.update({"best_" + name: best, "best_{}_thresh".format(name): at})
    return result


def _load_questions(path: str) -> Dict[str, Question]:
    try:
        return read_questions(load(path)["data"])
    except (KeyError, TypeError) as error:
        sys.exit("error: '{}' is not a data set in SQuAD 2.0 format: {!r}".format(path, error))


def _load_map(path: str, values: Any, what: str, needed: Iterable[str] = ()) -> Dict[str, Any]:
    """A JSON object: question id -> value of a type in `values`; none of `needed` is missing."""
    found = load(path)
    if not isinstance(found, dict):
        sys.exit("error: '{}' is not a JSON object: question id -> {}".format(path, what))
    for identity, value in found.items():
        if not isinstance(value, values) or isinstance(value, bool) or not _is_finite(value):
            sys.exit("error: '{}': the value of question {} is not {}: {}".format(
                path, shown(identity), what, shown(value)))
    missing = [identity for identity in needed if identity not in found]
    if missing:
        sys.exit("error: '{}' lacks question {}, which has a prediction".format(
            path, shown(missing[0])))
    return found


def _is_finite(value: Any) -> bool:
    """False for the numbers that no others can be compared with."""
    try:
        return isinstance(value, str) or math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _threshold(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError("not a number")
    return value


def main() -> None:
    """Print the scores as JSON, or write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset_file", help="questions and right answers, SQuAD 2.0")
    parser.add_argument("prediction_file", help="a JSON object: question id -> answer")
    parser.add_argument("--out-file", "-o", help="write the scores there instead of printing them")
    parser.add_argument("--na-prob-file", "-n",
                        help="a JSON object: question id -> how sure it is that there is no answer")
    parser.add_argument("--na-prob-thresh", "-t", type=_threshold, default=1.0,
                        help="no answer above this (default %(default)s)")
    arguments = parser.parse_args()
    questions = _load_questions(arguments.dataset_file)
    predictions = _load_map(arguments.prediction_file, str, "a text")
    doubts = None
    if arguments.na_prob_file:
        doubts = _load_map(arguments.na_prob_file, (int, float), "a number",
                           [identity for identity in predictions if identity in questions])
    try:
        scores = evaluate(questions, predictions, doubts, arguments.na_prob_thresh)
    except ValueError as error:
        sys.exit("error: '{}': {}".format(arguments.dataset_file, error))
    if arguments.out_file:
        try:
            with open(arguments.out_file, "w", encoding="utf-8") as file:
                json.dump(scores, file)
        except OSError as error:
            sys.exit("error: cannot write '{}': {}".format(arguments.out_file, error.strerror))
    else:
        print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
