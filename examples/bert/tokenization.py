# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Text to WordPiece tokens that know where in the text they come from.

A text is cleaned, split at white space and punctuation, and each word is cut greedily into the
longest pieces of the vocabulary (Wu et al. 2016, https://arxiv.org/abs/1609.08144). Every character
carries its position through all this, so that an answer can be cut out of the original text.

    text      "Caf\u00e9s,"
    cleaned    c a f e s | ,       lower case without accents, in words
    pieces     cafe ##s  | ,
    places     0-4  4-5  | 5-6

The tokens are those of the `tokenizers` package; `checks/compare_tokenizers.py` compares them.
"""

import re
import unicodedata
from typing import Dict, List, NamedTuple, Optional, Tuple

from examples.bert.errors import UserError
from examples.bert.files import digest, read_text

UNKNOWN, CLASSIFY, SEPARATE = "[UNK]", "[CLS]", "[SEP]"
_REQUIRED = (UNKNOWN, CLASSIFY, SEPARATE)
# Where these stand in a text, they are not cut.
_SPECIAL = _REQUIRED + ("[PAD]", "[MASK]")
_CONTINUATION = "##"
_LONGEST_WORD = 100
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


class _Word:
    """The characters of a cleaned word, and the range of the original text behind each of them."""

    def __init__(self) -> None:
        self.characters: List[str] = []
        self.starts: List[int] = []
        self.ends: List[int] = []

    def add(self, characters: str, position: int) -> None:
        """Append what stays of the character at `position`."""
        for character in characters:
            self.characters.append(character)
            self.starts.append(position)
            self.ends.append(position + 1)


class Vocabulary:
    """The word pieces and their ids, which are their line numbers in the file, from 0.

    A file is read as the loader that was published with BERT does: only "\\n" ends a line, white
    space around a piece does not count, a line may be blank, and of a piece that stands there
    several times the last line counts. `len` is one more than the largest id.

    Attributes:
      digest: tells vocabularies of different content apart.
    """

    def __init__(self, path: str):
        """Read a `vocab.txt`.

        Raises:
          UserError: a file that cannot be read, or a special piece that is missing.
        """
        text = read_text(path)
        self.digest = digest(text)
        pieces = (line.strip() for line in text.split("\n"))
        self._ids = {piece: number for number, piece in enumerate(pieces) if piece}
        missing = [piece for piece in _REQUIRED if piece not in self._ids]
        if missing:
            raise UserError("'{}' lacks {}: it is not a vocabulary of BERT".format(
                path, ", ".join(missing)))

    def __contains__(self, piece: str) -> bool:
        return piece in self._ids

    def __len__(self) -> int:
        return max(self._ids.values()) + 1

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
        self._special = re.compile("|".join(
            re.escape(piece) for piece in _SPECIAL if piece in vocabulary))
        self._cleaned: Dict[str, Tuple[str, str]] = {}
        self._cuts: Dict[str, Optional[List[int]]] = {}

    def tokenize(self, text: str) -> List[Token]:
        """The tokens of `text`, in order."""
        tokens: List[Token] = []
        position = 0
        for special in self._special.finditer(text):
            tokens.extend(self._plain(text, position, special.start()))
            tokens.append(Token(special.group(), special.start(), special.end()))
            position = special.end()
        tokens.extend(self._plain(text, position, len(text)))
        return tokens

    def _plain(self, text: str, start: int, end: int) -> List[Token]:
        """The tokens of `text[start:end]`, which holds no special piece."""
        return [token for word in self._words(text, start, end) for token in self._pieces(word)]

    def _words(self, text: str, start: int, end: int) -> List[_Word]:
        """Words, in order; a punctuation mark or an ideograph is a word of its own."""
        words: List[_Word] = []
        word: Optional[_Word] = None
        for position in range(start, end):
            kind, cleaned = self._clean(text[position])
            if kind == "letter":
                if word is None:
                    word = _Word()
                    words.append(word)
                word.add(cleaned, position)
            elif kind == "accent" and word is not None:
                word.ends[-1] = position + 1
            elif kind == "space":
                word = None
            elif kind == "alone":
                for part in cleaned:
                    words.append(_Word())
                    words[-1].add(part, position)
                word = None
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
        text = _without_accents(character).lower()
        if not text:
            return "accent", ""
        alone = _is_ideograph(character) or any(_is_punctuation(part) for part in text)
        return ("alone" if alone else "letter"), text

    def _pieces(self, word: _Word) -> List[Token]:
        """The longest pieces of the vocabulary from left to right; [UNK] if there are none."""
        text = "".join(word.characters)
        if text not in self._cuts:
            self._cuts[text] = self._cut(text)
        ends = self._cuts[text]
        if ends is None:
            return [Token(UNKNOWN, word.starts[0], word.ends[-1])]
        return [Token((_CONTINUATION if start else "") + text[start:end],
                      word.starts[start], word.ends[end - 1])
                for start, end in zip([0] + ends, ends)]

    def _cut(self, text: str) -> Optional[List[int]]:
        """Where the pieces of a word end; None if it is unknown."""
        if len(text) > _LONGEST_WORD:
            return None
        ends = [0]
        while ends[-1] < len(text):
            end = self._longest_match(text, ends[-1])
            if end == ends[-1]:
                return None
            ends.append(end)
        return ends[1:]

    def _longest_match(self, text: str, start: int) -> int:
        """The end of the longest piece that starts at `start`, or `start` if there is none."""
        prefix = _CONTINUATION if start else ""
        for end in range(len(text), start, -1):
            if prefix + text[start:end] in self._vocabulary:
                return end
        return start


def _without_accents(character: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFD", character)
                   if unicodedata.category(part) != "Mn")


def _is_space(character: str) -> bool:
    return character in " \t\n\r" or unicodedata.category(character) in ("Zs", "Zl", "Zp")


def _is_unwanted(character: str) -> bool:
    """Control and format characters, private and half code points, the replacement character.

    A code point without a meaning stays: it may have one in a newer Unicode.
    """
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")


def _stands_alone(character: str) -> bool:
    return _is_ideograph(character) or _is_punctuation(character)


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def _is_punctuation(character: str) -> bool:
    return (32 < ord(character) < 127 and not character.isalnum()
            or unicodedata.category(character).startswith("P"))
