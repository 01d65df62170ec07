# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare this example's tokens with those of the package `tokenizers`, on real text.

    python -m venv DIR && DIR/bin/pip install tokenizers
    DIR/bin/python examples/bert/checks/compare_tokenizers.py --vocab_file vocab.txt \
        train-v1.1.json dev-v1.1.json

Compares every paragraph and question of files in SQuAD format, with lower case and without: the
word pieces, and the characters of the text that each of them stands for. Exit code 0 means that all
are the same. `--random N` adds N random strings of characters that are hard for tokenizers.

An accent that is a character of its own and vanishes belongs to its letter here, so that an answer
ends after it; `tokenizers` leaves it outside. That is not counted as a difference.

Known differences, in characters that no public vocabulary has:
  * `tokenizers` knows Unicode 8; Python knows a newer one. Punctuation and accents that came (or
    changed their kind) after 2015 are told from letters here only.
  * U+2B820 to U+2B91F are ideographs here, as their Unicode block says and as in the script of
    BERT's authors; they are letters in `tokenizers`.
"""

import argparse
import os
import random
import sys
import unicodedata
from typing import Any, Iterator, List, NamedTuple, Tuple

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..")))

from tokenizers import BertWordPieceTokenizer

from examples.bert.errors import exit_code
from examples.bert.files import read_json
from examples.bert.tokenization import Tokenizer, Vocabulary

_SHOWN = 5
_CHUNK = 1000
# Letters and their accents, composed and not; marks that are no accents; ideographs, Hangul, emoji
# with what joins them; control and format characters; spaces; punctuation; special pieces.
_HARD = (list("abcABC019 .,'\"-$#[]éÉñøßĳŒİıΣςώЖй") + list("\u0301\u0308\u0327\u20dd\u093e")
         + list("中国\u3007\uf900한각\u1112\u1161\u11ab") + list("\u200d\ufe0f😀👩🇩🇪")
         + list("\x00\x07\x0b\x1c\x7f\x85\xad\u200b\u2060\ufeff\ufffd\ue000\u0378")
         + list("\t\n\r\xa0\u1680\u2003\u2028\u2029\u3000") + list("¡«»—…、。٪\u2260\u037e\u1fef")
         + ["##", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "[sep]", "the", "ing"])


Place = Tuple[str, int, int]


class Difference(NamedTuple):
    """A text, and its tokens as (piece, start, end): the other program's and this one's."""

    text: str
    expected: List[Place]
    found: List[Place]

    @property
    def in_pieces(self) -> bool:
        """Whether the pieces differ, not only their places."""
        return [token[0] for token in self.expected] != [token[0] for token in self.found]

    def __str__(self) -> str:
        number = next(n for n in range(len(self.expected) + len(self.found))
                      if self.expected[n:n + 1] != self.found[n:n + 1])
        return "  text     {!a}\n  expected {!a}\n  found    {!a} (from token {} on)".format(
            self.text, self.expected[number:number + 3], self.found[number:number + 3], number)


def texts_of(path: str) -> Iterator[str]:
    """All paragraphs and questions of a file in SQuAD format."""
    for article in read_json(path)["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["context"]
            for entry in paragraph["qas"]:
                yield entry["question"]


def random_texts(number: int) -> Iterator[str]:
    """Strings that are the same in every run."""
    source = random.Random(1)
    for _ in range(number):
        yield "".join(source.choice(_HARD) for _ in range(source.randint(1, 30)))


def compare(texts: List[str], path: str, lower_case: bool) -> Tuple[int, List[Difference]]:
    """(tokens compared, differences) over `texts` with the vocabulary at `path`."""
    vocabulary = Vocabulary(path)
    ours = Tokenizer(vocabulary, lower_case)
    theirs: Any = BertWordPieceTokenizer(path, lowercase=lower_case)
    compared, differences = 0, []
    for first in range(0, len(texts), _CHUNK):
        chunk = texts[first:first + _CHUNK]
        for text, encoding in zip(chunk, theirs.encode_batch(chunk, add_special_tokens=False)):
            expected = [(piece, start, _after_accents(text, end) if lower_case else end)
                        for piece, (start, end) in zip(encoding.tokens, encoding.offsets)]
            found = [(token.piece, token.start, _after_accents(text, token.end)
                      if lower_case else token.end) for token in ours.tokenize(text)]
            compared += len(expected)
            if found != expected:
                differences.append(Difference(text, expected, found))
    return compared, differences


def _after_accents(text: str, end: int) -> int:
    """`end`, moved behind the accents and the invisible characters that follow."""
    while end < len(text) and (text[end] == "\ufffd" or unicodedata.category(text[end]) in (
            "Mn", "Cc", "Cf", "Co")):
        end += 1
    return end


def report(name: str, texts: List[str], path: str) -> bool:
    """Compare and print; whether all tokens were the same."""
    same = True
    for lower_case in (True, False):
        compared, differences = compare(texts, path, lower_case)
        pieces = sum(one.in_pieces for one in differences)
        print("{}, lower case {}: {} texts, {} tokens compared; texts with other pieces: {}, "
              "with the same pieces in other places: {}".format(
                  name, "on" if lower_case else "off", len(texts), compared, pieces,
                  len(differences) - pieces), flush=True)
        for one in differences[:_SHOWN]:
            print(one)
        same = same and not differences
    return same


def main() -> None:
    """Compare as the command line says; ends the program with 1 if tokens differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab_file", required=True, help="a vocab.txt")
    parser.add_argument("--random", type=int, default=0, help="number of random strings to add")
    parser.add_argument("files", nargs="*", help="files in SQuAD format")
    arguments = parser.parse_args()
    work = [(path, list(texts_of(path))) for path in arguments.files]
    if arguments.random:
        work.append(("random strings", list(random_texts(arguments.random))))
    if not all([report(name, texts, arguments.vocab_file) for name, texts in work]):
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(exit_code(main))
