# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Text to WordPiece tokens that know where in the text they come from.

A text is cleaned, split at white space and punctuation, and each word is cut greedily into the
longest pieces of the vocabulary (Wu et al. 2016, https://arxiv.org/abs/1609.08144). Every character
carries its position through all this, so that an answer can be cut out of the original text.
"""

import unicodedata
from typing import Dict, List, NamedTuple, Tuple

from examples.bert.errors import UserError
from examples.bert.files import read_text

UNKNOWN, CLASSIFY, SEPARATE = "[UNK]", "[CLS]", "[SEP]"
_SPECIAL = (UNKNOWN, CLASSIFY, SEPARATE)
_CONTINUATION = "##"
_LONGEST_WORD = 200
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF),
               (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F))


class Token(NamedTuple):
    """A word piece.

    Attributes:
      piece: its text in the vocabulary, e.g. "##ing", or "[UNK]".
      start: index of its first character in the original text.
      end: index after its last character.
    """

    piece: str
    start: int
    end: int


class _Letter(NamedTuple):
    """A character of a cleaned word, and the range of the original text that it stands for."""

    text: str
    start: int
    end: int


class Vocabulary:
    """The word pieces and their ids, which are their line numbers in the file, from 0."""

    def __init__(self, path: str):
        """Read a `vocab.txt`.

        Raises:
          UserError: a file that cannot be read, a piece that occurs twice, or a special piece that
            is missing.
        """
        self._ids: Dict[str, int] = {}
        lines = read_text(path).split("\n")
        for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines):
            piece = line.strip()
            if piece in self._ids:
                raise UserError("'{}': '{}' is on line {} and again on line {}".format(
                    path, piece, self._ids[piece] + 1, number + 1))
            self._ids[piece] = number
        missing = [piece for piece in _SPECIAL if piece not in self._ids]
        if missing:
            raise UserError("'{}' lacks {}: it is not a vocabulary of BERT".format(
                path, ", ".join(missing)))

    def __contains__(self, piece: str) -> bool:
        return piece in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, pieces: List[str]) -> List[int]:
        """The ids of `pieces`, all of which are in the vocabulary."""
        return [self._ids[piece] for piece in pieces]


class Tokenizer:
    """Cuts texts into word pieces."""

    def __init__(self, vocabulary: Vocabulary, lower_case: bool = True):
        """Make a tokenizer.

        Args:
          vocabulary: the pieces to use.
          lower_case: also turn letters into lower case and remove accents.
        """
        self._vocabulary = vocabulary
        self._lower_case = lower_case
        self._cleaned: Dict[str, Tuple[str, str]] = {}

    def tokenize(self, text: str) -> List[Token]:
        """The tokens of `text`, in order."""
        return [token for word in self._words(text) for token in self._pieces(word)]

    def _words(self, text: str) -> List[List[_Letter]]:
        """The words of `text`; a punctuation mark or an ideograph is a word of its own."""
        words: List[List[_Letter]] = []
        open_word = False
        for position, character in enumerate(text):
            kind, cleaned = self._clean(character)
            if kind == "accent" and open_word:
                words[-1][-1] = words[-1][-1]._replace(end=position + 1)
            elif kind == "space":
                open_word = False
            elif kind == "letter":
                letters = [_Letter(part, position, position + 1) for part in cleaned]
                if open_word:
                    words[-1].extend(letters)
                else:
                    words.append(letters)
                open_word = True
            elif kind == "alone":
                words.extend([_Letter(part, position, position + 1)] for part in cleaned)
                open_word = False
        return words

    def _clean(self, character: str) -> Tuple[str, str]:
        """(kind, text): "letter", "alone", "space", "accent" or "nothing", and what stays of it."""
        if character not in self._cleaned:
            self._cleaned[character] = self._classify(character)
        return self._cleaned[character]

    def _classify(self, character: str) -> Tuple[str, str]:
        if _is_space(character):
            return "space", ""
        if _is_unwanted(character):
            return "nothing", ""
        if not self._lower_case:
            return ("alone" if _stands_alone(character) else "letter"), character
        decomposed = unicodedata.normalize("NFD", character.lower())
        text = "".join(part for part in decomposed if unicodedata.category(part) != "Mn")
        if not text:
            return "accent", ""
        return ("alone" if any(_stands_alone(part) for part in text) else "letter"), text

    def _pieces(self, word: List[_Letter]) -> List[Token]:
        """The longest pieces of the vocabulary from left to right; [UNK] if there are none."""
        text = "".join(letter.text for letter in word)
        tokens: List[Token] = []
        start = 0
        while start < len(text):
            end = self._longest_match(text, start) if len(text) <= _LONGEST_WORD else start
            if end == start:
                return [Token(UNKNOWN, word[0].start, word[-1].end)]
            piece = (_CONTINUATION if start else "") + text[start:end]
            tokens.append(Token(piece, word[start].start, word[end - 1].end))
            start = end
        return tokens

    def _longest_match(self, text: str, start: int) -> int:
        """The end of the longest piece that starts at `start`, or `start` if there is none."""
        prefix = _CONTINUATION if start else ""
        for end in range(len(text), start, -1):
            if prefix + text[start:end] in self._vocabulary:
                return end
        return start


def _is_space(character: str) -> bool:
    return character in " \t\n\r" or unicodedata.category(character) == "Zs"


def _is_unwanted(character: str) -> bool:
    """Control and format characters, the replacement character, code points without meaning."""
    return character == "\ufffd" or unicodedata.category(character).startswith("C")


def _stands_alone(character: str) -> bool:
    code = ord(character)
    if any(first <= code <= last for first, last in _IDEOGRAPHS):
        return True
    return (32 < code < 127 and not character.isalnum()
            or unicodedata.category(character).startswith("P"))
