# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions from a file in SQuAD format (Rajpurkar et al. 2016), checked while they are read."""

from typing import Any, Iterator, List, NamedTuple, Optional, Set, Tuple

from examples.bert.errors import UserError, shown
from examples.bert.files import digest, parse_json, read_text


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


class QuestionFile(NamedTuple):
    """The questions of a file.

    Attributes:
      path: the file.
      digest: tells files of different content apart.
      with_answers: whether the answers were read.
      questions: in the file's order.
    """

    path: str
    digest: str
    with_answers: bool
    questions: List[Question]


def read_questions(path: str, with_answers: bool, may_be_unanswerable: bool) -> QuestionFile:
    """Read and check a file.

    Args:
      path: a JSON file, SQuAD version 1.1 or 2.0.
      with_answers: every answerable question has to have an answer that occurs in its paragraph.
      may_be_unanswerable: questions marked `is_impossible` are allowed.

    Raises:
      UserError: naming the file, and the question where there is one.
    """
    content = read_text(path)
    questions: List[Question] = []
    seen: Set[str] = set()
    for place, paragraph in _paragraphs(parse_json(content, path), path):
        text = _field(paragraph, "context", str, place)
        for entry in _field(paragraph, "qas", list, place):
            question = _question(entry, text, with_answers, may_be_unanswerable, path, place)
            if question.identity in seen:
                raise UserError("'{}': the question id {} occurs twice".format(
                    path, shown(question.identity)))
            seen.add(question.identity)
            questions.append(question)
    if not questions:
        raise UserError("'{}' holds no questions".format(path))
    return QuestionFile(path, digest(content), with_answers, questions)


def _paragraphs(content: Any, path: str) -> Iterator[Tuple[str, Any]]:
    """(where it is, the paragraph) for all paragraphs of a file."""
    for number, article in enumerate(_field(content, "data", list, "'{}'".format(path))):
        where = "'{}', data[{}]".format(path, number)
        for index, paragraph in enumerate(_field(article, "paragraphs", list, where)):
            yield "{}.paragraphs[{}]".format(where, index), paragraph


def _question(entry: Any, paragraph: str, with_answers: bool, may_be_unanswerable: bool,
              path: str, place: str) -> Question:
    identity = _identity(entry, place)
    where = "'{}', question {}".format(path, shown(identity))
    text = _field(entry, "question", str, where)
    if not text.strip():
        raise UserError("{}: the question is empty".format(where))
    impossible = _is_impossible(entry, where)
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


def _identity(entry: Any, place: str) -> str:
    """A question's id; one that is a number is written like a text, as the key of an answer is."""
    if isinstance(entry, dict) and type(entry.get("id")) is int:
        return str(entry["id"])
    return _field(entry, "id", str, place)


def _is_impossible(entry: Any, where: str) -> bool:
    """Whether a question says that it has no answer; a program may have written 0, 1 or null."""
    value = entry.get("is_impossible")
    if value not in (None, 0, 1):  # False and True are equal to 0 and 1.
        raise UserError("{}: 'is_impossible' is {}, not true or false".format(
            where, shown(value)))
    return bool(value)


def _answer(entry: Any, paragraph: str, where: str) -> Answer:
    text = _field(entry, "text", str, where)
    start = _whole_number(entry, "answer_start", where)
    if not text.strip():
        raise UserError("{}: the answer's text is empty".format(where))
    found = paragraph[start:start + len(text)] if start >= 0 else ""
    if found != text:
        raise UserError("{}: the answer is {}, but at answer_start {} the paragraph of {} "
                        "characters reads {}".format(where, shown(text), shown(start),
                                                     len(paragraph), shown(found)))
    return Answer(start, start + len(text))


def _whole_number(value: Any, name: str, where: str) -> int:
    """`value[name]`; programs that know one kind of number write 13.0 for 13."""
    if isinstance(value, dict) and isinstance(value.get(name), float):
        if not value[name].is_integer():
            raise UserError("{}: '{}' is {}, not a whole number".format(where, name, value[name]))
        return int(value[name])
    return _field(value, name, int, where)


def _field(value: Any, name: str, wanted: type, where: str) -> Any:
    """`value[name]`, which must be of type `wanted`."""
    if not isinstance(value, dict) or name not in value:
        raise UserError("{}: '{}' is missing; the format is data[].paragraphs[].qas[]".format(
            where, name))
    if not isinstance(value[name], wanted) or isinstance(value[name], bool):
        raise UserError("{}: '{}' is of type {}, not {}".format(
            where, name, type(value[name]).__name__, wanted.__name__))
    if wanted is str:
        _check_text(value[name], name, where)
    return value[name]


def _check_text(text: str, name: str, where: str) -> None:
    """JSON can escape one half of a surrogate pair, which no other file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError("{}: '{}' is not Unicode text: character {} is U+{:04X}, half of a "
                        "surrogate pair".format(where, name, error.start,
                                                ord(text[error.start]))) from None
