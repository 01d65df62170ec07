# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions from a file in SQuAD format (Rajpurkar et al. 2016), checked while they are read."""

from typing import Any, List, NamedTuple, Optional, Set

from examples.bert.errors import UserError
from examples.bert.files import read_json


class Answer(NamedTuple):
    """An answer: characters `start` to `end` (exclusive) of the paragraph."""

    start: int
    end: int


class Question(NamedTuple):
    """A question about a paragraph.

    Attributes:
      identity: the question's id in the file.
      text: the question.
      paragraph: the paragraph, the same object for all its questions.
      answer: the first answer of the file; None if there is none or it is not wanted.
    """

    identity: str
    text: str
    paragraph: str
    answer: Optional[Answer]


def read_questions(path: str, with_answers: bool, may_be_unanswerable: bool) -> List[Question]:
    """The questions of a file, in its order.

    Args:
      path: a JSON file, SQuAD version 1.1 or 2.0.
      with_answers: every answerable question has to have an answer that occurs in its paragraph.
      may_be_unanswerable: questions marked `is_impossible` are allowed.

    Raises:
      UserError: naming the file, and the question where there is one.
    """
    questions: List[Question] = []
    seen: Set[str] = set()
    for article in _field(read_json(path), "data", list, path):
        for paragraph in _field(article, "paragraphs", list, path):
            text = _field(paragraph, "context", str, path)
            for entry in _field(paragraph, "qas", list, path):
                question = _question(entry, text, with_answers, may_be_unanswerable, path)
                if question.identity in seen:
                    raise UserError("'{}': the question id '{}' occurs twice".format(
                        path, question.identity))
                seen.add(question.identity)
                questions.append(question)
    if not questions:
        raise UserError("'{}' holds no questions".format(path))
    return questions


def _question(entry: Any, paragraph: str, with_answers: bool, may_be_unanswerable: bool,
              path: str) -> Question:
    identity = _field(entry, "id", str, path)
    where = "'{}', question '{}'".format(path, identity)
    text = _field(entry, "question", str, where)
    if not text.strip():
        raise UserError("{}: the question is empty".format(where))
    impossible = entry.get("is_impossible", False)
    if impossible and not may_be_unanswerable:
        raise UserError("{} has no answer (is_impossible): give --version_2_with_negative".format(
            where))
    answer = None
    if with_answers and not impossible:
        answers = _field(entry, "answers", list, where)
        if not answers:
            raise UserError("{}: 'answers' is empty; training needs one".format(where))
        answer = _answer(answers[0], paragraph, where)
    return Question(identity, text, paragraph, answer)


def _answer(entry: Any, paragraph: str, where: str) -> Answer:
    text = _field(entry, "text", str, where)
    start = _field(entry, "answer_start", int, where)
    if not text.strip():
        raise UserError("{}: the answer's text is empty".format(where))
    found = paragraph[start:start + len(text)] if start >= 0 else ""
    if found != text:
        raise UserError("{}: the answer is '{}', but at answer_start {} the paragraph of {} "
                        "characters reads '{}'".format(where, text, start, len(paragraph), found))
    return Answer(start, start + len(text))


def _field(value: Any, name: str, wanted: type, where: str) -> Any:
    """`value[name]`, which must be of type `wanted`."""
    if not isinstance(value, dict) or name not in value:
        raise UserError("{}: '{}' is missing; the format is data[].paragraphs[].qas[]".format(
            where, name))
    if not isinstance(value[name], wanted) or isinstance(value[name], bool):
        raise UserError("{}: '{}' is of type {}, not {}".format(
            where, name, type(value[name]).__name__, wanted.__name__))
    return value[name]
