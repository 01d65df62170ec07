# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How one answer is scored, by the rules that both versions of SQuAD share."""

import collections
import json
import re
import string
import sys
from typing import Any, Iterable, List

from examples.bert.errors import shown

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """`answer` as it is compared."""
    plain = answer.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(prediction: str, truth: str) -> float:
    """1.0 if the normalized answers are equal, else 0.0."""
    return float(normalized(prediction) == normalized(truth))


def f1(prediction: str, truth: str) -> float:
    """The harmonic mean of precision and recall of the prediction's words; 0.0 without words."""
    predicted, expected = normalized(prediction).split(), normalized(truth).split()
    common = sum((collections.Counter(predicted) & collections.Counter(expected)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(expected)
    return 2 * precision * recall / (precision + recall)


def question_id(entry: Any) -> str:
    """The id of a question in a data set; a number is a text there where answers are by their ids.

    Raises:
      KeyError, TypeError: an entry that is no question with an id.
    """
    identity = entry["id"]
    if isinstance(identity, bool) or not isinstance(identity, (str, int)):
        raise TypeError("a question's id is {}".format(shown(identity)))
    return str(identity)


def truths(entry: Any) -> List[str]:
    """The right answers of a question in a data set.

    Raises:
      KeyError, TypeError: an entry that is no question with answers.
    """
    answers = [answer["text"] for answer in _list(entry["answers"])]
    for answer in answers:
        if not isinstance(answer, str):
            raise TypeError("the answer {} is no text".format(shown(answer)))
    return answers


def entries(articles: Any) -> Iterable[Any]:
    """The questions of a data set, as they are there.

    Raises:
      KeyError, TypeError: articles that are none.
    """
    for article in _list(articles):
        for paragraph in _list(article["paragraphs"]):
            yield from _list(paragraph["qas"])


def _list(value: Any) -> List[Any]:
    if not isinstance(value, list):
        raise TypeError("{} is no list".format(shown(value)))
    return value


def load(path: str) -> Any:
    """The value in a JSON file; ends the program with one line if it cannot be read."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        sys.exit("error: cannot read '{}': {}".format(path, error))
    except RecursionError:
        sys.exit("error: cannot read '{}': it is nested too deeply".format(path))
