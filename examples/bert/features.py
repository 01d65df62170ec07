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

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from examples.bert.errors import UserError
from examples.bert.squad import Answer, Question
from examples.bert.tokenization import CLASSIFY, SEPARATE, Token, Tokenizer, Vocabulary

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
      tokens: the paragraph's tokens in this window.
      central: for each of `tokens`, whether this window shows the most of its context.
      target: positions in the sequence of the answer's first and last token; (0, 0) if the answer
        is not in this window or not known.
    """

    question: int
    ids: Any
    offset: int
    tokens: Sequence[Token]
    central: Sequence[bool]
    target: Tuple[int, int]


def make_windows(questions: List[Question], tokenizer: Tokenizer, vocabulary: Vocabulary,
                 lengths: Lengths) -> List[Window]:
    """All windows of all questions, in order.

    Raises:
      UserError: a question or an answer of which the tokenizer leaves nothing.
    """
    lengths.check()
    windows: List[Window] = []
    paragraph: Optional[str] = None
    tokens: List[Token] = []
    for index, question in enumerate(questions):
        if question.paragraph is not paragraph:
            paragraph, tokens = question.paragraph, tokenizer.tokenize(question.paragraph)
        asked = [t.piece for t in tokenizer.tokenize(question.text)][:lengths.question]
        if not asked or not tokens:
            raise UserError("question '{}': no token is left of its {}".format(
                question.identity, "paragraph" if asked else "text"))
        answer = _answer_tokens(question, tokens) if question.answer else None
        head = [CLASSIFY] + asked + [SEPARATE]
        spans = window_spans(len(tokens), lengths.sequence - len(head) - 1, lengths.stride)
        owners = central_windows(spans, len(tokens))
        for number, (start, end) in enumerate(spans):
            pieces = head + [t.piece for t in tokens[start:end]] + [SEPARATE]
            windows.append(Window(
                index, np.array(vocabulary.ids(pieces), np.int32), len(head), tokens[start:end],
                [owner == number for owner in owners[start:end]],
                _target(answer, start, end, len(head))))
    return windows


def window_spans(length: int, size: int, stride: int) -> List[Tuple[int, int]]:
    """(start, end) of the windows of `size` tokens over `length` tokens, `stride` apart."""
    spans = [(0, min(size, length))]
    while spans[-1][1] < length:
        # Never farther than the last window's end: no token may fall between two windows.
        start = spans[-1][0] + min(stride, size)
        spans.append((start, min(start + size, length)))
    return spans


def central_windows(spans: Sequence[Tuple[int, int]], length: int) -> List[int]:
    """For each of `length` tokens, the number of the window that shows the most of its context.

    A token's context in a window is what it has on its poorer side; longer windows win ties.
    """
    best = [-1.0] * length
    owner = [0] * length
    for number, (start, end) in enumerate(spans):
        for token in range(start, end):
            score = min(token - start, end - 1 - token) + 0.01 * (end - start)
            if score > best[token]:
                best[token], owner[token] = score, number
    return owner


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


def _answer_tokens(question: Question, tokens: Sequence[Token]) -> Tuple[int, int]:
    """The first and the last token that share a character with the answer."""
    answer = question.answer or Answer(0, 0)
    inside = [index for index, token in enumerate(tokens)
              if token.start < answer.end and token.end > answer.start]
    if not inside:
        raise UserError("question '{}': no token is left of its answer '{}'".format(
            question.identity, question.paragraph[answer.start:answer.end]))
    return inside[0], inside[-1]


def _target(answer: Optional[Tuple[int, int]], start: int, end: int,
            offset: int) -> Tuple[int, int]:
    if answer is None or answer[0] < start or answer[1] >= end:
        return 0, 0
    return answer[0] - start + offset, answer[1] - start + offset
