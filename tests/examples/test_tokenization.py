# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tokens are those of WordPiece, and know where in the text they come from."""

import pytest

from examples.bert.errors import UserError
from examples.bert.tokenization import Tokenizer, Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "##a", "want", "##ed",
          ",", "low", "cafe", "Cafe", "中", "文", "it", "'", "s", "$", "5", "i"]


@pytest.fixture(name="vocabulary")
def make_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return Vocabulary(str(path))


def pieces(vocabulary, text, lower_case=True):
    return [token.piece for token in Tokenizer(vocabulary, lower_case).tokenize(text)]


def covered(vocabulary, text):
    """What the tokens cover of the original text."""
    return [text[t.start:t.end] for t in Tokenizer(vocabulary).tokenize(text)]


def test_longest_pieces_from_the_left(vocabulary):
    assert pieces(vocabulary, "unaffable") == ["un", "##aff", "##able"]


def test_a_word_that_cannot_be_cut_is_unknown_as_a_whole(vocabulary):
    assert pieces(vocabulary, "unwanted xyz low") == ["[UNK]", "[UNK]", "low"]
    assert covered(vocabulary, "low xyz") == ["low", "xyz"]


def test_a_very_long_word_is_unknown(vocabulary):
    assert pieces(vocabulary, "un" + "a" * 198) == ["un"] + ["##a"] * 198
    assert pieces(vocabulary, "un" + "a" * 199) == ["[UNK]"]


def test_punctuation_and_symbols_stand_alone(vocabulary):
    assert pieces(vocabulary, "It's $5,wanted") == ["it", "'", "s", "$", "5", ",", "want", "##ed"]


def test_accents_go_with_lower_case_only(vocabulary):
    assert pieces(vocabulary, "CAFÉ") == ["cafe"]
    assert pieces(vocabulary, "Cafe", lower_case=False) == ["Cafe"]
    assert pieces(vocabulary, "Café", lower_case=False) == ["[UNK]"]


def test_a_decomposed_accent_belongs_to_its_letter(vocabulary):
    assert covered(vocabulary, "cafe\u0301 low") == ["cafe\u0301", "low"]


def test_a_letter_that_lower_case_makes_longer_keeps_its_place(vocabulary):
    assert pieces(vocabulary, "\u0130 low") == ["i", "low"]
    assert covered(vocabulary, "\u0130 low") == ["\u0130", "low"]


def test_ideographs_stand_alone(vocabulary):
    assert pieces(vocabulary, "low中文low") == ["low", "中", "文", "low"]


def test_control_characters_vanish_and_do_not_part_words(vocabulary):
    assert pieces(vocabulary, "wa\u0000n\u200dted\ufffd") == ["want", "##ed"]
    assert covered(vocabulary, "un\u0007aff low\u0000") == ["un", "aff", "low"]


def test_all_kinds_of_space_part_words(vocabulary):
    assert pieces(vocabulary, "low\u00a0low\tlow\u3000low\nlow") == ["low"] * 5


def test_no_text_no_tokens(vocabulary):
    assert pieces(vocabulary, " \n\u0000") == []


@pytest.mark.parametrize("lines, message", [
    (["[UNK]", "[CLS]", "a"], "lacks [SEP]"),
    (["[UNK]", "[CLS]", "[SEP]", "a", "b", "a"], "'a' is on line 4 and again on line 6"),
])
def test_a_file_that_is_no_vocabulary(tmp_path, lines, message):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Vocabulary(str(path))
    assert message in str(caught.value) and str(path) in str(caught.value)
