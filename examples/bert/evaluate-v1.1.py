# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Score answers against a SQuAD 1.1 data set: exact match and F1, in percent.

    python evaluate-v1.1.py dev-v1.1.json predictions.json

Before answers are compared they lose upper case, punctuation, the articles a, an and the, and
superfluous white space. With several right answers the best score counts. A question without a
prediction is reported and scores 0.
"""

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, Iterable, List, Tuple

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from examples.bert.answer_scores import (
    entries,
    exact_match,
    f1,
    load,
    question_id,
    truths,
)
from examples.bert.errors import shown

VERSION = "1.1"


def best(score: Callable[[str, str], float], prediction: str, right: List[str]) -> float:
    """The best score over all right answers."""
    return max(score(prediction, truth) for truth in right)


def questions(articles: Iterable[Any]) -> Iterable[Tuple[str, List[str]]]:
    """(id, right answers) of every question."""
    for question in entries(articles):
        right = truths(question)
        if not right:
            raise ValueError("question {} has no answer".format(shown(question_id(question))))
        yield question_id(question), right


def evaluate(articles: Iterable[Any], predictions: Dict[str, str]) -> Dict[str, float]:
    """{"exact_match", "f1"}: means over all questions, in percent."""
    total, exact_sum, f1_sum = 0, 0.0, 0.0
    for identity, right in questions(articles):
        total += 1
        if identity not in predictions:
            sys.stderr.write("Question {} has no prediction; it scores 0.\n".format(identity))
            continue
        exact_sum += best(exact_match, predictions[identity], right)
        f1_sum += best(f1, predictions[identity], right)
    if not total:
        raise ValueError("the data set holds no questions")
    return {"exact_match": 100.0 * exact_sum / total, "f1": 100.0 * f1_sum / total}


def main() -> None:
    """Print the scores as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset_file", help="questions and right answers, SQuAD 1.1")
    parser.add_argument("prediction_file", help="a JSON object: question id -> answer")
    arguments = parser.parse_args()
    dataset, predictions = load(arguments.dataset_file), load(arguments.prediction_file)
    if not isinstance(predictions, dict) or not all(
            isinstance(answer, str) for answer in predictions.values()):
        sys.exit("error: '{}' is not a JSON object: question id -> answer".format(
            arguments.prediction_file))
    if not isinstance(dataset, dict):
        sys.exit("error: '{}' is not a data set in SQuAD 1.1 format".format(arguments.dataset_file))
    if dataset.get("version") != VERSION:
        sys.stderr.write("This evaluates version {}; '{}' is of version {}.\n".format(
            VERSION, arguments.dataset_file, shown(dataset.get("version"))))
    try:
        print(json.dumps(evaluate(dataset["data"], predictions)))
    except (KeyError, TypeError, ValueError) as error:
        sys.exit("error: '{}' is not a data set in SQuAD 1.1 format: {!r}".format(
            arguments.dataset_file, error))


if __name__ == "__main__":
    main()
