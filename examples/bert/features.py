# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions as the sequences that BERT reads.

    [CLS] question [SEP] part of the paragraph [SEP] [PAD] ...

A paragraph that does not fit is read through overlapping windows:

    tokens    0 1 2 3 4 5 6 7 8 9       size 5, stride 3
    window 0  0 1 2 3 4
    window 1        3 4 5 6 7
    window 2              6 7 8 9

A token seen in several windows counts where it has the most context on its poorer side.
"""

import unicodedata
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from examples.bert.errors import UserError
from examples.bert.squad import Question
from examples.bert.tokenization import CLASSIFY, SEPARATE, Tokenizer, Vocabulary

# [CLS], and [SEP] after the question and after the paragraph.
_MARKS = 3


class Lengths(NamedTuple):
    """How long sequences are, in tokens.

    Attributes:
      sequence: whole sequences.
      question: questions; what is longer is cut off.
      stride: distance between the starts of two windows.
    """

    sequence: int
    question: int
    stride: int

    def check(self) -> None:
        """Raises UserError unless a question leaves room for a paragraph."""
        room = self.sequence - self.question - _MARKS
        if min(self.question, self.stride) < 1 or room < 1:
            raise UserError(
                "max_seq_length {} with max_query_length {} leaves {} tokens for the paragraph, "
                "and doc_stride is {}: all have to be at least 1".format(
                    self.sequence, self.question, room, self.stride))


class Window(NamedTuple):
    """One sequence.

    Attributes:
      question: index of its question.
      ids: the word piece ids without padding, int32.
      offset: position in the sequence of the paragraph's first token.
      places: the first character of each of the paragraph's T tokens in this window, and the
        character after its last, in the paragraph; int32 [T, 2].
      central: for each of these tokens, whether this window shows the most of its context;
        bool [T].
      target: positions in the sequence of the answer's first and last token; (0, 0) if the answer
        is not in this window or not known.
    """

    question: int
    ids: Any
    offset: int
    places: Any
    central: Any
    target: Tuple[int, int]


class _Tokens(NamedTuple):
    """A paragraph's T tokens: their ids, int32 [T], and their places, int32 [T, 2]."""

    ids: Any
    places: Any


class Reader:
    """Turns questions into windows."""

    def __init__(self, vocabulary: Vocabulary, lower_case: bool, lengths: Lengths):
        """Make a reader.

        Args:
          vocabulary: the word pieces.
          lower_case: see `Tokenizer`.
          lengths: of the sequences.

        Raises:
          UserError: lengths that leave no room for a paragraph.
        """
        lengths.check()
        self._vocabulary = vocabulary
        self._lower_case = lower_case
        self._lengths = lengths
        self._tokenizer = Tokenizer(vocabulary, lower_case)

    @property
    def settings(self) -> Dict[str, Any]:
        """All that the windows depend on besides the questions, and the code."""
        settings: Dict[str, Any] = dict(self._lengths._asdict())
        return dict(settings, vocabulary=self._vocabulary.digest, lower_case=self._lower_case,
                    unicode=unicodedata.unidata_version)

    def windows(self, questions: Sequence[Question], first: int = 0) -> List[Window]:
        """All windows of all questions, in order.

        Args:
          questions: those about one paragraph come one after the other.
          first: index of the first of them.

        Raises:
          UserError: a question or an answer of which the tokenizer leaves nothing.
        """
        windows: List[Window] = []
        paragraph: Optional[str] = None
        tokens = self._tokens("")
        for index, question in enumerate(questions, first):
            if question.paragraph is not paragraph:
                paragraph, tokens = question.paragraph, self._tokens(question.paragraph)
            windows.extend(self._windows_of(question, index, tokens))
        return windows

    def _tokens(self, text: str) -> _Tokens:
        tokens = self._tokenizer.tokenize(text)
        return _Tokens(np.array(self._vocabulary.ids([t.piece for t in tokens]), np.int32),
                       np.array([t[1:] for t in tokens], np.int32).reshape([-1, 2]))

    def _windows_of(self, question: Question, index: int, tokens: _Tokens) -> List[Window]:
        asked = self._tokens(question.text).ids[:self._lengths.question]
        if not len(asked) or not len(tokens.ids):
            raise UserError("question '{}': no token is left of its {}".format(
                question.identity, "paragraph" if len(asked) else "text"))
        answer = _answer_tokens(question, tokens.places)
        classify, separate = [np.array(self._vocabulary.ids([piece]), np.int32)
                              for piece in (CLASSIFY, SEPARATE)]
        offset = len(asked) + 2
        spans = window_spans(len(tokens.ids), self._lengths.sequence - offset - 1,
                             self._lengths.stride)
        owners = central_windows(spans, len(tokens.ids))
        return [Window(index, np.concatenate([classify, asked, separate, tokens.ids[start:end],
                                              separate]),
                       offset, tokens.places[start:end], owners[start:end] == number,
                       _target(answer, start, end, offset))
                for number, (start, end) in enumerate(spans)]


def window_spans(length: int, size: int, stride: int) -> List[Tuple[int, int]]:
    """(start, end) of the windows of `size` tokens over `length` tokens, `stride` apart."""
    spans = [(0, min(size, length))]
    while spans[-1][1] < length:
        # Never farther than the last window's end: no token may fall between two windows.
        start = spans[-1][0] + min(stride, size)
        spans.append((start, min(start + size, length)))
    return spans


def central_windows(spans: Sequence[Tuple[int, int]], length: int) -> Any:
    """For each of `length` tokens, the number of the window that shows the most of its context.

    A token's context in a window is what it has on its poorer side; longer windows win ties, then
    earlier ones.

    Args:
      spans: (start, end) of the windows, which together hold all tokens.
      length: tokens of the paragraph.

    Returns:
      int32 [length].
    """
    best = np.full([length], -1.0)
    owners = np.zeros([length], np.int32)
    for number, (start, end) in enumerate(spans):
        before = np.arange(end - start)
        score = np.minimum(before, before[::-1]) + 0.01 * (end - start)
        better = score > best[start:end]
        best[start:end][better] = score[better]
        owners[start:end][better] = number
    return owners


def columns(windows: Sequence[Window], length: int) -> Dict[str, Any]:
    """The arrays that the model reads for `windows`.

    Args:
      windows: B windows.
      length: S, their padded length.

    Returns:
      int32 arrays: "input_ids", "input_mask", "segment_ids" [B, S]; "start_positions",
      "end_positions" [B].
    """
    rows = len(windows)
    ids, mask, segments = [np.zeros([rows, length], np.int32) for _ in range(3)]
    for row, window in enumerate(windows):
        ids[row, :len(window.ids)] = window.ids
        mask[row, :len(window.ids)] = 1
        segments[row, window.offset:len(window.ids)] = 1
    targets = np.array([window.target for window in windows], np.int32).reshape([-1, 2])
    return {"input_ids": ids, "input_mask": mask, "segment_ids": segments,
            "start_positions": targets[:, 0], "end_positions": targets[:, 1]}


def _answer_tokens(question: Question, places: Any) -> Optional[Tuple[int, int]]:
    """The first and the last token that share a character with the answer; None without one."""
    answer = question.answer
    if answer is None:
        return None
    inside = np.flatnonzero((places[:, 0] < answer.end) & (places[:, 1] > answer.start))
    if not len(inside):
        raise UserError("question '{}': no token is left of its answer '{}'".format(
            question.identity, question.paragraph[answer.start:answer.end]))
    return int(inside[0]), int(inside[-1])


def _target(answer: Optional[Tuple[int, int]], start: int, end: int,
            offset: int) -> Tuple[int, int]:
    if answer is None or answer[0] < start or answer[1] >= end:
        return 0, 0
    return answer[0] - start + offset, answer[1] - start + offset
